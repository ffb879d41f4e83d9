"""What the bench's larger parts found, told to people."""

from statistics import median

from trackside.command.bench_crowd import Crowd
from trackside.command.bench_edge import Edge
from trackside.command.bench_memory import ENGINES, Idle
from trackside.command.bench_planner import Planner
from trackside.command.bench_recovery import Recovery
from trackside.command.bench_scale import Scale
from trackside.command.printing import say, table

MIB = 1 << 20
IDLE_MEMORY, IDLE_CPU = 700_000_000, 0.03
APPS = "supervisor, and the apps with their shims"
"""Shims leave their parents: the supervisor adopts them."""
EDGE_RATIO, EDGE_P99 = 0.75, 1.2
API_P95, CHANGE, LOOK = 0.2, 0.5, 5.0


def tell_idle(found: Idle) -> None:
    say()
    rows = [[name, f"{size / MIB:.0f}", f"{found.cpu[name]:.2%}"] for name, size in found.memory.items()]
    own = ["the platform", f"{found.own_memory / MIB:.0f}", f"{found.own_cpu:.2%}"]
    table([["IDLE", "MIB", "OF A CORE"], *rows, own])
    is_met = found.own_memory < IDLE_MEMORY and found.own_cpu < IDLE_CPU
    say(f"The platform without {', '.join(ENGINES)}: aim < 700 MB (668 MiB) and < 3 % of a core; met: {met(is_met)}.")


def tell_edge(found: Edge) -> None:
    say()
    rows = [["THE SAME APP BEHIND", "REQUESTS/S", "P99 MS", "CPU US/REQUEST", "P99 MS AT 10,000/S"]]
    for name, flood, p99 in (("bare HAProxy", found.bare, found.bare_p99), ("the edge", found.edge, found.edge_p99)):
        figures = (flood.speed.per_second, flood.speed.p99 * 1000, flood.cpu * 1e6, p99 * 1000)
        rows.append([name, *(f"{figure:.2f}" for figure in figures)])
    table(rows)
    say(f"Flat out {found.ratio:.2f} of bare (aim: at least 0.75; met: {met(found.ratio >= EDGE_RATIO)});")
    say(f"p99 {found.p99_ratio:.2f} times bare (aim: at most 1.2; met: {met(found.p99_ratio <= EDGE_P99)});")
    lost = f"{found.lost} of {found.sent} answered requests are missing in the access log"
    say(f"{found.failed} failed, {lost} (aim: none; met: {met(not found.failed and not found.lost)}).")


def tell_crowd(found: Crowd) -> None:
    say()
    endings = ", ".join(f"{count} {status}" for status, count in sorted(found.ended.items()) if count)
    say(
        f"{found.asked} deployments asked for at once, accepted within {found.accepted:.1f} s: {endings} (aim: all SUCCESS)."
    )
    say(
        f"The first ended after {found.first:.1f} s, the last after {found.last:.1f} s; at most {found.waiting} waited at once."
    )
    say(
        f"The API meanwhile: median {median(found.answers) * 1000:.0f} ms, p95 {found.p95 * 1000:.0f} ms of {len(found.answers)}"
        f" answers, {found.unanswered} failed (aim: p95 < 200 ms; met: {met(found.p95 < API_P95 and not found.unanswered)})."
    )


def tell_scale(found: Scale) -> None:
    say()
    middle, worst = median(found.changes), max(found.changes)
    say(f"{found.services} services: the edge has taken over all routes {found.settled:.1f} s after they were wanted.")
    say(f"A change of a route is live after {middle * 1000:.0f} ms (median), {worst * 1000:.0f} ms at most")
    say(f"(aim: < 500 ms; met: {met(middle < CHANGE)}, at most: {met(worst < CHANGE)}).")
    named = {APPS if name == "supervisor" else name: size for name, size in found.memory.items()}
    table([["WITH THEM", "MIB"], *([name, f"{size / MIB:.0f}"] for name, size in named.items())])


def tell_planner(found: Planner) -> None:
    say()
    took = median(found.looks)
    say(
        f"A look at {found.services} idle services: {took:.2f} s (median of {len(found.looks)}), {found.listings} listing of"
    )
    say(f"the engine, {found.restless} found restless (aim: < 5 s with one listing; met: {met(took < LOOK)}).")


def tell_recovery(found: Recovery) -> None:
    say()
    rows = [[name, "NOT WITHIN A MINUTE" if took is None else f"{took:.2f}"] for name, took in found.seconds.items()]
    table([["KILLED", "SECONDS UNTIL IT DOES ITS WORK AGAIN"], *rows])


def met(is_met: bool) -> str:
    return "yes" if is_met else "NO"
