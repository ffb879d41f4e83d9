"""Values of the access room, and the one role table."""

from dataclasses import dataclass
from enum import StrEnum
from uuid import UUID


class Role(StrEnum):
    """A workspace's roles."""

    OWNER = "owner"
    ADMIN = "admin"
    MEMBER = "member"
    DEPLOYER = "deployer"
    VIEWER = "viewer"


class Permission(StrEnum):
    PROJECT_READ = "project.read"
    PROJECT_CREATE = "project.create"
    PROJECT_DELETE = "project.delete"
    SERVICE_WRITE = "service.write"
    CONFIG_READ = "config.read"
    CONFIG_WRITE = "config.write"
    VARIABLE_READ = "variable.read"
    VARIABLE_REVEAL = "variable.reveal"
    VARIABLE_WRITE = "variable.write"
    DEPLOYMENT_READ = "deployment.read"
    DEPLOYMENT_CREATE = "deployment.create"
    DEPLOYMENT_CANCEL = "deployment.cancel"
    DEPLOYMENT_REMOVE = "deployment.remove"
    LOG_READ = "log.read"
    EVENT_READ = "event.read"
    TOKEN_CREATE = "token.create"


_READ = frozenset(
    {Permission.PROJECT_READ, Permission.CONFIG_READ, Permission.DEPLOYMENT_READ, Permission.LOG_READ}
    | {Permission.EVENT_READ}
)
_DEPLOY = _READ | {
    Permission.SERVICE_WRITE,
    Permission.CONFIG_WRITE,
    Permission.DEPLOYMENT_CREATE,
    Permission.DEPLOYMENT_CANCEL,
    Permission.DEPLOYMENT_REMOVE,
    Permission.PROJECT_CREATE,
    Permission.VARIABLE_WRITE,
}
_MEMBER = _DEPLOY | {Permission.VARIABLE_READ, Permission.VARIABLE_REVEAL}
_ADMIN = _MEMBER | {Permission.PROJECT_DELETE, Permission.TOKEN_CREATE}

ROLES: dict[Role, frozenset[Permission]] = {
    Role.VIEWER: _READ,
    Role.DEPLOYER: _DEPLOY,
    Role.MEMBER: _MEMBER,
    Role.ADMIN: _ADMIN,
    Role.OWNER: frozenset(Permission),
}


class ActorKind(StrEnum):
    ANONYMOUS = "anonymous"
    PERSON = "person"
    TOKEN = "token"
    PLATFORM = "platform"


@dataclass(frozen=True)
class Grant:
    """A role in a workspace."""

    workspace_id: UUID
    role: Role


@dataclass(frozen=True)
class Actor:
    """Who asks: a person, a token, or the platform itself. Free of HTTP."""

    id: str
    kind: ActorKind
    name: str
    grants: tuple[Grant, ...] = ()

    def as_record(self) -> dict[str, str]:
        """The form events keep."""
        return {"id": self.id, "kind": str(self.kind), "name": self.name}


ANONYMOUS = Actor("anonymous", ActorKind.ANONYMOUS, "nobody")


@dataclass(frozen=True)
class Scope:
    """What is asked about: a workspace, and in words what it is, for the error's sentence."""

    workspace_id: UUID
    what: str = "This"
