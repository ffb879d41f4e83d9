"""Explanations of deployments: every way a life can go, from its events to the text that a person reads."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as some

from trackside.rooms.deployments.model import Explanation, Fact, StepName
from trackside.rooms.deployments.plan.explaining import TELLERS, WAITING, Circumstances, explain

START = datetime(2026, 1, 31, 12, 0, 0, tzinfo=UTC)
ME = "00000000-0000-0000-0000-000000000001"
OTHER = "00000000-0000-0000-0000-000000000002"
REPLICAS = ("00000000-0000-0000-0000-00000000000a", "00000000-0000-0000-0000-00000000000b")
GIT: dict[str, Any] = {"kind": "git", "url": "https://example.com/shop.git", "reference": "main"}
IMAGE: dict[str, Any] = {"kind": "image", "reference": "app:1"}
SETTINGS: dict[str, Any] = {"healthcheck_timeout": 300.0, "start_period": 0.0, "healthcheck_path": "/health"}


@dataclass
class Life:
    """A deployment's events, told one after the other; `seconds` go by before each."""

    facts: list[Fact] = field(default_factory=list[Fact])
    now: datetime = START
    replicas: int = 1

    def add(self, seconds: float, type: str, *, actor: str = "Trackside", **data: Any) -> "Life":
        self.now += timedelta(seconds=seconds)
        self.facts.append(Fact(type, self.now, actor, {"deployment_id": ME, **data}))
        return self

    def asked(self, trigger: str = "deploy", source: dict[str, Any] = GIT, **data: Any) -> "Life":
        base: dict[str, Any] = {"replicas": self.replicas, "rollback_of": None, "image": None, "settings": SETTINGS}
        self.add(0, "DeploymentRequested", actor="Ada", trigger=trigger, source=source, **{**base, **data})
        status = "DEPLOYING" if data.get("image") else "QUEUED"
        return self.add(0, "DeploymentProgressed", status=status)

    def step(self, name: str, seconds: float, error: str | None = None) -> "Life":
        self.add(0, "StepStarted", step=name)
        return self.add(seconds, "StepEnded", step=name, error=error, is_skipped=False)

    def built(self) -> "Life":
        self.add(1.5, "DeploymentProgressed", status="BUILDING").step("SNAPSHOT_CODE", 0.8)
        self.add(0, "SourceResolved", commit={"sha": "1a2b3c4d5e", "message": "Sell more\n\nmuch", "author": "Ada"})
        self.step("BUILD_IMAGE", 12.3).step("PUBLISH_IMAGE", 2.1)
        return self.add(0, "DeploymentProgressed", status="DEPLOYING").add(0, "ImageReady", image={})

    def started(self) -> "Life":
        self.add(0, "StepStarted", step="CREATE_CONTAINER")
        for number in range(self.replicas):
            self.add(
                0, "ReplicaPlanned", replica_id=REPLICAS[number], role="replica", ordinal=number, address="10.0.0.2"
            )
        self.add(0.4, "StepEnded", step="CREATE_CONTAINER", error=None, is_skipped=False)
        return self.add(0, "StepStarted", step="HEALTHCHECK").add(0.3, "PortFound", port=8080)

    def swapped(self) -> "Life":
        self.add(1, "StepEnded", step="HEALTHCHECK", error=None, is_skipped=False)
        self.add(0, "StepStarted", step="CONFIGURE_NETWORK")
        return self.add(0, "RouteChanged", slot=3, page=None, service_instance_id=OTHER)

    def served(self) -> "Life":
        self.swapped().add(0.1, "StepEnded", step="CONFIGURE_NETWORK", error=None, is_skipped=False)
        return self.step("DRAIN_INSTANCES", 4).add(0, "DeploymentSucceeded")

    def ended(self, reason: str, **data: Any) -> "Life":
        return self.add(0, "DeploymentRemoved", service_instance_id=OTHER, reason=reason, **data)

    def explained(self, seconds: float = 0, place: int | None = None) -> str:
        request = Fact("DeploymentRequested", self.now, "Bob", {"trigger": "redeploy"})
        now = self.now + timedelta(seconds=seconds)
        return text_of(explain(self.facts, Circumstances(now, {OTHER: request}, place)))


