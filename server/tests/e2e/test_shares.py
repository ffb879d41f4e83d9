"""Who has the processors first, as the kernel sees it."""

from e2e.conftest import Service, Trackside
from trackside.host.cgroups import ControlGroups, system_hierarchies
from trackside.host.installation import layout_of, read_installation
from trackside.host.layout import Layout
from trackside.host.shares import BEHIND, SERVING


def layout(trackside: Trackside) -> Layout:
    installation = read_installation(trackside.home)
    assert installation
    return layout_of(installation, trackside.home)


def test_whoever_is_waited_for_comes_before_what_works_and_the_monitor_behind_all(trackside: Trackside) -> None:
    groups, there = ControlGroups(system_hierarchies()), layout(trackside)
    names = {process["pid"]: process["name"] for process in trackside.cli.json("server", "status")["processes"]}
    found = {
        group: {names[pid] for pid in groups.processes(group) if pid in names}
        for group in (there.serving_group, there.behind_group, there.working_group)
    }
    assert found == {
        there.serving_group: SERVING,
        there.behind_group: BEHIND,
        there.working_group: set(names.values()) - SERVING - BEHIND - {"build-engine"},
    }


def test_an_app_is_among_the_apps(trackside: Trackside, echo: Service) -> None:
    container = trackside.engine("ps", "-q", "--filter", f"label=dev.trackside.service-instance={echo.instance['id']}")
    pid = int(trackside.engine("inspect", "-f", "{{.State.Pid}}", container.strip()))
    assert pid in ControlGroups(system_hierarchies()).processes(layout(trackside).apps_group)
