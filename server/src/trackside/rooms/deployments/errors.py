"""What can go wrong while a deployment runs."""

from trackside.kit.errors import Kind, TracksideError


class RuntimeUnavailable(TracksideError):
    code = "deployments.runtime_unavailable"
    kind = Kind.UNAVAILABLE
    hint = "Look at `trackside server status`; the platform tries again by itself."


class RuntimeRefused(TracksideError):
    code = "deployments.runtime_refused"
    kind = Kind.INVALID
    hint = "Check the start command, the image and the limits."


class DeploymentMissing(TracksideError):
    code = "deployments.missing"
    kind = Kind.MISSING
    hint = "List them with `trackside deployments`."


class NothingToDeploy(TracksideError):
    code = "deployments.nothing_to_deploy"
    kind = Kind.CONFLICT
    hint = "Deploy a source first: `trackside up`, or `trackside deploy --repo URL`."


class NotRollable(TracksideError):
    code = "deployments.not_rollable"
    kind = Kind.CONFLICT
    hint = "Choose a deployment that reached SUCCESS and whose image is still kept, or `trackside redeploy`."


class NotCancellable(TracksideError):
    code = "deployments.not_cancellable"
    kind = Kind.CONFLICT
    hint = "Only a deployment that has not ended can be cancelled; `trackside down` removes an active one."


class NetworkFull(TracksideError):
    code = "deployments.network_full"
    kind = Kind.LIMIT
    hint = "Scale other services of the environment down, or use another environment."
