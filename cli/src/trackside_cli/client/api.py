"""The endpoints of REST `/v1` that the command line uses, one method each."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import quote

from trackside_cli.client.types import (
    BuildQueue,
    ConfigVersion,
    Deployment,
    Environment,
    Event,
    EventPage,
    Explanation,
    LogLine,
    Me,
    Project,
    Service,
    ServiceInstance,
    Upload,
    Variable,
    VariablesChanged,
)
from trackside_cli.errors import VERSIONS_HINT, UnexpectedAnswer

if TYPE_CHECKING:
    from trackside_cli.client.transport import Transport  # brings in httpx, which takes time

LOG_PAGE = 1000


@dataclass(frozen=True)
class LogQuery:
    """Which lines of a deployment's logs: `kind` is deploy, build or http; `since` a time in RFC 3339."""

    kind: str = "deploy"
    after: int | None = None
    since: str | None = None
    limit: int = LOG_PAGE
    newest: bool = False


@dataclass(frozen=True)
class EventQuery:
    """Which of the workspace's events: after a number, since a time in RFC 3339, of these types, about these ids."""

    after: int = 0
    since: str | None = None
    types: tuple[str, ...] = ()
    project_id: str | None = None
    environment_id: str | None = None
    service_id: str | None = None
    limit: int = LOG_PAGE
    newest: bool = False

    def about(self) -> dict[str, Any]:
        """What is asked, without how many."""
        return {
            "after": self.after,
            "since": self.since,
            "type": list(self.types) or None,
            "project_id": self.project_id,
            "environment_id": self.environment_id,
            "service_id": self.service_id,
        }


