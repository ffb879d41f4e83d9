"""Reading logs and events: pages of what is there, and what comes, each once, over any number of broken connections."""

from collections.abc import Generator, Iterator
from dataclasses import replace
from functools import partial

from trackside_cli import moments
from trackside_cli.client import Api, EventQuery, LogQuery
from trackside_cli.client.types import Event, LogLine
from trackside_cli.patience import Patience

BEFORE_RUNNING = frozenset({"INITIALIZING", "QUEUED", "WAITING", "NEEDS_APPROVAL", "BUILDING"})
LOOK_SECONDS = 15.0  # a quiet log is asked this often whether it can get more lines
GONE = frozenset({"FAILED", "SKIPPED", "REMOVED"})


def pages(api: Api, deployment_id: str, query: LogQuery, patience: Patience) -> Iterator[LogLine]:
    """Every line after `query.after`, page by page, until there are no more."""
    while True:
        lines = patience.call(partial(api.logs, deployment_id, query))
        yield from lines
        if len(lines) < query.limit:
            return
        query = replace(query, after=lines[-1]["seq"])


def follow(api: Api, deployment_id: str, query: LogQuery, patience: Patience) -> Iterator[LogLine]:
    """Lines as they come, from `query.after` on, until nothing more can come: the build or the deployment is over."""

    def is_over() -> bool:
        return is_final(patience.call(lambda: api.deployment(deployment_id))["status"], query.kind)

    while not is_over():
        looked_at = moments.monotonic()
        with patience.bearing():
            for line in api.follow_logs(deployment_id, query):
                patience.reset()
                if line is not None and _is_new(line, query):
                    query = replace(query, after=line["seq"])
                    yield line
                elif line is None and moments.monotonic() - looked_at > LOOK_SECONDS:
                    looked_at = moments.monotonic()
                    if is_over():
                        break
        patience.breathe()
    yield from (line for line in pages(api, deployment_id, query, patience) if _is_new(line, query))


def _is_new(line: LogLine, query: LogQuery) -> bool:
    return query.after is None or line["seq"] > query.after


def is_final(status: str, kind: str) -> bool:
    """Whether a log of this kind can get no more lines."""
    return status not in BEFORE_RUNNING if kind == "build" else status in GONE


def event_pages(api: Api, query: EventQuery, patience: Patience) -> Generator[Event, None, int]:
    """Every event that is there, page by page; returns the cursor from which to go on."""
    while True:
        page = patience.call(partial(api.events, query))
        yield from page["events"]
        if len(page["events"]) < query.limit:
            return page["cursor"]
        query = replace(query, after=page["cursor"])


def events(api: Api, query: EventQuery, patience: Patience) -> Iterator[Event]:
    """Events as they come, from `query.after` on, for as long as the token is accepted."""
    while True:
        with patience.bearing():
            for event in api.follow_events(query):
                patience.reset()
                if event is not None and event["seq"] > query.after:
                    query = replace(query, after=event["seq"])
                    yield event
        patience.breathe()
