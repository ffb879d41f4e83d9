"""Words for people: numbers, spans of time, names of constants."""


def counted(count: int, noun: str) -> str:
    """`1 replica`, `2 replicas`."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def first_upper(text: str) -> str:
    return text[:1].upper() + text[1:]


def after_colon(text: str) -> str:
    """A reason after a colon, ended once; only an end where there is none."""
    return f": {text.rstrip('.')}." if text else "."


def ordinal(number: int) -> str:
    """`next`, `second`, `third`, then `number 4`."""
    return {1: "next", 2: "second", 3: "third"}.get(number, f"number {number}")


def phrase(name: str) -> str:
    """A constant's name in words: `BUILD_IMAGE` as `Build image`."""
    return name.replace("_", " ").capitalize()


def span(seconds: float) -> str:
    """`0.4 s`, `2 min 5 s`, `3 h 20 min`, `2 days 4 h`."""
    if seconds < 60:
        return f"{max(0.0, seconds):.1f} s"
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{counted(days, 'day')} {hours} h"
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"
