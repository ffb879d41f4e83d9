"""What the planner decides: a table of trees, and a golden for each example."""

import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from trackside_planner import DirectoryTree, MemoryTree, PlanError, PlanSettings, plan_build, render_dockerfile

EXAMPLES = Path(__file__).parents[2] / "examples"
GOLDENS = Path(__file__).parent / "goldens"
FASTAPI = "from fastapi import FastAPI\napp = FastAPI()\n"
FLASK = "import flask\nsite = flask.Flask(__name__)\n"
UVICORN = "uvicorn {} --host 0.0.0.0 --port ${{PORT:-8080}}"
GUNICORN = "gunicorn {} --bind 0.0.0.0:${{PORT:-8080}}"
PACKAGE = {"name": "x"}


@pytest.mark.parametrize(
    "example", sorted(path.name for path in EXAMPLES.iterdir() if not (path / "Dockerfile").exists())
)
def test_the_dockerfile_of_an_example_is_the_golden_one(example: str) -> None:
    text = render_dockerfile(plan_build(DirectoryTree(EXAMPLES / example)))
    golden = GOLDENS / f"{example}.Dockerfile"
    assert text == golden.read_text(), f"if this is meant, write the text into {golden}"


PYTHON = [
    ({"requirements.txt": "fastapi\nuvicorn\n", "main.py": FASTAPI}, UVICORN.format("main:app")),
    ({"requirements.txt": "FastAPI[standard]\n", "app.py": FASTAPI}, UVICORN.format("app:app")),
    ({"requirements.txt": "fastapi\n", "src/shop/main.py": FASTAPI}, UVICORN.format("shop.main:app")),
    ({"requirements.txt": "flask\ngunicorn\n", "app.py": FLASK}, GUNICORN.format("app:site")),
    (
        {
            "requirements.txt": "flask\n",
            "shop/__init__.py": "from flask import Flask\ndef create_app():\n    return Flask('x')\n",
        },
        GUNICORN.format("'shop:create_app()'"),
    ),
    ({"requirements.txt": "x\n", "app.py": "app: FastAPI = FastAPI()\n"}, UVICORN.format("app:app")),
    (
        {
            "requirements.txt": "django\n",
            "manage.py": "os.environ.setdefault('DJANGO_SETTINGS_MODULE', 'shop.settings')",
            "shop/wsgi.py": "",
        },
        GUNICORN.format("shop.wsgi:application"),
    ),
    ({"requirements.txt": "datasette\n", "x.db": ""}, "datasette serve . --host 0.0.0.0 --port ${PORT:-8080}"),
    ({"main.py": "print(1)"}, "python main.py"),
    ({"requirements.txt": "", "server.py": "def broken(:\n"}, "python server.py"),
    (
        {"pyproject.toml": "[project]\nname='x'\nversion='1'\ndependencies=['flask']\n", "app.py": FLASK},
        GUNICORN.format("app:site"),
    ),
    ({"requirements.txt": "flask\n", "tests/app.py": FLASK, "run.py": "x=1"}, "python run.py"),
]


@pytest.mark.parametrize(("files", "command"), PYTHON, ids=lambda value: value if isinstance(value, str) else "")
def test_a_python_app_starts_as_its_source_says(files: Mapping[str, str], command: str) -> None:
    plan = plan_build(MemoryTree(files))
    assert (plan.provider, plan.start_command, plan.port_expected) == ("python", command, True)


def package(**fields: object) -> dict[str, str]:
    return {"package.json": json.dumps({**PACKAGE, **fields})}


NODE = [
    (package(scripts={"start": "node server.js"}), "node server.js"),
    (package(scripts={"start": "next start -p $PORT"}), "next start -p $PORT"),
    (package(scripts={"start": "node x.js", "prestart": "node migrate.js"}), "node migrate.js && node x.js"),
    (package(main="lib/x.js") | {"lib/x.js": ""}, "node lib/x.js"),
    (package() | {"index.js": ""}, "node index.js"),
]


@pytest.mark.parametrize(("files", "command"), NODE, ids=lambda value: value if isinstance(value, str) else "")
def test_a_node_app_starts_as_its_package_says(files: Mapping[str, str], command: str) -> None:
    plan = plan_build(MemoryTree(files))
    assert (plan.provider, plan.start_command) == ("node", command)


