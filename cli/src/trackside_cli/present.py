"""How the API's objects look to people: rows and lines. Pure."""

import json
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any

from trackside_cli.client.types import (
    Deployment,
    Event,
    Explanation,
    LogLine,
    Place,
    Project,
    Queued,
    ServiceInstance,
    Variable,
)
from trackside_cli.moments import age, parse_time, span
from trackside_cli.settings import Found

STATUS_COLUMNS = ("project", "environment", "service", "status", "replicas", "url", "deployed")
DEPLOYMENT_COLUMNS = ("id", "status", "created", "took", "source", "trigger", "reason")
QUEUE_COLUMNS = ("place", "project", "environment", "service", "priority", "since", "deployment")
ORDINALS = ("First", "Second", "Third", "Fourth", "Fifth", "Sixth", "Seventh", "Eighth", "Ninth", "Tenth")
LEVEL_STYLES = {
    "error": "red",
    "critical": "red",
    "fatal": "red",
    "warn": "yellow",
    "warning": "yellow",
    "debug": "dim",
}

EVENT_STYLES = {"DeploymentFailed": "red", "DeploymentCrashed": "red", "DeploymentSucceeded": "green"}
STATUS_STYLES = {"SUCCESS": "bold green", "FAILED": "bold red", "CRASHED": "bold red"}


def status_rows(projects: Iterable[Project], now: datetime) -> list[list[str]]:
    """One row for each service instance; a project without any has one row too."""
    rows: list[list[str]] = []
    for project in projects:
        instances = [one for environment in project["environments"] for one in environment["service_instances"]]
        rows += [[project["name"], *_instance_cells(one, now)] for one in instances]
        if not instances:
            rows.append([project["name"], "", "", "no service yet", "", "", ""])
    return rows


def ailments(projects: Iterable[Project]) -> list[str]:
    """What is wrong with replicas of what serves, a line each."""
    return [
        f"{instance['service_name']} in {environment['name']} of {project['name']}, replica {replica['ordinal']}: "
        f"{replica['status']}, {replica['detail']}"
        for project in projects
        for environment in project["environments"]
        for instance in environment["service_instances"]
        if instance["active_deployment"]
        for replica in instance["active_deployment"]["replicas"]
        if replica["detail"]
    ]


def _instance_cells(instance: ServiceInstance, now: datetime) -> list[str]:
    deployment = instance["active_deployment"] or instance["latest_deployment"]
    replicas = instance["replicas"]
    return [
        instance["environment_name"],
        instance["service_name"],
        instance_status(instance),
        f"{replicas['healthy']}/{replicas['wanted']}",
        instance["url"] or "",
        age(deployment["created_at"], now) if deployment else "",
    ]


def instance_status(instance: ServiceInstance) -> str:
    """The active deployment's status, and the newest one's where that is another and was not taken back."""
    active, latest = instance["active_deployment"], instance["latest_deployment"]
    if active is None:
        return status_text(latest) if latest else "not deployed"
    if latest is None or latest["id"] == active["id"] or latest["status"] in ("REMOVED", "SKIPPED"):
        return active["status"]
    return f"{active['status']}, newest {status_text(latest)}"


def status_text(deployment: Deployment) -> str:
    """The status; of one that waits to be built, with its place: `QUEUED, 3 of 12`."""
    place = deployment.get("queue")
    return f"{deployment['status']}, {place['place']} of {place['waiting']}" if place else deployment["status"]


def place_text(place: Place) -> str:
    """A place in the build queue as a sentence: `Third in the queue; 2 building.`"""
    number = place["place"]
    which = ORDINALS[number - 1] if number <= len(ORDINALS) else f"Number {number}"
    return f"{which} in the queue{_building(place)}."


def _building(place: Place) -> str:
    return f"; {place['building']} building" if place["building"] else ""


def queue_rows(builds: Iterable[Queued], now: datetime) -> list[list[str]]:
    """One row for each build, in the queue's order."""
    return [
        [
            str(one["place"] or "building"),
            one["project_name"],
            one["environment_name"],
            one["service_name"],
            one["priority"],
            age(one["began_at"] or one["queued_at"], now),
            one["deployment_id"],
        ]
        for one in builds
    ]


def deployment_rows(deployments: Iterable[Deployment], now: datetime) -> list[list[str]]:
    return [
        [
            one["id"],
            status_text(one),
            age(one["created_at"], now),
            span(one["created_at"], _last_step_end(one) or one.get("ended_at")),
            source_text(one),
            "rollback" if one.get("rollback_of") else one["trigger"],
            one.get("reason") or "",
        ]
        for one in deployments
    ]


