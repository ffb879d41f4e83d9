"""The contract's twin: a platform in memory whose course a test decides; `twin_server` puts REST `/v1` before it.

A deployment goes on by one chapter of its course each time somebody reads it, so that tests need no clock.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, cast
from uuid import uuid4

TOKEN = "trackside_test_token"
NOW = "2026-01-31T12:00:00Z"
LATER = "2026-01-31T12:00:02.500000Z"
Json = dict[str, Any]


class Refused(Exception):
    """An error of the API, to be answered as the contract says."""

    STATUSES: ClassVar = {
        "invalid": 400,
        "unauthenticated": 401,
        "denied": 403,
        "missing": 404,
        "conflict": 409,
        "internal": 500,
        "unavailable": 503,
    }

    def __init__(self, kind: str, message: str, code: str = "", hint: str = "") -> None:
        super().__init__(message)
        self.kind = kind
        self.code = code or f"twin.{kind}"
        self.hint = hint
        self.status = self.STATUSES.get(kind, 429)


def a_step(name: str, *, is_done: bool = True, error: str | None = None, is_skipped: bool = False) -> Json:
    return {
        "name": name,
        "started_at": None if is_skipped else NOW,
        "completed_at": LATER if is_done else None,
        "error": error,
        "skipped": is_skipped,
    }


def merged(document: Json, patch: Json) -> Json:
    """Objects merge, null removes, everything else replaces."""
    result = dict(document)
    for key, value in patch.items():
        result[key] = merged(result.get(key) or {}, cast(Json, value)) if isinstance(value, dict) else value
    return {key: value for key, value in result.items() if value is not None}


Course = Sequence["Json | Refused"]
SUCCEEDS: Course = [
    {"status": "QUEUED"},
    {"status": "BUILDING", "steps": [a_step("SNAPSHOT_CODE"), a_step("BUILD_IMAGE", is_done=False)]},
    {
        "status": "DEPLOYING",
        "steps": [a_step("SNAPSHOT_CODE"), a_step("BUILD_IMAGE"), a_step("PRE_DEPLOY_COMMAND", is_skipped=True)],
    },
    {
        "status": "SUCCESS",
        "image_id": "sha256:1",
        "url": "http://web-production.localhost:7780",
        "updated_at": LATER,
        "steps": [a_step("SNAPSHOT_CODE"), a_step("BUILD_IMAGE"), a_step("HEALTHCHECK")],
    },
]
FAILS: Course = [
    {"status": "DEPLOYING", "steps": [a_step("BUILD_IMAGE"), a_step("HEALTHCHECK", is_done=False)]},
    {
        "status": "FAILED",
        "reason": "The app never answered on port 8080.",
        "hint": "Listen on $PORT.",
        "code": "deployments.unheard_of",
        "ended_at": LATER,
        "steps": [a_step("BUILD_IMAGE"), a_step("HEALTHCHECK", error="no answer")],
    },
]
STAYS: Course = [{"status": "BUILDING"}]


@dataclass
class Platform:
    """What the twin knows, and what tests may change."""

    version: str = "0.1.0"
    course: Course = field(default_factory=lambda: SUCCEEDS)
    projects: list[Json] = field(default_factory=list[Json])
    deployments: dict[str, Json] = field(default_factory=dict[str, Json])
    courses: dict[str, list[Json | Refused]] = field(default_factory=dict[str, "list[Json | Refused]"])
    variables: dict[str, str] = field(default_factory=dict[str, str])
    runs_nothing: set[str] = field(default_factory=set[str])
    """Service instances of which nothing serves or comes: what they are scaled to is for later."""
    sealed: set[str] = field(default_factory=set[str])
    """Variables whose values are never shown."""
    configs: dict[str, list[Json]] = field(default_factory=dict[str, list[Json]])
    """The versions of each environment's config, as patches with their messages."""
    events: list[Json] = field(default_factory=list[Json])
    explanations: dict[str, Json] = field(default_factory=dict[str, Json])
    lines: dict[tuple[str, str], list[Json]] = field(default_factory=dict[tuple[str, str], list[Json]])
    queue: Json = field(default_factory=lambda: {"waiting": 0, "building": 0, "builds": []})
    uploads: dict[str, bytes] = field(default_factory=dict[str, bytes])
    requests: list[tuple[str, str, Json]] = field(default_factory=list[tuple[str, str, Json]])
    refusals: dict[str, list[Refused]] = field(default_factory=dict[str, list[Refused]])
    cuts: list[int] = field(default_factory=list[int])
    """After how many lines each next followed log breaks off."""
    on_read: Callable[[Json], None] | None = None
    during_follow: Callable[[], None] | None = None
    on_request: Callable[[str], None] | None = None

    # --- what tests prepare ---

    def a_project(self, name: str, *services: str) -> Json:
        project: Json = {"id": str(uuid4()), "name": name, "workspace_id": str(uuid4()), "created_at": NOW}
        project |= {"environments": [], "services": []}
        self.projects.append(project)
        self.an_environment(project, "production")
        for service in services:
            self.a_service(project, service)
        return project

    def an_environment(self, project: Json, name: str) -> Json:
        environment: Json = {"id": str(uuid4()), "name": name, "service_instances": []}
        project["environments"].append(environment)
        for service in project["services"]:
            self._an_instance(project, environment, service)
        return environment

    def a_service(self, project: Json, name: str) -> Json:
        service = {"id": str(uuid4()), "name": name}
        project["services"].append(service)
        for environment in project["environments"]:
            self._an_instance(project, environment, service)
        return service

    def _an_instance(self, project: Json, environment: Json, service: Json) -> None:
        instance: Json = {
            "id": str(uuid4()),
            "service_id": service["id"],
            "service_name": service["name"],
            "environment_id": environment["id"],
            "environment_name": environment["name"],
            "project_id": project["id"],
            "url": None,
            "host": None,
            "replicas": {"wanted": 1, "healthy": 0},
            "active_deployment": None,
            "latest_deployment": None,
        }
        environment["service_instances"].append(instance)

    def a_deployment(self, instance: Json, course: Course | None = None, **values: Any) -> Json:
        deployment: Json = {
            "id": str(uuid4()),
            "service_instance_id": instance["id"],
            "status": "INITIALIZING",
            **dict.fromkeys(
                ("reason", "hint", "code", "url", "commit", "image_id", "rollback_of", "ended_at", "queue")
            ),
            "source": {},
            "trigger": "manual",
            "replicas": [],
            "superseded": [],
            "steps": [],
            "created_at": NOW,
            "updated_at": NOW,
            **values,
        }
        self.deployments[deployment["id"]] = deployment
        self.courses[deployment["id"]] = list(self.course if course is None else course)
        instance["latest_deployment"] = deployment
        if deployment["status"] == "SUCCESS":
            instance["active_deployment"] = deployment
        return deployment

    def a_line(self, deployment: Json, message: str, kind: str = "deploy", **values: Any) -> Json:
        lines = self.lines.setdefault((deployment["id"], kind), [])
        line: Json = {
            "seq": len(lines) + 1,
            "at": NOW,
            "level": "info",
            "message": message,
            "replica_id": None,
            "attributes": {},
        }
        lines.append(line | values)
        return lines[-1]

    def an_event(self, sentence: str, type: str = "ProjectCreated", at: str = NOW, **place: str) -> Json:
        event: Json = {"seq": len(self.events) + 1, "id": str(uuid4()), "type": type, "at": at, "sentence": sentence}
        event |= {"actor": {"id": "a1", "kind": "token", "name": "Ada"}, "place": place, "data": {}}
        self.events.append(event)
        return event

    def refuse(self, path: str, *refusals: Refused) -> None:
        """The next requests whose path ends so are refused."""
        self.refusals.setdefault(path, []).extend(refusals)

    # --- what tests look at ---

    def instance(self, project: int = 0, number: int = 0) -> Json:
        return self.projects[project]["environments"][0]["service_instances"][number]

    def sent(self, method: str, ending: str) -> list[Json]:
        return [body for verb, path, body in self.requests if verb == method and path.endswith(ending)]

    def settings(self, instance: Json) -> Json:
        """What the config says of a service instance."""
        services = self.config(instance["environment_id"])["config"].get("services", {})
        return services.get(instance["service_id"], {})

    # --- finding ---

    def config(self, environment_id: str) -> Json:
        """The newest version of an environment's config."""
        config: Json = {}
        for version in self.configs.get(environment_id, []):
            config = merged(config, version["patch"])
        return {"version": len(self.configs.get(environment_id, [])), "config": config}

    def instances(self) -> list[Json]:
        return [
            one
            for project in self.projects
            for environment in project["environments"]
            for one in environment["service_instances"]
        ]

    def find(self, things: list[Json], wanted: str) -> Json:
        for thing in things:
            if thing["id"] == wanted:
                return thing
        raise Refused("missing", "There is no such thing.", "twin.missing", "Look again.")

    def read(self, wanted: str) -> Json:
        """A deployment, one chapter on."""
        deployment = self.find(list(self.deployments.values()), wanted)
        if course := self.courses[wanted]:
            chapter = course.pop(0)
            if isinstance(chapter, Refused):
                raise chapter
            deployment.update(chapter)
            instance = self.find(self.instances(), deployment["service_instance_id"])
            if deployment["status"] == "SUCCESS":
                instance["active_deployment"] = deployment
                instance["url"] = deployment["url"]
        if self.on_read:
            self.on_read(deployment)
        return deployment
