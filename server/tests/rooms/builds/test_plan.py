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


@pytest.mark.parametrize("path", ["deploy/web.Dockerfile", "/deploy/web.Dockerfile", "deploy/../deploy/web.Dockerfile"])
def test_what_a_dockerfile_leaves_out_by_a_file_of_its_own_goes_before_dockerignore(path: str) -> None:
    files = {
        "deploy/web.Dockerfile": DOCKERFILE,
        "deploy/web.Dockerfile.dockerignore": ".env\n",
        ".dockerignore": "x\n",
    }
    planned = plan(BuildSettings(dockerfile_path=path), MemoryTree(files))
    assert planned.ignore == ".env\n"
    assert any("web.Dockerfile.dockerignore" in str(reason) for reason in planned.reasons)


@pytest.mark.parametrize("path", [None, "deploy/Dockerfile"])
def test_only_the_file_beside_that_very_dockerfile_counts(path: str | None) -> None:
    other = "Dockerfile" if path else "deploy/Dockerfile"
    files = {"Dockerfile": DOCKERFILE, "deploy/Dockerfile": DOCKERFILE, f"{other}.dockerignore": "x\n"}
    assert plan(BuildSettings(dockerfile_path=path), MemoryTree({**files, ".dockerignore": "y\n"})).ignore is None


def test_a_planned_build_has_no_dockerfile_that_could_leave_out_something() -> None:
    assert plan(BuildSettings(), MemoryTree({"main.py": "", "Dockerfile.dockerignore": "x\n"})).ignore is None


def test_without_one_the_planner_writes_it() -> None:
    planned = plan(BuildSettings(), MemoryTree({"main.py": "", "Procfile": "worker: python main.py\n"}))
    assert planned.is_planned
    assert planned.port_expected is False
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


@pytest.mark.parametrize("builder", ["AUTO", "NIXPACKS"])
def test_where_no_builder_is_asked_for_outright_a_dockerfile_goes_before_zero_config(builder: str) -> None:
    assert not plan(BuildSettings(builder=builder), MemoryTree({"Dockerfile": DOCKERFILE, "main.py": ""})).is_planned
    assert plan(BuildSettings(builder=builder), MemoryTree({"main.py": ""})).is_planned


def test_the_services_start_command_starts_an_app_that_says_nothing_of_it() -> None:
    tree = MemoryTree({"requirements.txt": "", "shop.py": ""})
    with pytest.raises(PlanFailed, match="nothing tells how it starts"):
        plan(BuildSettings(), tree)
    assert 'CMD ["python", "shop.py"]' in plan(BuildSettings(start_command="python shop.py"), tree).dockerfile


@pytest.mark.parametrize(
    "head",
    ["# syntax=docker/dockerfile:1", "#SYNTAX = docker/dockerfile:1", "# escape=`\n# syntax=docker/dockerfile:1"],
)
def test_that_a_dockerfiles_frontend_is_not_fetched_is_said(head: str) -> None:
    planned = plan(BuildSettings(), MemoryTree({"Dockerfile": f"{head}\n{DOCKERFILE}"}))
    assert [str(reason) for reason in planned.reasons][1:] == [
        "syntax: the build engine's own, by the platform's rule to fetch no frontend image (Dockerfile); not docker/dockerfile:1"
    ]


@pytest.mark.parametrize(
    "text", [DOCKERFILE, f"# A comment\n# syntax=docker/dockerfile:1\n{DOCKERFILE}", f"{DOCKERFILE}# syntax=x\n"]
)
def test_nothing_is_said_of_a_frontend_that_is_not_asked_for(text: str) -> None:
    assert len(plan(BuildSettings(), MemoryTree({"Dockerfile": text})).reasons) == 1