def text_of(explanation: Explanation) -> str:
    """All that is told, a line each."""
    lines = [explanation.status, explanation.sentence]
    lines += [f"hint: {explanation.hint}"] if explanation.hint else []
    for one in explanation.happened:
        took = f"{one.seconds:.1f}{'' if one.is_over else '…'}" if one.seconds is not None else ""
        lines.append(f"{(one.at - START).total_seconds():6.1f} {took:>7}  {one.sentence}")
    lines += [f"waits for: {explanation.waits_for}"] if explanation.waits_for else []
    return "\n".join(lines) + "\n"


REPLACED = f"deployment {OTHER} (redeploy by Bob)"
ASKED = (
    "   0.0          Asked for by Ada: example.com/shop@main, 1 replica.\n   0.0     1.5  It waited to be taken up.\n"
)
BUILT = f"""\
{ASKED}\
   1.5     0.8  Snapshot code.
   2.3          The source is commit 1a2b3c4 “Sell more” by Ada.
   2.3    12.3  Build image.
  14.6     2.1  Publish image.
  16.7     0.4  Create container.
"""
SERVED = f"""\
{BUILT}\
  17.1     1.3  Healthcheck.
  17.4          It listens on port 8080.
  18.4          The edge was told to send all new requests to it.
  18.4     0.1  Configure network.
  18.5     4.0  Drain instances.
  22.5          SUCCESS, 22.5 s after it was asked for.
"""


def failed(life: Life, reason: str, hint: str = "Look there.") -> Life:
    return life.add(0, "DeploymentFailed", service_instance_id=OTHER, reason=reason, hint=hint)


def test_success_is_told_with_every_phase_and_its_time() -> None:
    life = Life().asked().built().started().served()
    assert (
        life.explained(60)
        == f"""\
SUCCESS
It serves, for 1 min 0 s now; it took 22.5 s from the request to SUCCESS.
{SERVED}"""
    )


def test_what_is_held_up_says_what_it_waits_for_until_it_goes_on() -> None:
    life = (
        Life().asked().add(1.5, "DeploymentProgressed", status="BUILDING").add(0, "StepStarted", step="SNAPSHOT_CODE")
    )
    life.add(1, "DeploymentHeldUp", reason="The disk is ill.", hint="Mend it.")
    held_up = f"""\
BUILDING
It is under way, for 2.5 s now.
hint: Mend it.
{ASKED}\
   1.5    1.0…  Snapshot code is under way.
   2.5          It has to wait: The disk is ill.
waits for: The disk is ill.
"""
    assert life.explained() == held_up
    told = life.add(1, "DeploymentResumed").explained()
    assert (
        "   3.5          It goes on: what it waited for is there.\nwaits for: Its source has to be fetched.\n" in told
    )
    assert "hint" not in told


def test_a_build_failure_names_the_step_and_the_reason_once() -> None:
    life = Life().asked().add(1.5, "DeploymentProgressed", status="BUILDING").step("SNAPSHOT_CODE", 0.8)
    reason = "The build failed: `npm ci` ended with code 1."
    assert (
        failed(life.step("BUILD_IMAGE", 9, reason), reason).explained()
        == f"""\
FAILED
The build failed: `npm ci` ended with code 1. No request was sent to it; what served before was left as it is.
hint: Look there.
{ASKED}\
   1.5     0.8  Snapshot code.
   2.3     9.0  Build image failed.
  11.3          FAILED: The build failed: `npm ci` ended with code 1.
"""
    )


