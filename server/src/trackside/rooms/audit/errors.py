"""What can go wrong when events are asked for."""

from trackside.kit.errors import Kind, TracksideError


class EventTypeUnknown(TracksideError):
    code = "audit.event_type_unknown"
    kind = Kind.INVALID
    hint = "docs/reference/events.md lists the types, for example DeploymentFailed."
