"""Refusals."""

from trackside.kit.errors import Kind, TracksideError


class Unauthenticated(TracksideError):
    code = "access.unauthenticated"
    kind = Kind.UNAUTHENTICATED
    hint = "Sign in with `trackside login --token`, or set TRACKSIDE_TOKEN; `trackside server token --name me` on the host makes one."


class Denied(TracksideError):
    code = "access.denied"
    kind = Kind.DENIED
    hint = "Ask an owner of the workspace for a role that may."


class Unseen(TracksideError):
    code = "access.missing"
    kind = Kind.MISSING
    hint = "Check the id or name; what you may not see is reported as missing."
