"""What can go wrong with telemetry."""

from trackside.kit.errors import Kind, TracksideError


class LogsUnavailable(TracksideError):
    code = "telemetry.logs_unavailable"
    kind = Kind.UNAVAILABLE
    hint = "Look at the free space and the rights of the state directory; lines wait at their containers meanwhile."
