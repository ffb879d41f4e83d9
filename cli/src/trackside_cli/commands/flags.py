"""Flags that several commands share, as dataclasses that a command takes whole, and the way from them to the API."""

import inspect
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields, is_dataclass
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, TypeGuard, TypeVar, get_type_hints

import typer

from trackside_cli import output, scope, session, version
from trackside_cli.client import Api
from trackside_cli.client.types import ServiceInstance
from trackside_cli.errors import UsageError
from trackside_cli.scope import Wanted

Result = TypeVar("Result")

Json = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Don't ask for confirmation.")]
Detach = Annotated[bool, typer.Option("--detach", "-d", help="Don't wait for the end.")]
Urgent = Annotated[bool, typer.Option("--urgent", help="Build it before everything else of the workspace.")]
DeploymentId = Annotated[
    str | None, typer.Argument(metavar="DEPLOYMENT", help="Id of a deployment.", show_default=False)
]

Project = Annotated[str | None, typer.Option("--project", "-p", metavar="NAME", help="Project, by name or id.")]
Environment = Annotated[
    str | None,
    typer.Option("--environment", "-e", metavar="NAME", help="Environment, by name or id; else `production`."),
]
Service = Annotated[str | None, typer.Option("--service", "-s", metavar="NAME", help="Service, by name or id.")]


@dataclass(frozen=True)
class ProjectFlags:
    project: Project = None

    def wanted(self, api_url: str) -> Wanted:
        return _wanted(api_url, Wanted(project=self.project), session.here())


@dataclass(frozen=True)
class Flags:
    """Which service instance is meant."""

    project: Project = None
    environment: Environment = None
    service: Service = None

    def wanted(self, api_url: str, directory: Path | None = None) -> Wanted:
        """With the link of `directory`, which is the present one unless another is named."""
        named = Wanted(self.project, self.environment, self.service)
        return _wanted(api_url, named, directory.resolve() if directory else session.here())


@dataclass(frozen=True)
class Going:
    """How a deployment goes: whether it is waited for, and whether its build goes before others."""

    detach: Detach = False
    urgent: Urgent = False


def _wanted(api_url: str, named: Wanted, directory: Path) -> Wanted:
    link = session.find_link(directory, api_url)
    if link and named.project and named.project not in (link.project_id, link.project):
        link = None
    return Wanted(named.project, named.environment, named.service, link, scope.directory_name(directory))


def takes_flags(command: Callable[..., Result]) -> Callable[..., Result]:
    """Lets a command take groups of flags as dataclasses: each field becomes a flag of its own."""
    signature = inspect.signature(command)
    annotations: dict[str, Any] = {name: one.annotation for name, one in signature.parameters.items()}
    groups: dict[str, type[Any]] = {name: group for name, group in annotations.items() if _is_group(group)}
    plain = [
        one.replace(kind=inspect.Parameter.KEYWORD_ONLY)
        for name, one in signature.parameters.items()
        if name not in groups
    ]

    @wraps(command)
    def flat(**values: Any) -> Result:
        made: dict[str, Any] = {
            name: group(**{field.name: values.pop(field.name) for field in fields(group)})
            for name, group in groups.items()
        }
        return command(**values, **made)

    parameters = plain + [one for group in groups.values() for one in _parameters(group)]
    flat.__signature__ = signature.replace(parameters=parameters)  # pyright: ignore[reportAttributeAccessIssue]
    flat.__annotations__ = {one.name: one.annotation for one in parameters}
    return flat


def _is_group(annotation: Any) -> TypeGuard[type[Any]]:
    return isinstance(annotation, type) and is_dataclass(annotation)


def _parameters(group: type[Any]) -> list[inspect.Parameter]:
    hints = get_type_hints(group, include_extras=True)
    return [
        inspect.Parameter(
            field.name, inspect.Parameter.KEYWORD_ONLY, default=field.default, annotation=hints[field.name]
        )
        for field in fields(group)
    ]


@dataclass(frozen=True)
class Connection:
    """An open API and the address it is at."""

    api: Api
    api_url: str


@contextmanager
def signed_in() -> Generator[Connection, None, None]:
    """The API with the present session. Raises `NotSignedIn` where there is no token."""
    present = session.resolve()
    if present.token is None:
        raise session.sign_in_needed(present)
    with connected(present.api_url, present.token) as connection:
        yield connection


@contextmanager
def connected(api_url: str, token: str) -> Generator[Connection, None, None]:
    """The API at an address with a token; says once where the server is of another version."""
    from trackside_cli.client.transport import Transport  # brings in httpx, which takes time: only where it is needed

    mine = version.VERSION
    told: set[str] = set()

    def on_version(servers: str) -> None:
        if servers not in told and (difference := version.difference(mine, servers)):
            output.note(difference, "yellow")
        told.add(servers)

    if not token.isascii() or not token.isprintable():
        raise UsageError("The token has letters that no token has.", hint="Copy it again, whole and on one line.")
    api = Api(Transport(api_url, token, agent=f"trackside-cli/{mine}", on_version=on_version))
    try:
        yield Connection(api, api_url)
    finally:
        api.close()


def target(connection: Connection, flags: Flags) -> ServiceInstance:
    """The service instance that is to be changed. Where it was guessed, says which one before anything happens."""
    wanted = flags.wanted(connection.api_url)
    project = scope.project(connection.api, wanted)
    found = scope.instance_of(project, scope.environment(project, wanted), scope.service(project, wanted))
    if guess := scope.guess_of(wanted):
        output.note(f"{guess}: this goes to {scope.where(found, project['name'])}.")
    return found


def deployment_id(text: str) -> str:
    """The id of a deployment as typed. Raises `UsageError` for what can't be one."""
    if not scope.is_id(text):
        raise UsageError(f"“{text}” is not the id of a deployment.", hint="List them with `trackside deployments`.")
    return text


def tell_deleted(found: Mapping[str, object], sentence: str, *, as_json: bool) -> None:
    """What was deleted, for people or for programs."""
    if as_json:
        output.as_json({"id": found["id"], "name": found["name"]})
    else:
        output.say(sentence)


def ask_first(question: str, *, is_sure: bool, otherwise: str = "Nothing was deleted") -> bool:
    """Whether to go on; `otherwise` is said where not. Raises `UsageError` where nobody can be asked."""
    answer = True if is_sure else output.confirmed(question)
    if answer is None:
        raise UsageError(f"{otherwise}: nobody is here to confirm it.", hint="Add --yes.")
    if not answer:
        output.note(f"{otherwise}.")
    return answer
