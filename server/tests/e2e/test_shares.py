"""Who has the processors first, as the kernel sees it."""

from pathlib import Path

from e2e.conftest import Service, Trackside
from trackside.host.installation import layout_of, read_installation
from trackside.host.layout import Layout
from trackside.host.shares import BEHIND, SERVING


def groups_of(pid: int) -> set[str]:
    """The control groups of a process: the same in every hierarchy, where it is in one at all."""
    return {line.rpartition(":")[2] for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines()}


def layout(trackside: Trackside) -> Layout:
    installation = read_installation(trackside.home)
    assert installation
    return layout_of(installation, trackside.home)


def test_whoever_is_waited_for_comes_before_what_works_and_the_monitor_behind_all(trackside: Trackside) -> None:
    there, found = layout(trackside), dict[str, set[str]]()
    for name, pid in trackside.pids.items():
        for group in groups_of(pid):
            found.setdefault(group, set()).add(name)
    assert found.pop(there.build_engine_group) == {"build-engine"}
    working = set().union(*found.values()) - SERVING - BEHIND
    assert found == {there.serving_group: SERVING, there.behind_group: BEHIND, there.working_group: working}


def test_an_app_is_among_the_apps(trackside: Trackside, echo: Service) -> None:
    container = trackside.engine("ps", "-q", "--filter", f"label=dev.trackside.service-instance={echo.instance['id']}")
    pid = int(trackside.engine("inspect", "-f", "{{.State.Pid}}", container.strip()))
    assert all(group.startswith(f"{layout(trackside).apps_group}/") for group in groups_of(pid))
