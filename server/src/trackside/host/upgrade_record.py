"""How far an upgrade came, in a file: what a later command needs to finish it or to tell of it."""

from dataclasses import asdict, dataclass
from enum import StrEnum

from trackside.host.files import read_json, write_json
from trackside.host.layout import Layout


class Outcome(StrEnum):
    """How an upgrade ended; `RUNNING` where it was cut off, or still works."""

    RUNNING = "running"
    UPGRADED = "upgraded"
    REFUSED = "refused"
    """Nothing of the running platform was touched."""
    WENT_BACK = "went back"


@dataclass(frozen=True)
class Record:
    """The last upgrade. `step` is the name of the last one begun; `snapshot` the file saved before the schemas were widened."""

    from_number: str
    from_directory: str
    to_number: str
    to_directory: str
    began_at: str
    step: str = ""
    snapshot: str = ""
    outcome: Outcome = Outcome.RUNNING
    reason: str = ""


def read_record(layout: Layout) -> Record | None:
    """The last upgrade, or None where there was none. Errors: `StateDamaged`."""
    stored = read_json(layout.upgrade_file)
    return Record(**{**stored, "outcome": Outcome(stored["outcome"])}) if stored else None


def write_record(layout: Layout, record: Record) -> None:
    write_json(layout.upgrade_file, asdict(record))
