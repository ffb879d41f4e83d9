"""From what the command line names to what the API has: project, environment, service instance.

Each is taken from the flag, else from the directory's link, else as the only one there is. Projects and services may
also be meant by the name of the present directory, because that is the name `trackside up` gives them. The environment
defaults to `production`.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar
from uuid import UUID

from trackside_cli.client import Api
from trackside_cli.client.types import Environment, Project, Service, ServiceInstance
from trackside_cli.errors import Ambiguous, ApiError, Missing
from trackside_cli.session import Link

DEFAULT_ENVIRONMENT = "production"

Thing = TypeVar("Thing", Project, Environment, Service)


@dataclass(frozen=True)
class Wanted:
    """What the command line says: names or ids from flags, the link, and the present directory's name."""

    project: str | None = None
    environment: str | None = None
    service: str | None = None
    link: Link | None = None
    directory: str = ""


def is_id(text: str) -> bool:
    try:
        UUID(text)
    except ValueError:
        return False
    return True


def slug(text: str) -> str:
    """A name in the platform's grammar: small letters, digits, hyphens, a letter first. `01-hello` gives `hello`."""
    plain = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
    begun = re.sub(r"^[0-9-]+(?=[a-z])", "", plain)
    return (begun if begun[:1].isalpha() else f"app-{begun}")[:32].strip("-")


def named_after(location: str) -> str:
    """A name from a repository's URL or an image's reference: its last part."""
    return slug(re.split(r"[/:]", re.sub(r"(@sha256:[0-9a-f]+|\.git|:[\w.-]+)$", "", location.rstrip("/")))[-1])


def directory_name(directory: Path) -> str:
    return slug(directory.resolve().name)


# --- projects ---


def projects(api: Api, wanted: Wanted) -> list[Project]:
    """The project that is named or linked; all of them where none is."""
    if wanted.project or wanted.link:
        return [project(api, wanted)]
    return api.projects()


def project(api: Api, wanted: Wanted) -> Project:
    """The project meant. Raises `Missing` or `Ambiguous`, naming the choices."""
    if wanted.project:
        return _named_project(api, wanted.project)
    if wanted.link:
        return _linked_project(api, wanted.link)
    return _only(api.projects(), "project", wanted.directory)


def _named_project(api: Api, name: str) -> Project:
    if is_id(name):
        return api.project(name)
    found = [candidate for candidate in api.projects(name) if candidate["name"] == name]
    return found[0] if found else _pick(name, api.projects(), "project")


def _linked_project(api: Api, link: Link) -> Project:
    try:
        return api.project(link.project_id)
    except ApiError as error:
        if error.kind != "missing":
            raise
        raise Missing(
            f"The project “{link.project}” that this directory is linked to is gone.",
            hint="Link another with `trackside link --project NAME`, or delete .trackside.json.",
        ) from error


# --- environments and service instances ---


def environment(found: Project, wanted: Wanted) -> Environment:
    """The environment meant: flag, link, `production`."""
    link = _link_of(found, wanted)
    named = wanted.environment or (link.environment_id if link else DEFAULT_ENVIRONMENT)
    return _pick(named, found["environments"], "environment")


def service(found: Project, wanted: Wanted) -> Service:
    """The service meant: flag, link, the only one, the one named like the directory."""
    link = _link_of(found, wanted)
    named = wanted.service or (link.service_id if link else None)
    if named:
        return _pick(named, found["services"], "service")
    return _only(found["services"], "service", wanted.directory)


def instance(api: Api, wanted: Wanted) -> ServiceInstance:
    """The service instance meant."""
    found = project(api, wanted)
    return instance_of(found, environment(found, wanted), service(found, wanted))


def instance_of(found: Project, within: Environment, of: Service) -> ServiceInstance:
    for candidate in within["service_instances"]:
        if candidate["service_id"] == of["id"]:
            return candidate
    raise Missing(
        f"The service “{of['name']}” of “{found['name']}” is not in the environment “{within['name']}”.",
        hint="Try again in a moment: a new service reaches every environment.",
    )


def _link_of(found: Project, wanted: Wanted) -> Link | None:
    """The link, where it is about this project."""
    return wanted.link if wanted.link and wanted.link.project_id == found["id"] else None


def guess_of(wanted: Wanted) -> str:
    """What the command line leaves open, so that it is the only one or has this directory's name; empty where nothing."""
    if not wanted.project and not wanted.link:
        return "No project is named or linked here"
    if not wanted.service and not (wanted.link and wanted.link.service_id):
        return "No service is named or linked here"
    return ""


def where(found: ServiceInstance, project: str) -> str:
    """A service instance in words: `web in production of project shop`."""
    return f"{found['service_name']} in {found['environment_name']} of project {project}"


def for_upload(wanted: Wanted) -> Wanted:
    """For uploading a directory: without a flag and a link, its project is the one of its name, there or not."""
    return wanted if wanted.link else replace(wanted, project=wanted.project or wanted.directory)


# --- making what is missing ---


@dataclass(frozen=True)
class Target:
    """Where a deployment goes, and what was made for it."""

    instance: ServiceInstance
    project: str
    made: tuple[str, ...]


def ensure_target(api: Api, wanted: Wanted, default: str) -> Target:
    """Where to deploy; what is missing is made, named `default` where the command line gives no name."""
    found, made = _ensure_project(api, wanted, default)
    within = environment(found, wanted)
    try:
        of = service(found, wanted)
    except Missing:
        if is_id(wanted.service or ""):
            raise
    else:
        return Target(instance_of(found, within, of), found["name"], made)
    name = wanted.service or default
    of = _ensure_service(api, found, name)
    found = api.project(found["id"])
    return Target(instance_of(found, environment(found, wanted), of), found["name"], (*made, f"service “{name}”"))


def _ensure_project(api: Api, wanted: Wanted, default: str) -> tuple[Project, tuple[str, ...]]:
    try:
        return project(api, wanted), ()
    except Missing:
        if is_id(wanted.project or "") or (wanted.link and not wanted.project):
            raise
    name = wanted.project or default
    try:
        return api.create_project(name), (f"project “{name}”",)
    except ApiError as error:
        if error.kind != "conflict":
            raise
        return _named_project(api, name), ()  # somebody else made it in this moment


def _ensure_service(api: Api, found: Project, name: str) -> Service:
    try:
        return api.create_service(found["id"], name)
    except ApiError as error:
        if error.kind != "conflict":
            raise
        return _pick(name, api.project(found["id"])["services"], "service")


# --- choosing ---


def _pick(named: str, things: Sequence[Thing], noun: str) -> Thing:
    for thing in things:
        if named in (thing["id"], thing["name"]):
            return thing
    raise Missing(f"There is no {noun} “{named}”.", hint=_choices(things, noun))


def _only(things: Sequence[Thing], noun: str, directory: str) -> Thing:
    if len(things) == 1:
        return things[0]
    for thing in things:
        if thing["name"] == directory:
            return thing
    if not things:
        raise Missing(
            f"There is no {noun} yet.", hint="Make one with `trackside up`, or `trackside deploy --repo URL`."
        )
    raise Ambiguous(
        f"Which {noun}? There are {len(things)}.",
        hint=f"{_choices(things, noun)} Add --{noun} NAME, or `trackside link` once.",
    )


def _choices(things: Sequence[Thing], noun: str) -> str:
    if not things:
        return f"There is no {noun} at all."
    names = sorted(thing["name"] for thing in things)
    more = f" and {len(names) - 20} more" if len(names) > 20 else ""
    return f"There are: {', '.join(names[:20])}{more}."