def test_a_health_check_failure_names_the_replica_and_what_the_edge_said_of_it() -> None:
    life = Life(replicas=2).asked().built().started()
    life.add(300, "ReplicaChanged", replica_id=REPLICAS[1], status="CRASHED", detail="it is unhealthy: status 503")
    reason = "It was not healthy within 300 s: status 503."
    life.add(0, "StepEnded", step="HEALTHCHECK", error=reason, is_skipped=False)
    assert (
        failed(life, reason).explained()
        == f"""\
FAILED
It was not healthy within 300 s: status 503. No request was sent to it; what served before was left as it is.
hint: Look there.
{BUILT.replace("1 replica", "2 replicas")}\
  17.1   300.3  Healthcheck failed.
  17.4          It listens on port 8080.
 317.4          Replica 1 is CRASHED: it is unhealthy: status 503.
 317.4          FAILED: It was not healthy within 300 s: status 503.
"""
    )


def test_what_was_superseded_names_by_what_and_what_was_broken_off() -> None:
    life = Life().asked().add(1.5, "DeploymentProgressed", status="BUILDING").step("SNAPSHOT_CODE", 0.8)
    reason = f"Superseded by {OTHER} before it served."
    assert (
        life.step("BUILD_IMAGE", 3, reason).ended(reason, by=OTHER).explained()
        == f"""\
REMOVED
It was superseded by {REPLACED} before it served.
{ASKED}\
   1.5     0.8  Snapshot code.
   2.3     3.0  Build image was broken off.
   5.3          It was superseded by {REPLACED} before it served.
"""
    )


def test_what_was_cancelled_while_it_waited_says_by_whom() -> None:
    life = Life().asked()
    life.now += timedelta(seconds=1.5)
    assert (
        life.ended("Cancelled by Ada.").explained()
        == f"""\
REMOVED
Cancelled by Ada.
{ASKED}\
   1.5          Cancelled by Ada.
"""
    )


@pytest.mark.parametrize(
    ("data", "why"),
    [
        ({"reason": f"Replaced by {OTHER}.", "by": OTHER}, f"It was replaced by {REPLACED}"),
        ({"reason": "Taken down by Ada."}, "Taken down by Ada"),
    ],
    ids=["replaced", "taken down"],
)
def test_what_left_says_why_and_how_long_it_served(data: dict[str, Any], why: str) -> None:
    life = Life().asked().built().started().served().add(7500, "DeploymentRemoving", **data)
    assert (
        life.explained(2)
        == f"""\
REMOVING
{why}, after it had served for 2 h 5 min.
{SERVED}\
  22.5  7500.0  It served.
7522.5          {why}.
7522.5    2.0…  It finishes its open requests and stops.
waits for: Its open requests have to end and its replicas to stop.
"""
    )
    assert (
        life.add(3.2, "DeploymentRemoved", reason=None).explained()
        == f"""\
REMOVED
{why}, after it had served for 2 h 5 min.
{SERVED}\
  22.5  7500.0  It served.
7522.5          {why}.
7522.5     3.2  Its open requests ended and its replicas stopped.
"""
    )


def test_a_crash_tells_what_was_tried_and_the_last_word_of_each_replica() -> None:
    life = Life().asked().built().started().served()
    for _ in range(3):
        life.add(5, "ReplicaRestarted", replica_id=REPLICAS[0], reason="the app exited with code 1")
    detail = "the app exited with code 1, 11 times"
    life.add(5, "ReplicaChanged", replica_id=REPLICAS[0], status="CRASHED", detail=detail)
    life.add(0, "DeploymentCrashed", reason=f"T{detail[1:]}; its restart policy is spent.")
    assert (
        life.explained()
        == f"""\
CRASHED
The app exited with code 1, 11 times; its restart policy is spent.
{SERVED}\
  22.5    20.0  It served.
  27.5          Replica 0 was restarted by the platform: the app exited with code 1, 3 times.
  42.5          Replica 0 is CRASHED: the app exited with code 1, 11 times.
  42.5          CRASHED: The app exited with code 1, 11 times; its restart policy is spent.
"""
    )
    life.add(60, "ReplicaChanged", replica_id=REPLICAS[0], status="RUNNING", detail="")
    again = life.add(0, "DeploymentRecovered").explained(30)
    assert again.startswith("SUCCESS\nIt serves, for 30.0 s now;")
    assert again.endswith(" 102.5          Replica 0 runs again.\n 102.5          It serves again.\n")


