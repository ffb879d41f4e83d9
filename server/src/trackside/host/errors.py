"""What can go wrong on the machine: each error's hint is the command that mends it."""

from trackside.kit.errors import Kind, TracksideError


class RightsMissing(TracksideError):
    code = "host.rights_missing"
    kind = Kind.DENIED
    hint = "Run it as root: `sudo make demo`; without sudo, `su -c 'make demo'`."


class ProgramMissing(TracksideError):
    code = "host.program_missing"
    kind = Kind.MISSING
    hint = "Install what is missing: `make setup`."


class CommandFailed(TracksideError):
    code = "host.command_failed"
    kind = Kind.UNAVAILABLE
    hint = "Ask the machine what is wrong: `bin/trackside server doctor`."


class PortTaken(TracksideError):
    code = "host.port_taken"
    kind = Kind.CONFLICT
    hint = "End the program that holds the port, or choose another port."


class DiskFull(TracksideError):
    code = "host.disk_full"
    kind = Kind.LIMIT
    hint = "Free space, or move the state directory: `TRACKSIDE_HOME=/elsewhere make demo`."


class AddressesExhausted(TracksideError):
    code = "host.addresses_exhausted"
    kind = Kind.LIMIT
    hint = "Name a free private /16 yourself: `TRACKSIDE_NETWORK_POOL=10.77.0.0/16 make demo`."


class NetworksFixed(TracksideError):
    code = "host.networks_fixed"
    kind = Kind.CONFLICT
    hint = (
        "Start without that variable; another network takes another installation, with a `TRACKSIDE_HOME` of its own."
    )


class StartInProgress(TracksideError):
    code = "host.start_in_progress"
    kind = Kind.CONFLICT
    hint = "Wait for the other start or stop to end, then try again."


class StillInUse(TracksideError):
    code = "host.still_in_use"
    kind = Kind.CONFLICT
    hint = "Stop it first, and remove its state directory: `TRACKSIDE_HOME=… bin/trackside server stop`."


class DataPresent(TracksideError):
    code = "host.data_present"
    kind = Kind.CONFLICT
    hint = (
        "Put the state directory back where it is only elsewhere, as on a disk that is not mounted; to delete the data for good, "
        "give the command again with `--yes`."
    )


class PartFailed(TracksideError):
    code = "host.part_failed"
    kind = Kind.UNAVAILABLE
    hint = "Read the part's log, then try again: `bin/trackside server start`."


class EngineUnavailable(TracksideError):
    code = "host.engine_unavailable"
    kind = Kind.UNAVAILABLE
    hint = (
        "Start the container engine that runs your apps (`systemctl start docker`), then `bin/trackside server start`."
    )


class LoopUnavailable(TracksideError):
    code = "host.loop_unavailable"
    kind = Kind.UNAVAILABLE
    hint = (
        "Builds need a loop device and the right to mount. In a container, run it with `--privileged`; "
        "on a machine, `modprobe loop`."
    )


class VersionUnusable(TracksideError):
    code = "host.version_unusable"
    kind = Kind.INVALID
    hint = "Name a checkout, a wheel of `trackside`, or a directory of wheels: `bin/trackside server upgrade --from DIRECTORY`."


class UpgradeFailed(TracksideError):
    """Nothing was lost: the sentence says which version runs."""

    code = "host.upgrade_failed"
    kind = Kind.UNAVAILABLE
    hint = "Have the new version mended, then give the same command again."


class StateDamaged(TracksideError):
    code = "host.state_damaged"
    kind = Kind.INVALID
    hint = "Put the file back from a backup, or start anew in another directory: `TRACKSIDE_HOME=/elsewhere make demo`."
