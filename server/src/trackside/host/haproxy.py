"""How the edge's HAProxy is run: a master that survives reloads, its configuration written by the process `edge`."""

from pathlib import Path

from trackside.host.commands import find_program
from trackside.host.files import make_directory
from trackside.host.launch import Launch


def prepare_haproxy(config_file: Path, master_socket: Path) -> Launch:
    """How to start it: it waits until the configuration has been written. Errors: `ProgramMissing`."""
    make_directory(config_file.parent, 0o711)
    argv = (str(find_program("haproxy")), "-W", "-db", "-S", f"{master_socket},mode,600", "-f", str(config_file))
    return Launch(argv=argv, wait_for=str(config_file), directory=str(config_file.parent))
