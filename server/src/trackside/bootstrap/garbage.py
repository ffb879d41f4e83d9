"""Everything that collects garbage, for the host's commands; each process does its own part by a timer."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy.exc import SQLAlchemyError

from trackside.bootstrap.house import House, started_house
from trackside.host.doctor import Finding, Health, Patient
from trackside.kit.errors import TracksideError
from trackside.kit.garbage import Freed


@dataclass(frozen=True)
class Collected:
    """What went, or would go, and why a part could not be looked at."""

    freed: Sequence[Freed]
    troubles: Sequence[TracksideError]


async def collect_garbage(house: House, *, is_trial: bool) -> Collected:
    """Collect everywhere; a part that can't be reached keeps nobody from the rest."""
    engine = house.engine(house.runtime())
    freed: list[Freed] = []
    troubles: list[TracksideError] = []
    for collect in (engine.collect, engine.collect_of_builds, engine.collect_uploads, house.collect_logs):
        try:
            freed += await collect(is_trial=is_trial)
        except TracksideError as trouble:
            troubles.append(trouble)
    return Collected(freed, troubles)


async def garbage_finding(_: Patient) -> Finding:
    """What the next collection would remove, for the doctor."""
    try:
        async with started_house() as house:
            found = await collect_garbage(house, is_trial=True)
    except SQLAlchemyError:
        return Finding(
            "garbage", Health.WARNING, "Not looked at: the database does not answer.", "bin/trackside server start"
        )
    if found.troubles:
        trouble = found.troubles[0]
        return Finding("garbage", Health.WARNING, f"Not all was looked at: {trouble.sentence}", trouble.hint)
    if not found.freed:
        return Finding("garbage", Health.OK, "Nothing of ours is without a record or beyond its allowance.")
    told = ", ".join(f"{one.count} {one.kind}" if one.count else one.kind for one in found.freed)
    sentence = f"Without a record, or beyond its allowance: {told}. It goes by itself within ten minutes."
    return Finding("garbage", Health.WARNING, sentence, "bin/trackside admin collect")
