"""The jobs of telemetry. Each carries ids only and may run twice."""

from uuid import UUID

from trackside.kit import failpoints
from trackside.kit.jobs import Job

DROP_LOGS = "telemetry.drop_logs"
QUEUE = "clear"
LATE = 30
"""Seconds after which nobody writes any more to the logs of what was deleted: an ended build stops, the last requests are told."""
failpoints.declare_around((DROP_LOGS,))


def drop_logs(workspace_id: UUID) -> Job:
    """Drop the logs of what the workspace has deleted, once their writers have noticed."""
    return Job(DROP_LOGS, {"workspace_id": str(workspace_id)}, QUEUE, lock=f"logs:{workspace_id}", delay_seconds=LATE)
