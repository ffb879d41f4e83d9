"""What can go wrong between a source and an image."""

from trackside.kit.errors import Kind, TracksideError
from trackside.rooms.builds.model import Limit


class SourceRefused(TracksideError):
    code = "builds.source_refused"
    kind = Kind.INVALID
    hint = (
        "Use an https or ssh URL of a repository that this platform may reach, or `trackside up` to upload a directory."
    )


class UploadGone(SourceRefused):
    """Uploads are kept as long as somebody may need them, and no longer."""

    code = "builds.upload_gone"
    hint = "Upload the directory again: `trackside up`."


class SourceUnreachable(TracksideError):
    code = "builds.source_unreachable"
    kind = Kind.UNAVAILABLE
    hint = "Check the URL, the branch or tag, and the access token or deploy key."


class ArchiveRefused(TracksideError):
    code = "builds.archive_refused"
    kind = Kind.INVALID
    hint = "Upload the directory with `trackside up`, which packs it in the accepted form."


class PlanFailed(TracksideError):
    code = "builds.plan_failed"
    kind = Kind.INVALID
    hint = "Add a Dockerfile, or tell how the app starts with a Procfile line `web: <command>`."


class BuildFailed(TracksideError):
    code = "builds.build_failed"
    kind = Kind.INVALID
    hint = "Read the build log: `trackside logs --build`."

    def __init__(self, sentence: str, *, limit: Limit | None = None, hint: str | None = None) -> None:
        super().__init__(sentence, hint=hint)
        self.limit = limit


class BuildCancelled(TracksideError):
    code = "builds.build_cancelled"
    kind = Kind.CONFLICT
    hint = "Deploy again when you are ready."


class ImageUnavailable(TracksideError):
    code = "builds.image_unavailable"
    kind = Kind.UNAVAILABLE
    hint = "Check the image's name, and that the machine's container engine can reach its registry."


class EngineAway(ImageUnavailable):
    """Nobody was there to be asked for the image: that says nothing of it."""

    code = "builds.engine_away"
    hint = "It goes on when the container engine is back: look at `trackside server status`."


class EngineLost(EngineAway):
    """It was there when the build began, and died in it: perhaps of it."""

    code = "builds.engine_lost"
    hint = "The build begins anew when the build engine is back: look at `trackside server status`."


class RegistryRefused(ImageUnavailable):
    """The operator has named the registries that may be asked, and this is none of them."""

    code = "builds.registry_refused"
    kind = Kind.DENIED
    hint = "Use an image from one of those, or let the operator add the registry to `image_registries`."


class ImageGone(ImageUnavailable):
    """The image is not on the engine (any longer)."""

    code = "builds.image_gone"
    hint = "Deploy again."


class LowDisk(TracksideError):
    """Nothing is built, pulled or uploaded until there is room again; what runs goes on."""

    code = "builds.low_disk"
    kind = Kind.LIMIT
    hint = "Make room on the platform's machine (`bin/trackside admin collect`, `bin/trackside server doctor`), then deploy again."