@pytest.mark.parametrize(
    ("files", "release"),
    [
        (package(engines={"node": ">=20"}), "24.19.0"),
        (package(engines={"node": "^22.1"}), "22.20.0"),
        (package(engines={"node": "20.x"}), "20.18.0"),
        (package(engines={"node": "18 || 20"}), "20.18.0"),
        (package(engines={"node": "22.99.1"}), "22.20.0"),
        (package(engines={"node": ">=20 <24"}), "22.20.0"),
        (package() | {".nvmrc": "v20\n"}, "20.18.0"),
        (package() | {".nvmrc": "lts/*\n"}, "24.19.0"),
        (package(), "24.19.0"),
    ],
)
def test_node_is_the_release_that_is_asked_for(files: dict[str, str], release: str) -> None:
    assert plan_build(MemoryTree({**files, "index.js": ""})).versions["node"] == release


@pytest.mark.parametrize(
    ("files", "install"),
    [
        ({"package-lock.json": "{}"}, "npm ci"),
        ({}, "npm install --no-fund"),
        ({"pnpm-lock.yaml": "lockfileVersion: '9.0'\n"}, "pnpm install --frozen-lockfile"),
        ({"yarn.lock": "# yarn lockfile v1\n"}, "yarn install --frozen-lockfile"),
        ({"yarn.lock": "__metadata:\n  version: 8\n"}, "yarn install --immutable"),
    ],
)
def test_the_lock_file_names_the_package_manager(files: dict[str, str], install: str) -> None:
    plan = plan_build(MemoryTree({**package(), "index.js": "", **files}))
    assert install in render_dockerfile(plan)


@pytest.mark.parametrize(
    ("files", "version", "base"),
    [
        ({".python-version": "3.13\n"}, "3.13", "debian:trixie-slim"),
        ({"runtime.txt": "python-3.11.4\n"}, "3.11", "debian:bookworm-slim"),
        ({"pyproject.toml": "[project]\nname='x'\nrequires-python='>=3.12'\n"}, "3.13", "debian:trixie-slim"),
        ({"pyproject.toml": "[project]\nname='x'\nrequires-python='>=3.9,<3.13'\n"}, "3.11", "debian:bookworm-slim"),
        ({}, "3.11", "debian:bookworm-slim"),
    ],
)
def test_python_chooses_the_debian_that_carries_it(files: dict[str, str], version: str, base: str) -> None:
    plan = plan_build(MemoryTree({"main.py": "", **files}))
    assert (plan.versions["python"], plan.base_image) == (version, base)


@pytest.mark.parametrize(
    ("files", "root"),
    [
        ({"index.html": ""}, '["."'),
        ({"public/index.html": ""}, '["public"'),
        ({"dist/index.html": "", "readme.md": ""}, '["dist"'),
        ({"Staticfile": "root: build\n", "build/x.html": ""}, '["build"'),
    ],
)
def test_static_files_are_served_from_where_they_are(files: Mapping[str, str], root: str) -> None:
    plan = plan_build(MemoryTree(files))
    assert plan.provider == "static"
    assert f"COPY --chown=1000:1000 {root}" in render_dockerfile(plan)


def test_a_vite_app_becomes_a_static_site() -> None:
    files = package(scripts={"build": "vite build"}, devDependencies={"vite": "6"})
    text = render_dockerfile(plan_build(MemoryTree(files)))
    assert '"/app/dist", "/app/site"' in text
    assert "try_files" in text
    assert "caddy" in text.splitlines()[-1]


@pytest.mark.parametrize(
    ("procfile", "start", "port"),
    [
        ("web: ./serve $PORT\nworker: ./work\n", "./serve $PORT", True),
        ("worker: ./work\n", "./work", False),
        ("worker: ./work\nrelease: ./migrate\n", "./work", False),
        ("release: ./migrate\n", "python main.py", True),
        ("nonsense\nweb: x\nweb: y\n", "x", True),
    ],
)
def test_a_procfile_goes_before_what_is_detected(procfile: str, start: str, port: bool) -> None:
    plan = plan_build(MemoryTree({"main.py": "", "Procfile": procfile}))
    assert (plan.start_command, plan.port_expected) == (start, port)
    assert plan.pre_deploy_command == ("./migrate" if "release" in procfile else None)


