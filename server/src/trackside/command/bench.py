"""`python -m trackside bench`: what the platform itself takes of a deployment, a request and the machine, each beside what it
costs without the platform, measured in the same run; what many of them do to it; and how soon it is back."""

import asyncio
from argparse import ArgumentParser, Namespace
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

from trackside.command.bench_crowd import crowd
from trackside.command.bench_deployments import changed_source, existing_image, unchanged_source
from trackside.command.bench_edge import edge
from trackside.command.bench_figures import Runs
from trackside.command.bench_memory import idle
from trackside.command.bench_more import met, tell_crowd, tell_edge, tell_idle, tell_planner, tell_recovery, tell_scale
from trackside.command.bench_planner import planner
from trackside.command.bench_platform import BenchFailed, Platform, platform
from trackside.command.bench_recovery import recovery
from trackside.command.bench_scale import scale
from trackside.command.bench_traffic import Neighbour, Speed, Traffic, neighbour, traffic
from trackside.command.printing import say, say_json, table

AIMS = {"existing image": ("own", 1.0), "unchanged source": ("own", 2.0), "changed static source": ("wall", 10.0)}
NEIGHBOUR_AIM = 1.2
SPOILING = {"scale", "recovery"}
"""Parts that write into the tables, or kill."""


@dataclass(frozen=True)
class Part:
    """Something to measure on a platform, given how often, and how it is told to people."""

    measure: Callable[[Platform, int], Awaitable[Any]]
    tell: Callable[[Any], None]


def add_commands(parser: ArgumentParser) -> None:
    """The options of `bench`."""
    parser.add_argument(
        "--here",
        action="store_true",
        help="measure the running platform, not one of its own (leaves out scale and recovery)",
    )
    parser.add_argument(
        "--times", type=int, default=15, help="deployments of an existing image (of others, and windows: a third of it)"
    )
    parser.add_argument("--only", nargs="+", choices=list(PARTS), help="measure only these parts")
    parser.add_argument("--json", action="store_true", help="for programs")
    parser.set_defaults(run=_run)


def _run(arguments: Namespace) -> int:
    parts = arguments.only or [name for name in PARTS if not (arguments.here and name in SPOILING)]
    if arguments.here and (spoiling := sorted(SPOILING & set(parts))):
        raise BenchFailed(f"It would spoil a platform that is used: {', '.join(spoiling)}.", hint="Leave out `--here`.")
    found: dict[str, Any] = {}

    def note(name: str, part: Any) -> None:
        """People are told as soon as it is known."""
        found[name] = part
        if not arguments.json:
            PARTS[name].tell(part)

    asyncio.run(_measure(arguments.here, arguments.times, parts, note))
    if arguments.json:
        say_json(as_json(found))
    return 0


async def _measure(is_here: bool, times: int, parts: Sequence[str], note: Callable[[str, Any], None]) -> None:
    """Notes what each part found, by its name."""
    if "planner" in parts:
        note("planner", await planner())
    wanted = [name for name in PARTS if name in parts and name != "planner"]
    if wanted:
        async with platform(is_here) as there:
            for name in wanted:
                note(name, await PARTS[name].measure(there, times))


async def _deployments(there: Platform, times: int) -> dict[str, Runs]:
    return {
        "existing image": await existing_image(there, times),
        "unchanged source": await unchanged_source(there, _few(times)),
        "changed static source": await changed_source(there, _few(times)),
    }


def _few(times: int) -> int:
    return max(3, times // 3)


def as_json(found: Mapping[str, Any]) -> dict[str, Any]:
    """All figures for programs; times in seconds, memory in bytes. Pure."""
    return {name: _runs_json(part) if name == "deployments" else _part_json(part) for name, part in found.items()}


def _runs_json(found: Mapping[str, Runs]) -> dict[str, Any]:
    stages = {name: [asdict(stage) for stage in runs.stages] for name, runs in found.items()}
    return {name: {**runs.medians(), "stages": stages[name]} for name, runs in found.items()}


def _part_json(part: Any) -> dict[str, Any]:
    """A part's figures, and those that follow from them."""
    kinds: Mapping[str, Any] = type(part).__dict__
    derived = {name: getattr(part, name) for name, kind in kinds.items() if isinstance(kind, property)}
    return {**asdict(part), **derived}


# --- for people ---


def _tell_deployments(found: Mapping[str, Runs]) -> None:
    say("Medians in ms. own = wall minus engine create and start, the app's first answer, and the old version's stop;")
    say("floor = the same container created, started and answering on the bare engine in the same run.")
    rows = [["DEPLOYMENT OF", "OWN", "P90", "WALL", "ENGINE", "ANSWER", "STOP", "FLOOR", "AIM", "MET"]]
    for name, runs in found.items():
        medians = runs.medians()
        which, aim = AIMS[name]
        floor = medians["floor_create"] + medians["floor_start"] + medians["floor_answer"]
        figures = [medians[key] for key in ("own", "own_p90", "wall", "engine_start", "answer", "stop")]
        rows.append([name, *map(_ms, (*figures, floor)), f"{which} < {aim:g} s", met(medians[which] < aim)])
    table(rows)
    for name, runs in found.items():
        say()
        say(f"Where the time of a deployment goes: {name}")
        for stage in runs.stages:
            say(f"  {stage.offset * 1000:+7.0f} ms  {stage.took * 1000:6.0f} ms  {stage.name}")


def _tell_traffic(found: Traffic) -> None:
    say()
    rows = [["A STATIC PAGE", "REQUESTS/S", "P50 MS", "P99 MS"]]
    speeds: tuple[tuple[str, Speed], ...] = (("the app alone", found.app), ("through the edge", found.edge))
    for name, speed in speeds:
        rows.append([name, f"{speed.per_second:.0f}", f"{speed.p50 * 1000:.2f}", f"{speed.p99 * 1000:.2f}"])
    table(rows)
    say(f"The edge passes {found.ratio:.2f} of what the app answers alone.")


def _tell_neighbour(found: Neighbour) -> None:
    say()
    rows = [["AN APP'S P95 IN MS", "MEDIAN", "WINDOWS"]]
    for name, windows in (
        ("in peace", found.quiet),
        ("beside a build", found.beside_build),
        ("beside one idle-class process, without the platform", found.beside_idle),
    ):
        rows.append([name, f"{median(windows) * 1000:.2f}", " ".join(f"{window * 1000:.2f}" for window in windows)])
    table(rows)
    is_met = met(found.ratio <= NEIGHBOUR_AIM)
    say(
        f"{found.ratio:.2f} times as long (aim: at most {NEIGHBOUR_AIM:g}; met: {is_met}); {found.failed} requests failed."
    )
    say(f"The machine itself: {found.floor:.2f} times as long beside a process that yields to everything.")


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.0f}"


PARTS = {
    "idle": Part(lambda there, _: idle(there), tell_idle),
    "deployments": Part(_deployments, _tell_deployments),
    "traffic": Part(lambda there, times: traffic(there, _few(times)), _tell_traffic),
    "neighbour": Part(lambda there, times: neighbour(there, _few(times)), _tell_neighbour),
    "edge": Part(lambda there, times: edge(there, _few(times)), tell_edge),
    "crowd": Part(lambda there, _: crowd(there), tell_crowd),
    "planner": Part(lambda _there, _: planner(), tell_planner),
    "scale": Part(lambda there, _: scale(there), tell_scale),
    "recovery": Part(lambda there, _: recovery(there), tell_recovery),
}
"""In the order in which they are measured: what disturbs the others comes last."""
