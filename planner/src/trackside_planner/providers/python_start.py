"""How a Python app starts: found by reading its source (AST), never by running it."""

import ast
import posixpath
import re
from collections.abc import Iterator
from dataclasses import dataclass

from trackside_planner.catalogue import PYTHON_SERVERS
from trackside_planner.tree import Tree

MAIN_FILES = ("main.py", "app.py", "server.py", "start.py", "bot.py", "run.py", "hello.py")
_APP_CLASSES = {
    "FastAPI": "uvicorn",
    "Starlette": "uvicorn",
    "Litestar": "uvicorn",
    "Quart": "uvicorn",
    "Sanic": "uvicorn",
    "Flask": "gunicorn",
    "Bottle": "gunicorn",
    "Falcon": "gunicorn",
}
_FACTORIES = ("create_app", "make_app", "get_app")
_DATABASES = (".db", ".sqlite", ".sqlite3")
_LISTEN = {
    "uvicorn": "uvicorn {app} --host 0.0.0.0 --port ${{PORT:-8080}}",
    "gunicorn": "gunicorn {app} --bind 0.0.0.0:${{PORT:-8080}}",
}
_MOST_PARSED = 200


@dataclass(frozen=True)
class PythonStart:
    """The command, why, and the server package that must be added because the app brings none (a pinned requirement)."""

    command: str
    rule: str
    file: str | None
    alternatives: tuple[str, ...] = ()
    added: str | None = None


@dataclass(frozen=True)
class _AppObject:
    file: str
    path: str  # `package.module:app`
    server: str
    is_factory: bool = False


def find_start(tree: Tree, packages: frozenset[str]) -> PythonStart | None:
    """How the app starts, or None. `packages`: names of what it depends on, normalised."""
    found = [start for start in _candidates(tree, packages) if start is not None]
    if not found:
        return None
    first, others = found[0], found[1:]
    return PythonStart(first.command, first.rule, first.file, tuple(other.command for other in others), first.added)


def _candidates(tree: Tree, packages: frozenset[str]) -> Iterator[PythonStart | None]:
    yield _django(tree, packages)
    yield from (_serve(app, packages) for app in _app_objects(tree))
    yield _datasette(tree, packages)
    yield _streamlit(tree, packages)
    for name in MAIN_FILES:
        if tree.text(name) is not None:
            yield PythonStart(f"python {name}", "a main file at the top", name)


def _django(tree: Tree, packages: frozenset[str]) -> PythonStart | None:
    manage = tree.text("manage.py")
    if manage is None or "DJANGO_SETTINGS_MODULE" not in manage:
        return None
    match = re.search(r"DJANGO_SETTINGS_MODULE[\"']\s*,\s*[\"']([\w.]+)[\"']", manage)
    if match is None:
        return None
    package = match[1].split(".")[0]
    has_wsgi = tree.text(f"{package}/wsgi.py") is not None
    app = f"{package}.wsgi:application" if has_wsgi else f"{package}.asgi:application"
    return _with_server("gunicorn" if has_wsgi else "uvicorn", app, packages, ("a Django project", "manage.py"))


def _serve(app: _AppObject, packages: frozenset[str]) -> PythonStart:
    rule = f"the app object `{app.path}`"
    start = _with_server(app.server, app.path, packages, (rule, app.file))
    if not app.is_factory:
        return start
    command = (
        start.command.replace(app.path, f"'{app.path}()'") if app.server == "gunicorn" else f"{start.command} --factory"
    )
    return PythonStart(command, start.rule, start.file, added=start.added)


def _with_server(server: str, app: str, packages: frozenset[str], why: tuple[str, str]) -> PythonStart:
    brings_server = server in packages or (server == "uvicorn" and "fastapi[standard]" in packages)
    added = None if brings_server else f"{server}=={PYTHON_SERVERS[server]}"
    return PythonStart(_LISTEN[server].format(app=app), why[0], why[1], added=added)


def _datasette(tree: Tree, packages: frozenset[str]) -> PythonStart | None:
    if "datasette" not in packages:
        return None
    databases = [path for path in tree.files() if path.endswith(_DATABASES)]
    file = next((path for path in databases if "/" not in path), None)
    return PythonStart("datasette serve . --host 0.0.0.0 --port ${PORT:-8080}", "Datasette over this directory", file)


def _streamlit(tree: Tree, packages: frozenset[str]) -> PythonStart | None:
    file = next((name for name in ("streamlit_app.py", *MAIN_FILES) if tree.text(name) is not None), None)
    if "streamlit" not in packages or file is None:
        return None
    command = f"streamlit run {file} --server.address 0.0.0.0 --server.port ${{PORT:-8080}} --server.headless true"
    return PythonStart(command, "a Streamlit app", file)


def _app_objects(tree: Tree) -> Iterator[_AppObject]:
    """Web app objects, best first: main files at the top, then files nearer to the top."""
    files = [path for path in tree.files() if path.endswith(".py") and _is_source(path)]
    for path in sorted(files, key=_rank)[:_MOST_PARSED]:
        try:
            module = ast.parse(tree.text(path) or "")
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            continue
        yield from _in_module(path, module)


def _is_source(path: str) -> bool:
    parts = path.split("/")
    name = parts[-1]
    is_test = name.startswith("test_") or name.endswith("_test.py") or name == "conftest.py"
    return not is_test and not {"tests", "test", "docs", "examples", "migrations"} & set(parts[:-1])


def _rank(path: str) -> tuple[int, int, str]:
    name = posixpath.basename(path)
    order = MAIN_FILES.index(name) if name in MAIN_FILES else len(MAIN_FILES)
    return path.count("/"), order, path


def _in_module(path: str, module: ast.Module) -> Iterator[_AppObject]:
    dotted = _module_name(path)
    for statement in module.body:
        match statement:
            case ast.Assign(targets=[ast.Name(id=name)], value=ast.Call() as call):
                pass
            case ast.AnnAssign(target=ast.Name(id=name), value=ast.Call() as call):
                pass
            case ast.FunctionDef(name=name) if name in _FACTORIES and (server := _factory_server(statement)):
                yield _AppObject(path, f"{dotted}:{name}", server, is_factory=True)
                continue
            case _:
                continue
        if server := _APP_CLASSES.get(_called(call)):
            yield _AppObject(path, f"{dotted}:{name}", server)


def _called(call: ast.Call) -> str:
    match call.func:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
        case _:
            return ""


def _factory_server(function: ast.FunctionDef) -> str | None:
    """The server for what a factory makes; one with required arguments can't be called by a server."""
    required = len(function.args.args) - len(function.args.defaults)
    if required > 0:
        return None
    calls = (node for node in ast.walk(function) if isinstance(node, ast.Call))
    return next((server for call in calls if (server := _APP_CLASSES.get(_called(call)))), None)


def _module_name(path: str) -> str:
    parts = path.removesuffix(".py").split("/")
    if parts[-1] == "__init__":
        parts.pop()
    if parts and parts[0] == "src":
        parts.pop(0)
    return ".".join(parts)