def test_what_people_say_goes_before_everything() -> None:
    tree = MemoryTree({"main.py": "", "Procfile": "web: x\n"})
    plan = plan_build(tree, PlanSettings(build_command="make", start_command="./mine"))
    assert plan.start_command == "./mine"
    assert "x (Procfile process `web`)" in plan.reasons[-1].alternatives
    assert "make" in render_dockerfile(plan)


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({}, "empty"),
        ({"a.txt": "", "b/c.txt": ""}, "a.txt, b/"),
        ({"package.json": "{"}, "package.json can't be read"),
        ({"pyproject.toml": "[", "main.py": ""}, "pyproject.toml can't be read"),
        ({"package.json": "{}"}, "nothing tells how it starts"),
        ({"requirements.txt": "x"}, "nothing tells how it starts"),
        ({"main.py": "", ".python-version": "2.7"}, "Python 2.7"),
        (package(engines={"node": "12"}) | {"index.js": ""}, "Node 12"),
        (package(packageManager="bun@1.0.0") | {"index.js": ""}, "bun"),
        (package(packageManager="pnpm@1; rm -rf /") | {"index.js": ""}, "no release"),
        ({"Staticfile": "root: ../..\n"}, "leads out"),
        ({"Staticfile": "root: nowhere\n"}, "not in the source"),
        ({"main.py": "", "Procfile": "web: python 'x\n"}, "can't be read"),
    ],
)
def test_what_can_not_be_planned_is_explained(files: Mapping[str, str], words: str) -> None:
    with pytest.raises(PlanError) as caught:
        plan_build(MemoryTree(files))
    assert words in caught.value.sentence


@pytest.mark.parametrize("command", ["a\nRUN id", "a \\", "a\r"])
def test_a_build_command_can_not_break_out_of_its_line(command: str) -> None:
    with pytest.raises(PlanError, match="more than one line"):
        plan_build(MemoryTree({"main.py": ""}), PlanSettings(build_command=command))


def test_a_linters_configuration_makes_no_python_app() -> None:
    plan = plan_build(MemoryTree({**package(), "index.js": "", "pyproject.toml": "[tool.ruff]\n"}))
    assert plan.provider == "node"


def test_losing_alternatives_are_told() -> None:
    plan = plan_build(MemoryTree({"main.py": "", "package.json": "{}", "index.html": ""}))
    assert plan.reasons[0].alternatives == ("node (package.json)", "static (index.html)")


def test_the_same_tree_gives_the_same_plan_whatever_the_order() -> None:
    files = {"requirements.txt": "flask", "app.py": FLASK, "main.py": "", "b.txt": ""}
    plans = [plan_build(MemoryTree(dict(items))) for items in (files.items(), reversed(files.items()))]
    assert plans[0] == plans[1]
    assert plans[0].hash == plans[1].hash


def test_the_hash_follows_what_is_built_not_why() -> None:
    one = plan_build(MemoryTree({"main.py": "", "a.txt": ""}))
    two = plan_build(MemoryTree({"main.py": "", "index.html": ""}))
    other = plan_build(MemoryTree({"main.py": "", "requirements.txt": ""}))
    assert one.hash == two.hash
    assert one.hash != other.hash


def test_a_source_change_comes_after_the_dependencies() -> None:
    files = {"requirements.txt": "flask", "app.py": FLASK}
    lines = render_dockerfile(plan_build(MemoryTree(files))).splitlines()
    install = next(number for number, line in enumerate(lines) if "uv pip install -r" in line)
    assert install < lines.index('COPY --chown=1000:1000 [".", "/app/"]')


def test_a_pipfile_lock_is_read_by_ourselves() -> None:
    lock = {
        "default": {"flask": {"version": "==3.0.0", "hashes": ["sha256:abc"], "markers": "python_version >= '3.8'"}}
    }
    text = render_dockerfile(plan_build(MemoryTree({"Pipfile.lock": json.dumps(lock), "app.py": FLASK})))
    assert "flask==3.0.0 ; python_version >= " in text
    assert "--hash=sha256:abc" in text
