"""The figures of the bench: what is taken off a deployment's time, and what programs and people are told."""

from dataclasses import replace

import pytest

from trackside.command.bench import as_json
from trackside.command.bench_edge import Edge, Flood, Steady, read_h2load
from trackside.command.bench_engine import Floor, order_like
from trackside.command.bench_figures import Runs, Shared, percentile, stages, stop_of
from trackside.command.bench_memory import Idle
from trackside.command.bench_platform import Attempt, BenchFailed, moment
from trackside.command.bench_traffic import Neighbour, Speed, Traffic, middle, read_wrk

WRK = """Running 6s test @ http://127.0.0.1:7780/
  1 threads and 32 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     2.10ms    1.00ms  20.00ms   90.00%
  Latency Distribution
     50%    1.90ms
     75%    2.40ms
     90%  850.00us
     99%    1.20s
  90000 requests in 6.00s, 20.00MB read
Requests/sec:  15000.50
Transfer/sec:      3.33MB
"""


def test_the_platforms_own_share_is_what_engine_app_and_old_version_did_not_take() -> None:
    assert Shared(wall=2.0, engine_start=0.5, answer=0.3, stop=0.2).own == pytest.approx(1.0)


def test_the_old_version_takes_from_its_signal_to_its_end_and_nothing_where_none_was() -> None:
    at = [moment(f"2026-01-01T00:00:0{second}.5Z") for second in range(3)]
    marks = [(at[0], "engine: container created"), (at[1], "engine: container signalled")]
    assert stop_of(marks) == 0
    assert stop_of([*marks, (at[2], "engine: container ended")]) == 1


def test_a_time_may_have_more_digits_than_a_clock() -> None:
    assert moment("2026-01-01T00:00:00.123456789Z").microsecond == 123456
    assert moment("2026-01-01T00:00:00Z").microsecond == 0


@pytest.mark.parametrize(("share", "expected"), [(0.5, 3), (0.9, 5), (0.95, 5), (0.0, 1)])
def test_a_percentile_is_one_of_the_values(share: float, expected: float) -> None:
    assert percentile([5, 4, 3, 2, 1], share) == expected


def test_stages_are_in_the_order_in_which_they_usually_come_and_rare_ones_are_left_out() -> None:
    accepted = moment("2026-01-01T00:00:00Z")

    def event(name: str, second: int) -> dict[str, object]:
        return {"type": name, "at": f"2026-01-01T00:00:0{second}Z", "data": {}}

    runs = [
        Attempt(accepted, {}, [event("B", 3), event("A", 1)]),
        Attempt(accepted, {}, [event("A", 1), event("B", 5)]),
    ]
    runs.append(Attempt(accepted, {}, [event("A", 1), event("B", 4), event("Rare", 2)]))
    found = stages([(run, []) for run in runs])
    assert [(stage.name, stage.offset, stage.took) for stage in found] == [("A", 1, 1), ("B", 4, 3)]


def test_medians_are_told_of_every_part() -> None:
    floor = Floor(0.1, 0.2, 0.3, 0.4, 0.5)
    told = Runs([Shared(3, 1, 1, 0), Shared(2, 1, 0, 0), Shared(9, 1, 1, 1)], [floor], []).medians()
    assert (told["wall"], told["own"], told["own_p90"], told["floor_stop"]) == (3, 1, 6, 0.4)


def test_what_wrk_prints_is_read_in_seconds() -> None:
    assert read_wrk(WRK) == Speed(15000.5, 0.0019, 1.2, 90000)


@pytest.mark.parametrize(
    "line", ["  Non-2xx or 3xx responses: 3", "  Socket errors: connect 0, read 1, write 0, timeout 0"]
)
def test_a_window_with_failed_requests_is_no_measurement(line: str) -> None:
    with pytest.raises(BenchFailed):
        read_wrk(f"{WRK}{line}\n")
    with pytest.raises(BenchFailed):
        read_wrk("unable to connect")


def test_ratios_are_of_medians() -> None:
    fast, slow, slowest = Speed(100, 1, 2, 7), Speed(50, 2, 4, 8), Speed(10, 3, 6, 9)
    assert middle([slowest, fast, slow]) == Speed(50, 2, 4, 24)
    assert Traffic(edge=slow, app=fast).ratio == 0.5
    found = Neighbour(quiet=[1, 2, 3], beside_build=[2, 3, 9], beside_idle=[1, 4, 9], failed=0)
    assert (found.ratio, found.floor) == (1.5, 2)


def test_the_floors_container_is_the_same_but_for_its_address_and_our_labels() -> None:
    container = {
        "Config": {"Image": "sha256:1", "Env": ["A=1"], "Labels": {"dev.trackside.replica": "r", "other": "kept"}},
        "HostConfig": {"Memory": 1},
        "NetworkSettings": {"Networks": {"net": {"IPAddress": "10.1.2.3"}}},
    }
    order = order_like(container)
    assert (order["Image"], order["Env"], order["HostConfig"]) == ("sha256:1", ["A=1"], {"Memory": 1})
    assert order["Labels"] == {"other": "kept"}
    assert order["NetworkingConfig"]["EndpointsConfig"]["net"]["IPAMConfig"]["IPv4Address"] == "10.1.2.250"


def test_what_h2load_logs_is_counted_whole_and_timed_without_its_warming_up() -> None:
    slow_start = "1000000\t200\t900000\n"
    steady = "".join(f"{3_000_000 + number}\t200\t{number}\n" for number in range(1, 101))
    broken = "3000200\t503\t50\n"
    assert read_h2load(slow_start + steady + broken) == Steady(p99=99e-6, answered=102, failed=1)
    with pytest.raises(BenchFailed):
        read_h2load("")


def test_requests_that_the_log_lacks_are_lost_and_more_lines_than_answers_are_not() -> None:
    flood = Flood(Speed(100, 1, 2, 7), 1e-5)
    found = Edge(flood, flood, bare_p99=1.0, edge_p99=1.1, failed=0, sent=10, logged=8)
    assert (found.lost, replace(found, logged=12).lost) == (2, 0)
    assert as_json({"edge": found})["edge"]["p99_ratio"] == pytest.approx(1.1)


def test_the_engines_are_told_apart_from_the_platform() -> None:
    found = Idle(
        {"gateway": 5, "engine": 70, "build-engine": 70}, {"gateway": 0.01, "engine": 0.5, "build-engine": 0.5}
    )
    assert (found.own_memory, found.own_cpu) == (5, 0.01)