class Api:
    """The API as methods. Every method may raise `ApiError`, `Unreachable` and `UnexpectedAnswer`."""

    def __init__(self, transport: "Transport") -> None:
        self._transport = transport

    def close(self) -> None:
        self._transport.close()

    def me(self) -> Me:
        return cast(Me, self._transport.get("/v1/me"))

    # --- projects, environments, services ---

    def projects(self, name: str | None = None) -> list[Project]:
        return _list(self._transport.get("/v1/projects", name=name), "projects")

    def project(self, project_id: str) -> Project:
        return cast(Project, self._transport.get(f"/v1/projects/{_part(project_id)}"))

    def create_project(self, name: str) -> Project:
        return cast(Project, self._transport.send("POST", "/v1/projects", {"name": name}))

    def delete_project(self, project_id: str) -> None:
        self._transport.send("DELETE", f"/v1/projects/{_part(project_id)}")

    def create_environment(self, project_id: str, name: str) -> Environment:
        answer = self._transport.send("POST", f"/v1/projects/{_part(project_id)}/environments", {"name": name})
        return cast(Environment, answer)

    def delete_environment(self, environment_id: str) -> None:
        self._transport.send("DELETE", f"/v1/environments/{_part(environment_id)}")

    def create_service(self, project_id: str, name: str) -> Service:
        return cast(Service, self._transport.send("POST", f"/v1/projects/{_part(project_id)}/services", {"name": name}))

    def delete_service(self, service_id: str) -> None:
        self._transport.send("DELETE", f"/v1/services/{_part(service_id)}")

    # --- service instances ---

    def instance(self, instance_id: str) -> ServiceInstance:
        return cast(ServiceInstance, self._transport.get(_instance(instance_id)))

    def upload(self, instance_id: str, chunks: Iterable[bytes]) -> Upload:
        """Send an archive (tar.gz) as it is made."""
        return cast(Upload, self._transport.upload(f"{_instance(instance_id)}/uploads", chunks))

    def deploy(self, instance_id: str, source: dict[str, Any] | None, *, is_urgent: bool = False) -> Deployment:
        """Start a deployment of `source`; None is the source that was deployed before."""
        body: dict[str, Any] = {} if source is None else {"source": source}
        if is_urgent:
            body["urgent"] = True
        return cast(Deployment, self._transport.send("POST", f"{_instance(instance_id)}/deployments", body))

    def deployments(self, instance_id: str, limit: int = 20) -> list[Deployment]:
        """The newest deployments, newest first."""
        return _list(self._transport.get(f"{_instance(instance_id)}/deployments", limit=limit), "deployments")

    def variables(self, instance_id: str, *, reveal: bool) -> list[Variable]:
        return _list(self._transport.get(f"{_instance(instance_id)}/variables", reveal=reveal), "variables")

    def change_variables(
        self, instance_id: str, variables: dict[str, str | None], *, skip_deploy: bool
    ) -> VariablesChanged:
        """Set the variables that have a value, delete those with None; a deployment follows unless it is skipped."""
        body = {"variables": variables, "skip_deploy": skip_deploy}
        return cast(VariablesChanged, self._transport.send("PATCH", f"{_instance(instance_id)}/variables", body))

    # --- configuration ---

    def service_config_schema(self) -> dict[str, Any]:
        """The settings a service has, as JSON Schema, out of the platform's own description."""
        return self._transport.get("/v1/schema")["components"]["schemas"]["ServiceConfig"]

    def config(self, environment_id: str) -> ConfigVersion:
        """The newest version of an environment's config."""
        return cast(ConfigVersion, self._transport.get(_config(environment_id)))

    def change_config(self, environment_id: str, patch: dict[str, Any], message: str) -> ConfigVersion:
        """Commit a patch as a new version, in which None removes; nothing is deployed."""
        body = {"patch": patch, "message": message}
        return cast(ConfigVersion, self._transport.send("PATCH", _config(environment_id), body))

    # --- what runs ---

    def scale(self, instance_id: str, replicas: int) -> ServiceInstance:
        return cast(
            ServiceInstance, self._transport.send("POST", f"{_instance(instance_id)}/scale", {"replicas": replicas})
        )

    def restart(self, instance_id: str) -> ServiceInstance:
        return cast(ServiceInstance, self._transport.send("POST", f"{_instance(instance_id)}/restart"))

    def down(self, instance_id: str) -> ServiceInstance:
        return cast(ServiceInstance, self._transport.send("POST", f"{_instance(instance_id)}/down"))

    # --- deployments ---

    def deployment(self, deployment_id: str) -> Deployment:
        return cast(Deployment, self._transport.get(_deployment(deployment_id)))

    def rollback(self, deployment_id: str) -> Deployment:
        return cast(Deployment, self._transport.send("POST", f"{_deployment(deployment_id)}/rollback"))

    def redeploy(self, deployment_id: str, *, is_urgent: bool = False) -> Deployment:
        query = "?urgent=true" if is_urgent else ""
        return cast(Deployment, self._transport.send("POST", f"{_deployment(deployment_id)}/redeploy{query}"))

    def build_queue(self) -> BuildQueue:
        return cast(BuildQueue, self._transport.get("/v1/builds/queue"))

    def cancel(self, deployment_id: str) -> Deployment:
        return cast(Deployment, self._transport.send("POST", f"{_deployment(deployment_id)}/cancel"))

    def logs(self, deployment_id: str, query: LogQuery) -> list[LogLine]:
        """One page of lines, oldest first."""
        answer = self._transport.get(
            f"{_deployment(deployment_id)}/logs",
            kind=query.kind,
            after=query.after,
            since=query.since,
            limit=query.limit,
            newest=query.newest,
        )
        lines: list[LogLine] = _list(answer, "lines")
        return sorted(lines, key=lambda line: line["seq"])

    def follow_logs(self, deployment_id: str, query: LogQuery) -> Iterator[LogLine | None]:
        """Lines as they are written; None for a keep-alive. The stream ends with the build, or when the server goes."""
        stream = self._transport.follow(
            f"{_deployment(deployment_id)}/logs", kind=query.kind, after=query.after, since=query.since, follow=True
        )
        for found in stream:
            yield cast(LogLine, found) if found is not None else None

    def explanation(self, deployment_id: str) -> Explanation:
        """Why a deployment is as it is."""
        return cast(Explanation, self._transport.get(f"{_deployment(deployment_id)}/explanation"))

    # --- events ---

    def events(self, query: EventQuery) -> EventPage:
        """One page of events, oldest first, and the cursor to go on from."""
        answer = self._transport.get("/v1/events", **query.about(), limit=query.limit, newest=query.newest)
        _list(answer, "events")
        return cast(EventPage, answer)

    def follow_events(self, query: EventQuery) -> Iterator[Event | None]:
        """Events as they are recorded; None for a keep-alive. The stream ends when the server goes."""
        for found in self._transport.follow("/v1/events", **query.about(), follow=True):
            yield cast(Event, found) if found is not None else None


def _part(text: str) -> str:
    """A path segment: what people type must not lead to another endpoint."""
    return quote(text, safe="")


def _instance(instance_id: str) -> str:
    return f"/v1/service-instances/{_part(instance_id)}"


def _config(environment_id: str) -> str:
    return f"/v1/environments/{_part(environment_id)}/config"


def _deployment(deployment_id: str) -> str:
    return f"/v1/deployments/{_part(deployment_id)}"


def _list(answer: dict[str, Any], name: str) -> list[Any]:
    found = answer.get(name)
    if not isinstance(found, list):
        raise UnexpectedAnswer(
            f"The answer of the platform has no list `{name}`.",
            hint=VERSIONS_HINT,
        )
    return cast(list[Any], found)
