"""What exactly a container is told: command, variables, probe, limits. Pure."""

import re
import shlex
from collections.abc import Mapping
from uuid import UUID

from trackside.rooms.deployments.model import Deployment, Limits, RestartPolicy, Role
from trackside.rooms.deployments.plan.facts import DEFAULT_PORT
from trackside.rooms.networking.model import Probe, ProbeKind
from trackside.rooms.projects.model import ServiceInstance

CAPABILITIES = (
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "NET_BIND_SERVICE",
    "SETGID",
    "SETUID",
)
"""What a container may do beyond an ordinary process: enough for images that start as root and step down."""
_COMPOUND = re.compile(r"[;&|<>`\n(){}]")
_SHELL = re.compile(r"[$*?~#\[\]\\'\"=]")


def argv_of(command: str) -> tuple[str, ...]:
    """The argument vector of a command a person wrote.

    Plain words are run as they are. What needs a shell (variables, globs) gets one that replaces itself with the app
    (`exec`), so that the app is the one that receives SIGTERM; only compound commands keep their shell.
    """
    text = command.strip()
    if _COMPOUND.search(text):
        return ("/bin/sh", "-c", text)
    if _SHELL.search(text):
        return ("/bin/sh", "-c", text if _assigns(text) else f"exec {text}")
    return tuple(shlex.split(text))


def _assigns(text: str) -> bool:
    """Whether the command begins with `NAME=value` or `exec`, which `exec` cannot be put before."""
    return bool(re.match(r"([A-Za-z_][A-Za-z0-9_]*=|exec\s)", text))


def command_of(deployment: Deployment, role: Role) -> tuple[str, ...] | None:
    """The container's command; None = what the image says."""
    image = deployment.image
    if role is Role.PRE_DEPLOY:
        command = deployment.settings.pre_deploy_command or (image.pre_deploy_command if image else None)
    else:
        command = deployment.settings.start_command
    return argv_of(command) if command else None


def provided_variables(
    instance: ServiceInstance, deployment: Deployment, replica_id: UUID, host: str
) -> dict[str, str]:
    """Railway's `RAILWAY_*` variables, which every deployment gets."""
    source = deployment.commit or {}
    values = {
        "RAILWAY_PROJECT_ID": str(instance.project_id),
        "RAILWAY_PROJECT_NAME": instance.project_name,
        "RAILWAY_ENVIRONMENT_ID": str(instance.environment_id),
        "RAILWAY_ENVIRONMENT_NAME": instance.environment_name,
        "RAILWAY_ENVIRONMENT": instance.environment_name,
        "RAILWAY_SERVICE_ID": str(instance.service_id),
        "RAILWAY_SERVICE_NAME": instance.service_name,
        "RAILWAY_PRIVATE_DOMAIN": f"{instance.service_name}.railway.internal",
        "RAILWAY_PUBLIC_DOMAIN": host,
        "RAILWAY_STATIC_URL": host,
        "RAILWAY_DEPLOYMENT_ID": str(deployment.id),
        "RAILWAY_REPLICA_ID": str(replica_id),
        "RAILWAY_GIT_COMMIT_SHA": source.get("sha", ""),
        "RAILWAY_GIT_AUTHOR": source.get("author", ""),
        "RAILWAY_GIT_BRANCH": source.get("branch", ""),
        "RAILWAY_GIT_COMMIT_MESSAGE": source.get("message", ""),
    }
    return {name: value for name, value in values.items() if value}


def variables_of(deployment: Deployment, provided: Mapping[str, str], own: Mapping[str, str]) -> dict[str, str]:
    """All variables of a container; the user's own win, byte for byte."""
    port = str(deployment.settings.port or DEFAULT_PORT)
    return {"PORT": port, **provided, **own}


def probe_of(deployment: Deployment) -> Probe | None:
    """How the edge asks whether a replica is well; None: it does not."""
    settings = deployment.settings
    if settings.healthcheck_type == "NONE":
        return None
    if settings.healthcheck_path or settings.healthcheck_type == "HTTP":
        return Probe(ProbeKind.HTTP, settings.healthcheck_path or "/")
    return Probe(ProbeKind.TCP)


def limits_of(deployment: Deployment, default: Limits) -> Limits:
    """The container's limits: the service's own, else the platform's."""
    return Limits(
        cpu=deployment.settings.cpu or default.cpu,
        memory_bytes=deployment.settings.memory_bytes or default.memory_bytes,
        pids=default.pids,
        shm_bytes=default.shm_bytes,
        log_bytes=default.log_bytes,
    )


def restart_of(deployment: Deployment, role: Role) -> tuple[RestartPolicy, int]:
    """The engine's restart policy for a container. A pre-deploy command runs once."""
    if role is Role.PRE_DEPLOY:
        return RestartPolicy.NEVER, 0
    return deployment.settings.restart_policy, deployment.settings.max_restarts
