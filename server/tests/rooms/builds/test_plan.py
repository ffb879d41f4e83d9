"""What is built: a Dockerfile goes before everything, else the planner decides."""

import pytest

from trackside.rooms.builds.errors import PlanFailed
from trackside.rooms.builds.model import BuildSettings
from trackside.rooms.builds.plan import plan
from trackside_planner import MemoryTree

DOCKERFILE = "FROM debian:bookworm-slim\nCMD true\n"


def test_a_dockerfile_goes_before_everything() -> None:
    planned = plan(BuildSettings(), MemoryTree({"Dockerfile": DOCKERFILE, "main.py": "", "Procfile": "release: ./m\n"}))
    assert (planned.dockerfile, planned.is_planned) == (DOCKERFILE, False)
    assert planned.pre_deploy_command == "./m"


@pytest.mark.parametrize("path", ["deploy/Dockerfile", "/deploy/Dockerfile", "./deploy/../deploy/Dockerfile"])
def test_a_dockerfile_may_be_named(path: str) -> None:
    tree = MemoryTree({"deploy/Dockerfile": DOCKERFILE, "Dockerfile": "FROM other\n"})
    assert plan(BuildSettings(dockerfile_path=path), tree).dockerfile == DOCKERFILE


def test_without_one_the_planner_writes_it() -> None:
    planned = plan(BuildSettings(), MemoryTree({"main.py": "", "Procfile": "worker: python main.py\n"}))
    assert planned.is_planned
    assert planned.port_expected is False
    assert planned.start_command is None
    assert planned.processes == {"worker": "python main.py"}
    assert planned.hash is not None


def test_zero_config_may_be_asked_for_although_there_is_a_dockerfile() -> None:
    tree = MemoryTree({"Dockerfile": DOCKERFILE, "main.py": ""})
    assert plan(BuildSettings(builder="RAILPACK"), tree).is_planned


@pytest.mark.parametrize(
    ("settings", "files"),
    [
        (BuildSettings(builder="DOCKERFILE"), {"main.py": ""}),
        (BuildSettings(dockerfile_path="missing/Dockerfile"), {"Dockerfile": DOCKERFILE}),
        (BuildSettings(dockerfile_path="../../etc/passwd"), {"Dockerfile": DOCKERFILE}),
        (BuildSettings(), {"Dockerfile": " \n"}),
        (BuildSettings(), {"notes.txt": ""}),
        (BuildSettings(), {}),
    ],
)
def test_what_can_not_be_planned_is_explained_with_a_hint(settings: BuildSettings, files: dict[str, str]) -> None:
    with pytest.raises(PlanFailed) as caught:
        plan(settings, MemoryTree(files))
    assert caught.value.sentence
    assert caught.value.hint