def test_a_rollback_says_to_what_and_that_nothing_was_built() -> None:
    life = Life().asked("rollback", IMAGE, image={"image_id": "sha256:1"}, rollback_of=OTHER)
    assert life.explained().splitlines()[2] == (
        f"   0.0          Rollback asked for by Ada, to {REPLACED}: image app:1, 1 replica; the image is there already."
    )


def test_scaling_and_what_is_skipped_are_told() -> None:
    life = Life().asked().built().started()
    life.add(1, "StepEnded", step="CONFIGURE_NETWORK", error=None, is_skipped=True)
    life.add(0, "ReplicasWanted", actor="Bob", replicas=3).add(0, "ReplicaLeaving", replica_id=REPLICAS[0])
    assert [line[16:] for line in life.explained().splitlines()[-4:-1]] == [
        "Configure network was skipped: nothing in it listens, so that no request can go to it.",
        "Scaled to 3 replicas by Bob.",
        "Replica 0 is scaled away.",
    ]


@pytest.mark.parametrize(
    ("life", "place", "waits"),
    [
        (Life().asked(), None, "A builder has to be free and take it up."),
        (Life().asked(), 1, "A place to build in: it is next in the queue."),
        (Life().asked(), 3, "A place to build in: it is third in the queue."),
        (Life().asked(), 17, "A place to build in: it is number 17 in the queue."),
        (Life().asked(source=IMAGE), None, "The deployer has to take it up."),
        (Life().asked(source=IMAGE).add(0, "StepStarted", step="PUBLISH_IMAGE"), None, "The image has to be pulled."),
        (Life().asked().built(), None, "The deployer has to take its next step."),
        (
            Life(replicas=2).asked().built().started(),
            None,
            "The edge has to find all 2 replicas well at /health; that may take 300 s.",
        ),
        (
            Life().asked().built().started().swapped(),
            None,
            "The edge has to confirm that it sends all new requests to it.",
        ),
    ],
)
def test_what_is_under_way_says_what_it_waits_for(life: Life, place: int | None, waits: str) -> None:
    told = life.explained(20, place)
    assert told.splitlines()[1].startswith("It is under way, for ")
    assert told.splitlines()[-1] == f"waits for: {waits}"


def test_every_step_has_something_that_it_waits_for() -> None:
    """But for those that no deployment takes yet."""
    assert set(StepName) - set(WAITING) == {StepName.WAIT_FOR_DEPENDENCIES, StepName.MIGRATE_VOLUMES}


@given(some.data())
def test_any_beginning_of_a_life_can_be_explained(data: some.DataObject) -> None:
    """A deployment may be asked about at any moment, and events of types that are not known may lie between."""
    life = Life(replicas=2).asked().built().started().served().add(9, "DeploymentRemoving", reason="Gone.", by=OTHER)
    life.ended("Gone.", by=OTHER)
    until = data.draw(some.integers(1, len(life.facts)))
    facts = life.facts[:until]
    facts.insert(data.draw(some.integers(1, until)), Fact("SomethingNew", START, "Ada", {}))
    explanation = explain(facts, Circumstances(life.now))
    assert explanation.deployment_id == UUID(ME)
    assert explanation.sentence.endswith(".")
    assert [one.at for one in explanation.happened] == sorted(one.at for one in explanation.happened)
    is_at_rest = explanation.status in ("SUCCESS", "REMOVED")
    assert (explanation.waits_for is None) == is_at_rest
    assert set(TELLERS) > {fact.type for fact in life.facts} - {"ImageReady"}
