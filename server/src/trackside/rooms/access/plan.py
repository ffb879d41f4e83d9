"""Whether an actor may: pure, over the role table."""

from enum import StrEnum

from trackside.rooms.access.model import ROLES, Actor, ActorKind, Permission, Scope


class Verdict(StrEnum):
    ALLOWED = "allowed"
    DENIED = "denied"
    UNSEEN = "unseen"
    ANONYMOUS = "anonymous"


def judge(actor: Actor, permission: Permission, scope: Scope) -> Verdict:
    """Allowed; denied where the actor sees the workspace but may not; unseen where it does not even see it."""
    if actor.kind is ActorKind.PLATFORM:
        return Verdict.ALLOWED
    if actor.kind is ActorKind.ANONYMOUS:
        return Verdict.ANONYMOUS
    roles = [grant.role for grant in actor.grants if grant.workspace_id == scope.workspace_id]
    if not roles:
        return Verdict.UNSEEN
    return Verdict.ALLOWED if any(permission in ROLES[role] for role in roles) else Verdict.DENIED
