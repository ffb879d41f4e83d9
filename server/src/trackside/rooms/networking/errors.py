"""What can go wrong with names and addresses."""

from trackside.kit.errors import Kind, TracksideError


class ProxyUnavailable(TracksideError):
    code = "networking.proxy_unavailable"
    kind = Kind.UNAVAILABLE
    hint = "Look at `trackside server status`; the edge tries again by itself."


class SubnetsExhausted(TracksideError):
    code = "networking.subnets_exhausted"
    kind = Kind.LIMIT
    hint = "Delete environments that are no longer needed: each has a /24 of the installation's `network_pool`, chosen at its first start."


class SlotsExhausted(TracksideError):
    code = "networking.slots_exhausted"
    kind = Kind.LIMIT
    hint = "Take down services that are no longer needed, or raise the setting `edge_slots`: every deployment that serves has one."


class HostsExhausted(TracksideError):
    code = "networking.hosts_exhausted"
    kind = Kind.LIMIT
    hint = "Choose a less common service name."
