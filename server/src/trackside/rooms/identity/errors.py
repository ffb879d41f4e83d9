"""What can go wrong with identity."""

from trackside.kit.errors import Kind, TracksideError


class WorkspaceMissing(TracksideError):
    code = "identity.workspace_missing"
    kind = Kind.MISSING
    hint = "Start the platform once with `trackside server start`; it makes the workspace `default`."


class TokenNameRefused(TracksideError):
    code = "identity.token_name_refused"
    kind = Kind.INVALID
    hint = "Say in 1 to 100 printable characters what the token is for."


class TokenMissing(TracksideError):
    code = "identity.token_missing"
    kind = Kind.MISSING
    hint = "List them with `trackside server token list`."


class TokenAmbiguous(TracksideError):
    code = "identity.token_ambiguous"
    kind = Kind.CONFLICT
    hint = "Name it by its id; `trackside server token list` shows it."
