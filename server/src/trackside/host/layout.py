"""Where everything of one installation lies. Pure: paths, no files."""

from dataclasses import dataclass
from pathlib import Path

REGISTER = Path("/var/lib/trackside")
"""Where the installations of a machine find each other: one directory each, and programs they share."""


def control_groups(installation: str) -> tuple[str, str]:
    """An installation's control groups of the first level: (all but building, building)."""
    return f"/trackside-{installation}", f"/trackside-{installation}-build"


@dataclass(frozen=True)
class Layout:
    """The directories of one installation.

    `home` is the state directory (settings, keys, logs); `data` holds what the parts need for themselves (database, images,
    the builds' disk) and may be reached by other users of the system; `run` holds sockets and what must not survive a boot
    (keep it short: a socket's path ends at 107 bytes); `register` is shared by the machine's installations.
    """

    installation: str
    home: Path
    data: Path
    run: Path
    register: Path = REGISTER

    @property
    def mark(self) -> str:
        """Stands in the name of everything that has a name and no label: tables, control groups."""
        return f"trackside-{self.installation}"

    @property
    def settings_file(self) -> Path:
        return self.home / "settings.json"

    @property
    def keys(self) -> Path:
        return self.home / "keys"

    @property
    def logs(self) -> Path:
        return self.home / "logs" / "platform"

    @property
    def lock_file(self) -> Path:
        return self.home / "start.lock"

    @property
    def current(self) -> Path:
        """A link to the environment (a directory of packages with its own Python) of the version that runs the platform."""
        return self.home / "current"

    @property
    def versions(self) -> Path:
        """The versions that were prepared here, a directory each."""
        return self.data / "versions"

    @property
    def upgrade_file(self) -> Path:
        """How far the last upgrade came."""
        return self.home / "upgrade.json"

    @property
    def before_upgrade(self) -> Path:
        """How the processes were run before the upgrade under way; gone with the boot, after which a start runs them so."""
        return self.run / "before-upgrade"

    @property
    def backups(self) -> Path:
        return self.home / "backups"

    @property
    def postgres_data(self) -> Path:
        return self.data / "postgres"

    @property
    def postgres_run(self) -> Path:
        return self.run / "postgres"

    @property
    def containerd_socket(self) -> Path:
        return self.run / "containerd.sock"

    @property
    def alive_file(self) -> Path:
        """Touched as long as the platform runs: by its age a start after a boot knows when the machine went down."""
        return self.home / "alive"

    @property
    def downtime_file(self) -> Path:
        """From when to when the machine was down before it came up. It goes when the machine goes down, like all in this directory."""
        return self.run / "downtime.json"

    @property
    def engine_socket(self) -> Path:
        return self.run / "engine.sock"

    @property
    def build_engine_socket(self) -> Path:
        return self.run / "build-engine.sock"

    @property
    def build_disk_file(self) -> Path:
        return self.data / "builds.img"

    @property
    def build_disk(self) -> Path:
        return self.data / "builds"

    @property
    def control_group(self) -> str:
        """Parent of all control groups of ours but those of building, relative to each hierarchy's root."""
        return control_groups(self.installation)[0]

    @property
    def build_group(self) -> str:
        """All building: what is set here holds for the build engine and the steps together.

        A group of the first level: what yields within another group yields to that group's members only, and the edge, the
        database and everything else of the machine are not in it.
        """
        return control_groups(self.installation)[1]

    @property
    def control_groups(self) -> tuple[str, ...]:
        """Every group of ours of the first level."""
        return control_groups(self.installation)

    @property
    def build_steps_group(self) -> str:
        """The steps of builds: the memory limit is set and read here."""
        return f"{self.build_group}/steps"

    @property
    def build_engine_group(self) -> str:
        return f"{self.build_group}/engine"

    @property
    def apps_group(self) -> str:
        """Containers of an engine of our own."""
        return f"{self.control_group}/apps"

    @property
    def serving_group(self) -> str:
        """What somebody waits for: HAProxy, the edge, the gateway, PostgreSQL."""
        return f"{self.control_group}/serving"

    @property
    def working_group(self) -> str:
        """The supervisor and what it runs, as far as it is in no other group: what deploys, and the engine itself."""
        return f"{self.control_group}/working"

    @property
    def behind_group(self) -> str:
        """What may come a little later than all else."""
        return f"{self.control_group}/behind"

    @property
    def firewall_table(self) -> str:
        return f"trackside_{self.installation}"

    @property
    def supervisor_socket(self) -> Path:
        return self.run / "supervisor.sock"

    @property
    def supervisor_config(self) -> Path:
        return self.run / "supervisord.conf"

    @property
    def watch_file(self) -> Path:
        return self.run / "watch.json"

    @property
    def supervisor_pid_file(self) -> Path:
        return self.run / "supervisord.pid"

    @property
    def locks(self) -> Path:
        """One file per process that runs; see `locks`."""
        return self.run / "locks"

    @property
    def launches(self) -> Path:
        return self.run / "launch"

    @property
    def record_file(self) -> Path:
        """What other installations must know of this one: its addresses and ports."""
        return self.register / self.installation / "installation.json"


def system_layout(installation: str, home: Path) -> Layout:
    """The usual places, as root."""
    return Layout(
        installation=installation,
        home=home,
        data=REGISTER / installation,
        run=Path("/run") / f"trackside-{installation}",
    )
