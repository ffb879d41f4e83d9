"""What can go wrong with what is wanted."""

from trackside.kit.errors import Kind, TracksideError


class NameRefused(TracksideError):
    code = "projects.name_refused"
    kind = Kind.INVALID
    hint = "Use 1 to 40 lower-case letters, digits and dashes, beginning with a letter and not ending with a dash."


class NameTaken(TracksideError):
    code = "projects.name_taken"
    kind = Kind.CONFLICT
    hint = "Choose another name, or delete the other one first."


class ProjectMissing(TracksideError):
    code = "projects.project_missing"
    kind = Kind.MISSING
    hint = "List yours with `trackside project list`."


class EnvironmentMissing(TracksideError):
    code = "projects.environment_missing"
    kind = Kind.MISSING
    hint = "List them with `trackside environment list`."


class ServiceMissing(TracksideError):
    code = "projects.service_missing"
    kind = Kind.MISSING
    hint = "List them with `trackside service list`."


class ConfigRefused(TracksideError):
    code = "projects.config_refused"
    kind = Kind.INVALID
    hint = "The configuration reference lists every key with its type and range."


class VariableRefused(TracksideError):
    code = "projects.variable_refused"
    kind = Kind.INVALID
    hint = "Names are letters, digits and underscores, not beginning with a digit; values are text without NUL, up to 64 KiB."


class SecretInUrl(TracksideError):
    """Configs and events are kept for ever, and shown."""

    code = "projects.secret_in_url"
    kind = Kind.INVALID
    hint = (
        "Give the URL without it, and the token by itself: `trackside deploy --token-env` or `--token-stdin`, in the API the `token`"
        " of the source. Whatever has seen the token meanwhile, a shell's history for one, is a reason to revoke it."
    )
