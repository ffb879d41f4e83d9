"""Choosing a release for what a file asks: `>=20`, `^22.1`, `20.x`, `3.11`, `>=3.11,<3.13`, `lts/*`."""

import re

Version = tuple[int, ...]

_COMPARATOR = re.compile(r"(\^|~=|~|>=|<=|==|!=|>|<|=)?\s*v?(\d+)(?:\.(\d+|[xX*]))?(?:\.(\d+|[xX*]))?[^\s,|]*")


def parse_version(text: str) -> Version:
    """The numbers of a plain version (`22.20.0`)."""
    return tuple(int(part) for part in re.findall(r"\d+", text)[:3])


def satisfies(version: Version, wanted: str) -> bool:
    """Whether a version meets a range; `||` separates alternatives; words without a number (`lts/*`, `*`) accept all."""
    return any(_meets_all(version, part) for part in wanted.split("||"))


def _meets_all(version: Version, part: str) -> bool:
    part = re.sub(r"(\S+)\s+-\s+(\S+)", r">=\1 <=\2", part)
    return all(_meets(version, match) for match in _COMPARATOR.finditer(part))


def _meets(version: Version, match: re.Match[str]) -> bool:
    operator = match[1] or "="
    given = tuple(int(part) for part in match.groups()[1:] if part and part.isdigit())
    low, high = given, _after(given, operator)
    head = version[: len(given)]
    if operator in {"^", "~", "~="}:
        return version >= low and version < high
    return {
        ">=": head >= given,
        ">": head > given,
        "<=": head <= given,
        "<": head < given,
        "!=": head != given,
        "==": head == given,
        "=": head == given,
    }[operator]


def _after(given: Version, operator: str) -> Version:
    """The first version that a caret or tilde range no longer accepts."""
    if operator == "~=" and len(given) > 1:
        kept = len(given) - 1
    elif operator == "~" and len(given) > 1:
        kept = 2
    else:
        kept = 1
    return (*given[: kept - 1], given[kept - 1] + 1)
