"""How the API's objects look to people: rows and lines. Pure."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from trackside_cli.client.types import Deployment, LogLine, Project, ServiceInstance, Variable
from trackside_cli.moments import age, parse_time, span

STATUS_COLUMNS = ("project", "environment", "service", "status", "replicas", "url", "deployed")
DEPLOYMENT_COLUMNS = ("id", "status", "created", "took", "source", "trigger", "reason")
LEVEL_STYLES = {
    "error": "red",
    "critical": "red",
    "fatal": "red",
    "warn": "yellow",
    "warning": "yellow",
    "debug": "dim",
}


def status_rows(projects: Iterable[Project], now: datetime) -> list[list[str]]:
    """One row for each service instance; a project without any has one row too."""
    rows: list[list[str]] = []
    for project in projects:
        instances = [one for environment in project["environments"] for one in environment["service_instances"]]
        rows += [[project["name"], *_instance_cells(one, now)] for one in instances]
        if not instances:
            rows.append([project["name"], "", "", "no service yet", "", "", ""])
    return rows


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
    """The active deployment's status, and the newest one's where that is another."""
    active, latest = instance["active_deployment"], instance["latest_deployment"]
    if active is None:
        return latest["status"] if latest else "not deployed"
    if latest is None or latest["id"] == active["id"]:
        return active["status"]
    return f"{active['status']}, newest {latest['status']}"


def deployment_rows(deployments: Iterable[Deployment], now: datetime) -> list[list[str]]:
    return [
        [
            one["id"],
            one["status"],
            age(one["created_at"], now),
            span(one["created_at"], one.get("ended_at") or _last_step_end(one)),
            source_text(one),
            "rollback" if one.get("rollback_of") else one["trigger"],
            one.get("reason") or "",
        ]
        for one in deployments
    ]


def _last_step_end(deployment: Deployment) -> str | None:
    """When the steps were through; None while one is still running."""
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
    if variable["is_sealed"]:
        return "(sealed)"
    value = variable["value"]
    if value is None:
        return "********"
    return value if value.isprintable() else value.encode("unicode_escape").decode("ascii")


def step_text(name: str) -> str:
    """`BUILD_IMAGE` as `Build image`."""
    return name.replace("_", " ").capitalize()


def line_style(line: LogLine) -> str:
    return LEVEL_STYLES.get((line.get("level") or "").lower(), "")


def line_time(line: LogLine, *, is_short: bool) -> str:
    """The line's time: as the API gives it, or short and local for a terminal."""
    moment = parse_time(line["at"])
    if not is_short or moment is None:
        return line["at"]
    return moment.astimezone().strftime("%b %d %H:%M:%S")


def line_message(line: LogLine) -> str:
    """The message; of a request without one, its method, path, status and time."""
    if line["message"]:
        return line["message"]
    told = line.get("attributes") or {}
    if "method" not in told:
        return ""
    duration = f"{told['total_ms']} ms" if told.get("total_ms") is not None else ""
    return " ".join(str(part) for part in (told["method"], told.get("path"), told.get("status"), duration) if part)
