"""Deciding about containers' lines: meaning, rate, and where collecting goes on."""

import random
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as some

from trackside.rooms.telemetry.model import Line
from trackside.rooms.telemetry.plan import DROPPED, MARGIN, Bucket, Position, Rate, Reading, line_of, position

START = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
REPLICA = uuid4()


@pytest.mark.parametrize(
    ("source", "text", "level", "message", "attributes"),
    [
        ("stdout", "plain", "info", "plain", {}),
        ("stderr", "plain", "error", "plain", {}),
        ("stderr", '{"level":"info","message":"m"}', "info", "m", {}),
        ("stdout", '{"level":"WARNING","message":"m"}', "warn", "m", {}),
        ("stdout", '{"severity":"CRITICAL","msg":"m"}', "error", "m", {}),
        ("stdout", '{"level":50,"msg":"m","time":1}', "error", "m", {"time": "1"}),
        ("stdout", '{"level":30,"msg":"m"}', "info", "m", {}),
        ("stdout", '{"level":"odd","message":"m"}', "info", "m", {"level": "odd"}),
        ("stdout", '{"level":true,"message":"m"}', "info", "m", {"level": "true"}),
        ("stdout", '{"message":{"a":[1]},"n":null}', "info", '{"a":[1]}', {"n": "null"}),
        ("stdout", '{"message":"m","big":12345678901234567890}', "info", "m", {"big": "12345678901234567890"}),
        ("stdout", '{"message":"a","message":"b"}', "info", "b", {}),
        ("stdout", '{"level":"error"}', "info", '{"level":"error"}', {}),
        ("stdout", '{"message":', "info", '{"message":', {}),
        ("stdout", '{"message":"m","trackside.dropped":"9"}', "info", "m", {}),
        ("stdout", '{"a":' * 20000 + "}" * 20000, "info", '{"a":' * 20000 + "}" * 20000, {}),
        ("stdout", "\x1b[31mred\x1b[0m", "info", "\x1b[31mred\x1b[0m", {}),
    ],
)
def test_what_a_line_means(source: str, text: str, level: str, message: str, attributes: dict[str, str]) -> None:
    line = line_of(START, source, text, REPLICA)
    assert (line.level, line.message, line.attributes) == (level, message, attributes)
    assert (line.at, line.replica_id) == (START, REPLICA)


def test_a_flood_keeps_to_the_rate_with_one_notice_a_second_and_every_line_counted() -> None:
    reading = Reading(Position(), Rate(500, 1000), REPLICA)
    flood = [(START + timedelta(milliseconds=number / 5), "stdout", str(number)) for number in range(50_000)]  # 10 s
    stored = reading.take(flood) + reading.finish()
    notices = [line for line in stored if DROPPED in line.attributes]
    assert 1000 + 9 * 500 <= len(stored) - len(notices) <= 1000 + 10 * 500
    assert len(notices) <= 10
    assert sum(int(line.attributes[DROPPED]) for line in notices) + len(stored) - len(notices) == 50_000
    assert notices[0].level == "warn"
    assert notices[0].message == f"Dropped {notices[0].attributes[DROPPED]} lines: limit 500 lines/s per replica"
    assert [line.at for line in stored] == sorted(line.at for line in stored)


def test_at_the_rate_nothing_is_dropped() -> None:
    bucket = Bucket(Rate(500, 1000), REPLICA)
    assert all(bucket.admit(START + timedelta(milliseconds=2 * number)) for number in range(20_000))


def test_a_notice_comes_also_when_no_line_follows() -> None:
    reading = Reading(Position(), Rate(1, 2), REPLICA)
    stored = reading.take([(START, "stdout", str(number)) for number in range(5)])
    assert [line.message for line in stored] == ["0", "1"]
    assert reading.idle(START + timedelta(milliseconds=999)) == []
    [notice] = reading.idle(START + timedelta(seconds=1))
    assert notice.attributes == {DROPPED: "3"}
    assert reading.finish() == []


@given(seed=some.integers(0, 10**6), count=some.integers(1, 300))
def test_however_often_collecting_is_broken_off_each_line_is_stored_once(seed: int, count: int) -> None:
    """Times meet in one microsecond and are a little out of order; some bursts are dropped."""
    chance = random.Random(seed)
    at, said = START, []
    for number in range(count):
        at += timedelta(microseconds=chance.choice([0, 0, 1, 3, 900, 40_000, 700_000]))
        jitter = timedelta(microseconds=chance.choice([0, 0, 0, 5]))
        said.append((at - jitter, "stdout", str(number)))
    rate = Rate(chance.choice([3, 500]), chance.choice([5, 1000]))
    stored: list[Line] = []
    for _ in range(6):
        start = resume(stored)
        reading = Reading(start, rate, REPLICA)
        coming = [line for line in said if start.since is None or line[0] > start.since]
        chosen = reading.take(coming[: chance.randrange(len(coming) + 1)])
        stored += chosen[: chance.randrange(len(chosen) + 1)] if chance.random() < 0.5 else chosen
    start = resume(stored)
    last = Reading(start, rate, REPLICA)
    stored += last.take([line for line in said if start.since is None or line[0] > start.since]) + last.finish()
    numbers = [int(line.message) for line in stored if DROPPED not in line.attributes]
    assert len(numbers) == len(set(numbers))
    dropped = sum(int(line.attributes[DROPPED]) for line in stored if DROPPED in line.attributes)
    assert len(numbers) + dropped >= count
    if rate == Rate(500, 1000):
        assert numbers == list(range(count))


def resume(stored: list[Line]) -> Position:
    if not stored:
        return position(None, [])
    last = stored[-1].at
    return position(last, [line for line in stored if last - MARGIN <= line.at <= last + MARGIN])


def test_lines_the_engine_has_lost_meanwhile_cost_no_others() -> None:
    stored = [Line(START + timedelta(milliseconds=n), str(n), replica_id=REPLICA) for n in range(10)]
    reading = Reading(resume(stored), Rate(), REPLICA)
    left = [(START + timedelta(milliseconds=n), "stdout", str(n)) for n in range(5, 15)]  # the first five are gone
    assert [line.message for line in reading.take(left)] == ["10", "11", "12", "13", "14"]
