"""Applies the rules of `firewall_rules`, and takes them back."""

import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trackside.host.commands import attempt, find_program, run
from trackside.host.errors import ProgramMissing
from trackside.host.firewall_rules import FirewallPlan, openings, ruleset


@dataclass(frozen=True)
class ForeignDrop:
    """A chain of somebody else that drops what is not allowed there: `can_open` where we know how to be let through."""

    table: str
    chain: str
    hook: str
    can_open: bool


class Firewall:
    """The installation's table, and openings in a foreign iptables firewall where one would drop our traffic."""

    def __init__(self, plan: FirewallPlan) -> None:
        self._plan = plan

    async def apply(self) -> None:
        """Put the rules in force, replacing what was there of ours in one step. Errors: `CommandFailed`, `ProgramMissing`."""
        await run("nft", "-f", "-", stdin=ruleset(self._plan))
        await self._close_openings()
        for drop in await foreign_drops(self._plan.table):
            if drop.can_open:
                await self._open(drop.chain)

    async def remove(self) -> None:
        """Take back everything; no error where nothing is there."""
        await attempt("nft", "delete", "table", "inet", self._plan.table)
        await self._close_openings()

    async def rules(self) -> str:
        """The table in force, as the kernel tells it; "" where there is none."""
        return (await attempt("nft", "list", "table", "inet", self._plan.table)).output

    async def _open(self, chain: str) -> None:
        for program in await _iptables_in_use():
            for rule in openings(self._plan.interface_prefix, self._plan.table):
                if rule[0] == chain:
                    await run(program, "--wait", "-I", *rule)

    async def _close_openings(self) -> None:
        for program in await _iptables_in_use():
            listed = (await attempt(program, "--wait", "-S")).output
            for rule in openings(self._plan.interface_prefix, self._plan.table):
                for _ in range(listed.count(f"--comment {self._plan.table} ")):
                    if (await attempt(program, "--wait", "-D", *rule)).status != 0:
                        break


def knows_build_engine(rules: str) -> bool:
    """Whether the table tells the build engine from other processes of the machine. Pure."""
    return "jump from_build_engine" in rules


async def foreign_drops(own_table: str) -> list[ForeignDrop]:
    """Chains of others whose policy is to drop, at the hooks our traffic passes."""
    listed = json.loads(await run("nft", "-j", "list", "chains"))
    found = [
        ForeignDrop(f"{chain['family']} {chain['table']}", chain["name"], chain["hook"], _is_iptables(chain))
        for entry in listed["nftables"]
        if (chain := entry.get("chain")) and _drops(chain) and not chain["table"].startswith("trackside_")
        if chain["table"] != own_table
    ]
    with suppress(ProgramMissing):
        if "filter" in _legacy_tables():
            rules = await run(find_program("iptables-legacy"), "--wait", "-S")
            for name in ("FORWARD", "INPUT"):
                if f"-P {name} DROP" in rules:
                    found.append(ForeignDrop("iptables-legacy filter", name, name.lower(), can_open=True))
    return found


def _drops(chain: dict[str, Any]) -> bool:
    return (
        chain.get("policy") == "drop"
        and chain.get("hook") in {"forward", "input"}
        and chain["family"] in {"ip", "inet"}
    )


def _is_iptables(chain: dict[str, Any]) -> bool:
    return chain["family"] == "ip" and chain["table"] == "filter" and chain["name"] in {"FORWARD", "INPUT"}


def _legacy_tables() -> Sequence[str]:
    try:
        return Path("/proc/net/ip_tables_names").read_text().split()
    except OSError:
        return ()


async def _iptables_in_use() -> list[Path]:
    """The programs whose tables exist. Others are not asked: asking would create tables."""
    found: list[Path] = []
    with suppress(ProgramMissing):
        if (await attempt("nft", "list", "table", "ip", "filter")).status == 0:
            found.append(find_program("iptables-nft"))
    with suppress(ProgramMissing):
        if "filter" in _legacy_tables():
            found.append(find_program("iptables-legacy"))
    return found
