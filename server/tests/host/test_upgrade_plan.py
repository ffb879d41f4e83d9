"""The upgrade, decided: which version may follow which, in what order, and what the supervisor is told in between."""

import hashlib
import re
from pathlib import Path

import pytest

from trackside.host.errors import VersionUnusable
from trackside.host.machine import PARTS, PLATFORM_PROCESSES
from trackside.host.supervisor_config import ManagedProcess, SupervisorPlan, supervisor_conf
from trackside.host.upgrade_plan import configuration_between, refuse_older, restart_order
from trackside.host.version_source import Source
from trackside.host.versions import Version

HERE = Path("/srv/trackside")


def configuration(version: str, *names: str) -> str:
    processes = [ManagedProcess(name, ("/bin/true", version), fingerprint=version) for name in names]
    paths = (HERE / "s.sock", HERE / "s.pid", HERE, HERE / "logs", HERE / "locks", HERE / "alive")
    return supervisor_conf(SupervisorPlan(*paths, descriptors=100, processes=processes))


def refuse(present: str, wanted: str, *, allow_downgrade: bool = False) -> None:
    source = Source(HERE, wanted, hashlib.sha256().hexdigest(), is_checkout=True)
    refuse_older(Version(present, HERE), source, allow_downgrade=allow_downgrade)


@pytest.mark.parametrize(
    ("present", "wanted"), [("0.9.3", "0.10.0"), ("1.0.0", "1.0.0"), ("1.0.0rc1", "1.0.0"), ("1.2", "1.2.1")]
)
def test_a_version_follows_an_older_one_or_another_build_of_itself(present: str, wanted: str) -> None:
    refuse(present, wanted)


@pytest.mark.parametrize(("present", "wanted"), [("0.10.0", "0.9.3"), ("1.2.1", "1.2")])
def test_an_older_version_is_refused_unless_it_is_asked_for(present: str, wanted: str) -> None:
    with pytest.raises(VersionUnusable, match=f"{wanted} is older than the version that runs, {present}") as refused:
        refuse(present, wanted)
    assert "--allow-downgrade" in refused.value.hint
    refuse(present, wanted, allow_downgrade=True)


def test_the_api_is_restarted_last_and_what_serves_the_apps_never() -> None:
    order = restart_order(PLATFORM_PROCESSES)
    assert order[-1] == "gateway"
    assert set(PLATFORM_PROCESSES) - set(order) == {"haproxy"}


def test_only_the_restarted_programs_are_told_anew() -> None:
    names = (*PARTS, *PLATFORM_PROCESSES)
    before, after = configuration("one", *names), configuration("two", *names)
    assert configuration_between(before, after, ()) == before
    assert configuration_between(before, after, names) == after
    between = configuration_between(before, after, ("edge",))
    changed = [line for line in between.splitlines() if line not in before.splitlines()]
    assert changed == ["command = /bin/true two", 'environment = TRACKSIDE_FINGERPRINT="two"']


def test_a_program_that_the_version_brings_along_is_added_and_one_that_it_does_not_know_stays() -> None:
    before, after = configuration("one", "postgres", "gateway"), configuration("two", "gateway", "keeper")
    between = configuration_between(before, after, ("keeper", "gateway"))
    programs = re.findall(r"^\[program:(.*)\]\ncommand = /bin/true (.*)$", between, re.MULTILINE)
    assert programs == [("postgres", "one"), ("gateway", "two"), ("keeper", "two")]