def superseding(asked_for: Any) -> str:
    """What an answer says of deployments that made way: ` in place of deployment 01a2…, which had not served yet`."""
    ended: list[str] = asked_for.get("superseded") or []
    several = len(ended) > 1
    return (
        f" in place of deployment{'s' if several else ''} {', '.join(ended)}, which had not served yet" if ended else ""
    )


def _last_step_end(deployment: Deployment) -> str | None:
    """When the steps were through (its life after them counts for nothing); None where one was not."""
    ends = [step["completed_at"] for step in deployment["steps"] if not step["skipped"]]
    return max((end for end in ends if end), default=None) if all(ends) else None


def source_text(deployment: Deployment) -> str:
    """Where it comes from, in a few words: `example.com/app@main 1a2b3c4 Message`."""
    source: dict[str, Any] = deployment.get("source") or {}
    kind = source.get("kind")
    if kind == "image":
        return str(source.get("reference") or "")
    if kind != "git":
        return "upload" if kind == "upload" else str(kind or "")
    where = str(source.get("url") or "").partition("://")[2] or str(source.get("url") or "")
    reference = f"@{source['reference']}" if source.get("reference") else ""
    commit = deployment.get("commit")
    words = f" {commit['sha'][:7]} {first_line(commit.get('message') or '')}".rstrip() if commit else ""
    return where.removesuffix(".git") + reference + words


def first_line(text: str, most: int = 50) -> str:
    line = text.strip().partition("\n")[0]
    return line if len(line) <= most else f"{line[: most - 1]}…"


def variable_rows(variables: Iterable[Variable]) -> list[list[str]]:
    return [[one["name"], variable_text(one)] for one in variables]


def variable_text(variable: Variable) -> str:
    """A value on one line; what would break the line is written as an escape."""
    value = variable["value"]
    if value is None:
        return "********"
    return value if value.isprintable() else value.encode("unicode_escape").decode("ascii")


def setting_rows(found: Iterable[Found]) -> list[list[str]]:
    return [[one["key"], _setting_value(one["value"]), _origin(one)] for one in found]


def _setting_value(value: Any) -> str:
    """A text as it is where it fits on a line, anything else as JSON."""
    if value is None:
        return ""
    return value if isinstance(value, str) and value.isprintable() else json.dumps(value, ensure_ascii=False)


def _origin(found: Found) -> str:
    if not found["is_used"]:
        return "set, not used"
    return "default" if found["is_default"] else "set"


def step_text(name: str) -> str:
    """`BUILD_IMAGE` as `Build image`."""
    return name.replace("_", " ").capitalize()


def line_style(line: LogLine) -> str:
    return LEVEL_STYLES.get((line.get("level") or "").lower(), "")


def short_time(text: str, *, is_short: bool) -> str:
    """A time as the API gives it, or short and local for a terminal."""
    moment = parse_time(text)
    if not is_short or moment is None:
        return text
    return moment.astimezone().strftime("%b %d %H:%M:%S")


def event_text(event: Event) -> str:
    """What happened, and who did it."""
    return f"{event['sentence']} ({event['actor'].get('name') or event['actor'].get('id')})"


def event_style(event: Event) -> str:
    return EVENT_STYLES.get(event["type"], "")


def explanation_lines(found: Explanation, *, is_short: bool) -> Iterator[tuple[str, str]]:
    """An explanation as lines, each with its style: what it came to, what happened, what comes next."""
    where = f"{found['service_name']} in {found['environment_name']} of project {found['project_name']}"
    status = found["status"]
    yield f"Deployment {found['deployment_id']} of {where}: {status}", STATUS_STYLES.get(status, "bold")
    yield found["sentence"], ""
    if found["hint"]:
        yield f"hint: {found['hint']}", ""
    if found.get("code"):
        yield f"code: {found['code']}", "dim"
    yield "", ""
    for one in found["happened"]:
        took = _seconds_text(one["seconds"]) if one["seconds"] is not None else ""
        so_far = "" if one["is_over"] else "…"
        yield f"{_second(one['at'], is_short=is_short)}  {took + so_far:>12}  {one['sentence']}", ""
    if found["waits_for"]:
        yield "", ""
        yield f"Waits for: {found['waits_for']}", "yellow"


def _second(text: str, *, is_short: bool) -> str:
    """A time to the second, so that lines stand below each other."""
    moment = parse_time(text)
    return short_time(moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"), is_short=is_short) if moment else text


def _seconds_text(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 60 else f"{int(seconds) // 60} min {int(seconds) % 60} s"


def line_message(line: LogLine) -> str:
    """The message; of a request without one, its method, path, status and time."""
    if line["message"]:
        return line["message"]
    told = line.get("attributes") or {}
    if "method" not in told:
        return ""
    duration = f"{told['total_ms']} ms" if told.get("total_ms") is not None else ""
    return " ".join(str(part) for part in (told["method"], told.get("path"), told.get("status"), duration) if part)
