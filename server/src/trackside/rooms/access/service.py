"""The one authorisation call."""

from trackside.rooms.access.errors import Denied, Unauthenticated, Unseen
from trackside.rooms.access.model import Actor, Permission, Scope
from trackside.rooms.access.plan import Verdict, judge


def require(actor: Actor, permission: Permission, scope: Scope) -> None:
    """Return where the actor may; else raise. Errors: `Unauthenticated`, `Unseen` (404), `Denied` (403)."""
    match judge(actor, permission, scope):
        case Verdict.ALLOWED:
            return
        case Verdict.ANONYMOUS:
            raise Unauthenticated("You are not signed in.")
        case Verdict.UNSEEN:
            raise Unseen(f"{scope.what} does not exist.")
        case Verdict.DENIED:
            raise Denied(f"Your role does not allow {permission}.")
