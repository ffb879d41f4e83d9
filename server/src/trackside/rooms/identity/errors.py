"""What can go wrong with identity."""

from trackside.kit.errors import Kind, TracksideError


class WorkspaceMissing(TracksideError):
    code = "identity.workspace_missing"
    kind = Kind.MISSING
    hint = "Start the platform once with `trackside server start`; it makes the workspace `default`."
