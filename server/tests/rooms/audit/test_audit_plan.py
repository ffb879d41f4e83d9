"""Events in words: the sentence of every type, what it is about, and what a config's change says of itself."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest

from trackside.rooms.audit.model import About, Fact, Subjects
from trackside.rooms.audit.plan import SENTENCES, Creation, ids_in, place_of, subjects_of, tell

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)
PROJECT, ENVIRONMENT, SERVICE, INSTANCE, DEPLOYMENT, REPLICA, GONE = (
    f"00000000-0000-0000-0000-00000000000{number}" for number in range(1, 8)
)
KNOWN = {
    PROJECT: Creation("ProjectCreated", {"project_id": PROJECT, "name": "shop"}),
    ENVIRONMENT: Creation(
        "EnvironmentCreated", {"environment_id": ENVIRONMENT, "project_id": PROJECT, "name": "production"}
    ),
    SERVICE: Creation("ServiceCreated", {"service_id": SERVICE, "project_id": PROJECT, "name": "web"}),
    INSTANCE: Creation(
        "ServiceInstanceCreated",
        {"service_instance_id": INSTANCE, "service_id": SERVICE, "environment_id": ENVIRONMENT},
    ),
    DEPLOYMENT: Creation("DeploymentRequested", {"deployment_id": DEPLOYMENT, "service_instance_id": INSTANCE}),
}
MINE = "deployment …00000005 of web in production of shop"
ITS = "replica …00000006 of deployment …00000005 of web in production of shop"
OF_DEPLOYMENT = {"deployment_id": DEPLOYMENT}
OF_INSTANCE = {"service_instance_id": INSTANCE}
OF_REPLICA = {"replica_id": REPLICA, "deployment_id": DEPLOYMENT}
PATCH = {"services": {SERVICE: {"variables": {"A": {"secretVersion": "x"}, "B": None}, "source": {"kind": "git"}}}}

TOLD: list[tuple[str, dict[str, Any], str]] = [
    ("ProjectCreated", {"project_id": PROJECT, "name": "shop"}, "The project shop was created."),
    (
        "EnvironmentCreated",
        {"environment_id": ENVIRONMENT, "project_id": PROJECT, "name": "production"},
        "The environment production of shop was created.",
    ),
    (
        "ServiceCreated",
        {"service_id": SERVICE, "project_id": PROJECT, "name": "web"},
        "The service web of shop was created.",
    ),
    ("ServiceInstanceCreated", OF_INSTANCE, "web in production of shop can be deployed."),
    (
        "DeletionRequested",
        {"subject_id": SERVICE, "kind": "service"},
        "The service web is to be deleted, with all it holds.",
    ),
    ("DeletionFinished", {"subject_id": PROJECT, "kind": "project"}, "The project shop is deleted."),
    ("DeletionFinished", {"subject_id": GONE, "kind": "project"}, "The project …00000007 is deleted."),
    (
        "EnvironmentConfigCommitted",
        {"environment_id": ENVIRONMENT, "config_version": 4, "patch": PATCH, "message": "x"},
        "The config of production of shop became version 4: web: variables.A, web: variables.B removed, web: source.",
    ),
    (
        "UploadReceived",
        {**OF_INSTANCE, "upload_id": GONE, "size_bytes": 1_234_567},
        "An archive of 1.2 MB was uploaded for web in production of shop.",
    ),
    (
        "UploadDropped",
        {**OF_INSTANCE, "upload_id": GONE},
        "An archive uploaded for web in production of shop was removed: nobody needs it any longer.",
    ),
    ("UploadsForgotten", OF_INSTANCE, "The archives uploaded for web in production of shop were removed."),
    (
        "SubnetAssigned",
        {"environment_id": ENVIRONMENT, "number": 3},
        "The environment production of shop has private network number 3.",
    ),
    (
        "SubnetReleased",
        {"environment_id": ENVIRONMENT},
        "The environment production of shop gave its private network back.",
    ),
    ("HostAssigned", {**OF_INSTANCE, "host": "web.x"}, "web in production of shop has the host name web.x."),
    ("HostsReleased", OF_INSTANCE, "web in production of shop gave its host names back."),
    ("BackendPut", {**OF_DEPLOYMENT, "servers": [{}, {}]}, f"The edge is to know 2 replicas of {MINE}."),
    ("BackendRemoved", OF_DEPLOYMENT, f"The edge is to forget {MINE}."),
    ("RouteChanged", {**OF_DEPLOYMENT, "page": None}, f"Requests go to {MINE} from now on."),
    (
        "RouteChanged",
        {**OF_INSTANCE, "deployment_id": None, "page": "stopped"},
        "Visitors of web in production of shop get the page “stopped” from now on.",
    ),
    ("RouteRemoved", OF_INSTANCE, "The edge is to forget web in production of shop."),
    (
        "DeploymentRequested",
        {**OF_DEPLOYMENT, "trigger": "redeploy", "source": {"kind": "git", "url": "https://x.y/a.git"}},
        f"Redeploy of web in production of shop from x.y/a: deployment {DEPLOYMENT}.",
    ),
    ("DeploymentProgressed", {**OF_DEPLOYMENT, "status": "BUILDING"}, f"D{MINE[1:]} is BUILDING."),
    ("StepStarted", {**OF_DEPLOYMENT, "step": "BUILD_IMAGE"}, f"“Build image” began in {MINE}."),
    (
        "StepEnded",
        {**OF_DEPLOYMENT, "step": "BUILD_IMAGE", "error": None, "is_skipped": False},
        f"“Build image” is done in {MINE}.",
    ),
    (
        "StepEnded",
        {**OF_DEPLOYMENT, "step": "BUILD_IMAGE", "error": "No disk.", "is_skipped": False},
        f"“Build image” failed in {MINE}: No disk.",
    ),
    (
        "StepEnded",
        {**OF_DEPLOYMENT, "step": "CONFIGURE_NETWORK", "error": None, "is_skipped": True},
        f"“Configure network” was skipped in {MINE}.",
    ),
    (
        "SourceResolved",
        {**OF_DEPLOYMENT, "commit": {"sha": "1a2b3c4d5e", "message": "Sell\n\nmore"}},
        f"The source of {MINE} is commit 1a2b3c4 “Sell”.",
    ),
    ("SourceResolved", {**OF_DEPLOYMENT, "commit": None}, f"The source of {MINE} was fetched."),
    ("ImageReady", OF_DEPLOYMENT, f"The image of {MINE} is there."),
    ("PortFound", {**OF_DEPLOYMENT, "port": 8080}, f"D{MINE[1:]} listens on port 8080."),
    ("DeploymentSucceeded", OF_DEPLOYMENT, f"D{MINE[1:]} serves: SUCCESS."),
    ("DeploymentFailed", {**OF_DEPLOYMENT, "reason": "It died."}, f"D{MINE[1:]} failed: It died."),
    ("DeploymentHeldUp", {**OF_DEPLOYMENT, "reason": "No engine."}, f"D{MINE[1:]} waits: No engine."),
    ("DeploymentResumed", OF_DEPLOYMENT, f"D{MINE[1:]} goes on: what it waited for is there."),
    ("DeploymentCrashed", {**OF_DEPLOYMENT, "reason": "It died."}, f"D{MINE[1:]} crashed: It died."),
    ("DeploymentRecovered", OF_DEPLOYMENT, f"D{MINE[1:]} serves again."),
    ("DeploymentRemoving", {**OF_DEPLOYMENT, "reason": "Replaced."}, f"D{MINE[1:]} leaves: Replaced."),
    ("DeploymentRemoved", {**OF_DEPLOYMENT, "reason": None}, f"D{MINE[1:]} is gone."),
    ("ReplicasWanted", {**OF_DEPLOYMENT, "replicas": 1}, f"D{MINE[1:]} is to have 1 replica."),
    ("ReplicaPlanned", {**OF_REPLICA, "address": "10.0.0.2"}, f"R{ITS[1:]} is to run at 10.0.0.2."),
    ("ReplicaChanged", {**OF_REPLICA, "status": "RUNNING", "detail": ""}, f"R{ITS[1:]} is RUNNING."),
    ("ReplicaRestarted", {**OF_REPLICA, "reason": "it hung"}, f"R{ITS[1:]} was restarted: it hung."),
    ("ReplicaLeaving", OF_REPLICA, f"R{ITS[1:]} is scaled away."),
    ("ReplicaTerminating", OF_REPLICA, f"R{ITS[1:]} was asked to stop."),
    ("ReplicaRemoved", OF_REPLICA, f"R{ITS[1:]} is gone."),
    ("InstanceForgotten", OF_INSTANCE, "The deployments of web in production of shop were forgotten."),
    ("SomethingNew", {}, "SomethingNew."),
]


@pytest.mark.parametrize(("type", "data", "sentence"), TOLD, ids=lambda value: value if isinstance(value, str) else "")
def test_an_event_is_told_in_a_sentence(type: str, data: dict[str, Any], sentence: str) -> None:
    assert tell(Fact(1, UUID(int=1), type, NOW, {}, data), KNOWN).sentence == sentence


def test_every_sentence_is_shown_here() -> None:
    assert {type for type, _, _ in TOLD} == set(SENTENCES) | {"SomethingNew"}


def test_a_long_change_names_some_keys_and_how_many_more() -> None:
    patch = {"services": {SERVICE: {"variables": {f"V{number}": {} for number in range(9)}}}}
    data = {"environment_id": ENVIRONMENT, "config_version": 1, "patch": patch}
    sentence = tell(Fact(1, UUID(int=1), "EnvironmentConfigCommitted", NOW, {}, data), KNOWN).sentence
    assert sentence.endswith("web: variables.V5 and 3 more.")


def test_the_place_of_an_event_is_found_up_to_its_project() -> None:
    place = place_of(OF_REPLICA, KNOWN)
    assert (place.project, place.environment, place.service) == ("shop", "production", "web")
    assert (place.deployment_id, place.service_instance_id) == (DEPLOYMENT, INSTANCE)
    both = place_of({"environment_id": ENVIRONMENT, "patch": {"services": {SERVICE: {}, GONE: {}}}}, KNOWN)
    assert (both.environment, both.service) == ("production", None)


def test_what_is_not_known_is_no_place() -> None:
    assert place_of({"deployment_id": GONE}, KNOWN).service is None
    assert list(ids_in({"patch": {"services": "nonsense"}, "deployment_id": 3})) == []


def test_what_is_asked_about_comes_to_its_parts() -> None:
    project, environment, service, instance = (UUID(one) for one in (PROJECT, ENVIRONMENT, SERVICE, INSTANCE))

    def subjects(**about: UUID) -> Subjects:
        return subjects_of(About(project_id=project, **about), [environment], [service], [instance])

    assert subjects().ids == {project, environment, service, instance}
    assert subjects(environment_id=environment).ids == {environment, instance}
    assert subjects(service_id=service) == Subjects(
        frozenset({service, instance}), frozenset({environment}), frozenset({service})
    )
    assert subjects(service_id=service, environment_id=environment).ids == {instance}
