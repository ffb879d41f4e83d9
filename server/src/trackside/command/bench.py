"""`python -m trackside bench`: the platform's own share of a deployment, beside the bare engine's in the same run."""

import asyncio
from argparse import ArgumentParser, Namespace
from dataclasses import asdict

from trackside.command.bench_deployments import changed_source, existing_image, unchanged_source
from trackside.command.bench_figures import Runs
from trackside.command.bench_platform import platform
from trackside.command.printing import say, say_json, table

AIMS = {"existing image": ("own", 1.0), "unchanged source": ("own", 2.0), "changed static source": ("wall", 10.0)}


def add_commands(parser: ArgumentParser) -> None:
    """The options of `bench`."""
    parser.add_argument("--here", action="store_true", help="measure the running platform, not one of its own")
    parser.add_argument(
        "--times", type=int, default=15, help="deployments of an existing image (others: a third of it)"
    )
    parser.add_argument("--json", action="store_true", help="for programs")
    parser.set_defaults(run=_run)


def _run(arguments: Namespace) -> int:
    found = asyncio.run(_measure(arguments.here, arguments.times))
    if arguments.json:
        say_json({name: {**runs.medians(), "stages": [asdict(s) for s in runs.stages]} for name, runs in found.items()})
    else:
        _tell(found)
    return 0


async def _measure(is_here: bool, times: int) -> dict[str, Runs]:
    few = max(3, times // 3)
    async with platform(is_here) as there:
        return {
            "existing image": await existing_image(there, times),
            "unchanged source": await unchanged_source(there, few),
            "changed static source": await changed_source(there, few),
        }


def _tell(found: dict[str, Runs]) -> None:
    say("Medians in ms. own = wall minus engine create and start, the app's first answer, and the old version's stop;")
    say("floor = the same container created, started and answering on the bare engine in the same run.")
    rows = [["DEPLOYMENT OF", "OWN", "P90", "WALL", "ENGINE", "ANSWER", "STOP", "FLOOR", "AIM", "MET"]]
    for name, runs in found.items():
        medians = runs.medians()
        which, aim = AIMS[name]
        floor = medians["floor_create"] + medians["floor_start"] + medians["floor_answer"]
        figures = [medians[key] for key in ("own", "own_p90", "wall", "engine_start", "answer", "stop")]
        met = "yes" if medians[which] < aim else "NO"
        rows.append([name, *(f"{value * 1000:.0f}" for value in (*figures, floor)), f"{which} < {aim:g} s", met])
    table(rows)
    for name, runs in found.items():
        say()
        say(f"Where the time of a deployment goes: {name}")
        for stage in runs.stages:
            say(f"  {stage.offset * 1000:+7.0f} ms  {stage.took * 1000:6.0f} ms  {stage.name}")
