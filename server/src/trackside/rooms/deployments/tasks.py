"""The jobs of deployments. Each carries ids only and may run twice."""

from uuid import UUID

from trackside.kit import failpoints
from trackside.kit.jobs import Job

CONVERGE = "deployments.converge"
PREPARE = "deployments.prepare"
CLEAR_AWAY = "deployments.clear_away"
COLLECT_IMAGES = "deployments.collect_images"

CONVERGE_QUEUE = "converge"
PULL_QUEUE = "pull"
"""Apart, for a registry may take half an hour over each image, and nobody's services wait for it."""
CLEAR_QUEUE = "clear"
failpoints.declare_around((CONVERGE, PREPARE, CLEAR_AWAY, COLLECT_IMAGES))


def converge(workspace_id: UUID, instance_id: UUID) -> Job:
    """Make the service instance run what is wanted; passes over one instance never overlap."""
    return Job(
        CONVERGE,
        {"workspace_id": str(workspace_id), "instance_id": str(instance_id)},
        CONVERGE_QUEUE,
        lock=f"instance:{instance_id}",
        unique=f"converge:{instance_id}",
    )


def prepare(workspace_id: UUID, deployment_id: UUID) -> Job:
    """Pull the deployment's image; what is to be built waits in the build queue, which needs no job."""
    return Job(
        PREPARE,
        {"workspace_id": str(workspace_id), "deployment_id": str(deployment_id)},
        PULL_QUEUE,
        lock=f"deployment:{deployment_id}",
        unique=f"prepare:{deployment_id}",
    )


def clear_away(workspace_id: UUID, kind: str, subject_id: UUID) -> Job:
    """Finish a deletion."""
    return Job(
        CLEAR_AWAY,
        {"workspace_id": str(workspace_id), "kind": kind, "subject_id": str(subject_id)},
        CLEAR_QUEUE,
        lock=f"deletion:{subject_id}",
        unique=f"deletion:{subject_id}",
    )


def collect_images(workspace_id: UUID, instance_id: UUID) -> Job:
    """Give up images that nobody can go back to."""
    return Job(
        COLLECT_IMAGES,
        {"workspace_id": str(workspace_id), "instance_id": str(instance_id)},
        CLEAR_QUEUE,
        lock=f"images:{instance_id}",
        unique=f"images:{instance_id}",
    )
