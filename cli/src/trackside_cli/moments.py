"""Times: the present, waiting, and how people write and read moments and spans."""

import re
import time
from datetime import UTC, datetime, timedelta

from trackside_cli.errors import UsageError

UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
SPAN = re.compile(r"(\d+)([smhdw])")


def now() -> datetime:
    return datetime.now(UTC)


def monotonic() -> float:
    """Seconds on a clock that never jumps."""
    return time.monotonic()


def pause(seconds: float) -> None:
    time.sleep(seconds)


def parse_since(text: str, at: datetime) -> str:
    """The moment that `10m`, `1h30m` (before `at`) or a time means, in RFC 3339; a time without zone is local."""
    spans = SPAN.findall(text)
    if spans and "".join(number + unit for number, unit in spans) == text:
        return _past(at, sum(int(number) * UNITS[unit] for number, unit in spans))
    try:
        moment = datetime.fromisoformat(text)
        return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")
    except (ValueError, OverflowError):
        raise UsageError(
            f"“{text}” is neither a span nor a time.", hint="Write 30s, 10m, 2h, 1d, or 2026-01-31T12:00:00Z."
        ) from None


def _past(at: datetime, seconds: int) -> str:
    try:
        moment = at - timedelta(seconds=seconds)
    except OverflowError:
        moment = datetime(1970, 1, 1, tzinfo=UTC)
    return moment.isoformat().replace("+00:00", "Z")


def parse_time(text: str | None) -> datetime | None:
    """A time of the API, or None where there is none."""
    if not text:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def age(text: str | None, at: datetime) -> str:
    """How long ago, in the largest fitting unit: `just now`, `5 min ago`, `3 h ago`, `2 days ago`."""
    moment = parse_time(text)
    if moment is None:
        return ""
    seconds = int((at - moment).total_seconds())
    if seconds < 10:
        return "just now"
    for size, unit in ((86400, "day"), (3600, "h"), (60, "min"), (1, "s")):
        if (count := seconds // size) >= 1:
            return f"{count} {unit}{'s' if unit == 'day' and count > 1 else ''} ago"
    return ""


def span(start: str | None, end: str | None) -> str:
    """How long something took: `0.4 s`, `12.3 s`, `2 min 5 s`; empty where it has not ended."""
    begun, ended = parse_time(start), parse_time(end)
    if begun is None or ended is None:
        return ""
    seconds = max(0.0, (ended - begun).total_seconds())
    if seconds < 60:
        return f"{seconds:.1f} s"
    return f"{int(seconds) // 60} min {int(seconds) % 60} s"
