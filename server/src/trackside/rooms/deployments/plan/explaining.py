"""Why a deployment is as it is: its events in, an explanation out. Pure, and from the events alone.

Events are folded into a story one by one, by one small teller per type; what no teller knows adds nothing.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any
from uuid import UUID

from trackside.kit.words import after_colon, counted, first_upper, ordinal, phrase, span
from trackside.rooms.builds.model import source_text
from trackside.rooms.deployments.model import Explanation, Fact, Moment, Role, Status, StepName

Data = Mapping[str, Any]
QUEUE, SERVE, LEAVE = "QUEUE", "SERVE", "LEAVE"
UNDER_WAY = {QUEUE: "It waits to be taken up.", LEAVE: "It finishes its open requests and stops."}
TRIGGERS = {
    "deploy": "Asked for by {actor}",
    "redeploy": "Asked for again by {actor}",
    "rollback": "Rollback asked for by {actor}",
    "restart": "Restart asked for by {actor}",
    "variables": "Asked for by the change of variables of {actor}",
}
BAD = frozenset({"CRASHED", "RESTARTING", "EXITED"})


@dataclass(frozen=True)
class Circumstances:
    """What is known besides the deployment's own events: the requests of deployments that they name, by id; the present
    moment; and its place in the build queue, 1 the next (None: not known).
    """

    now: datetime
    others: Mapping[str, Fact] = field(default_factory=dict[str, Fact])
    place: int | None = None


@dataclass
class Story:
    """What the events have told so far."""

    around: Circumstances
    requested: Fact
    status: str = Status.INITIALIZING
    moments: list[Moment] = field(default_factory=list[Moment])
    open: dict[str, datetime] = field(default_factory=dict[str, datetime])
    broken: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    replicas: dict[str, str] = field(default_factory=dict[str, str])
    unwell: set[str] = field(default_factory=set[str])
    wanted: int = 1
    is_routed: bool = False
    served_at: datetime | None = None
    end: str = ""
    held_up: Data | None = None
    failure: Data = field(default_factory=dict[str, Any])

    def say(self, at: datetime, sentence: str) -> None:
        self.moments.append(Moment(at, sentence))

    def begin(self, phase: str, at: datetime) -> None:
        self.open[phase] = at

    def finish(self, phase: str, at: datetime, sentence: str) -> None:
        """The phase is over; nothing where it had not begun."""
        if (begun := self.open.pop(phase, None)) is not None:
            self.moments.append(Moment(begun, sentence, phase, _seconds(begun, at)))

    def settle(self, at: datetime, how: str) -> None:
        """What was under way when the deployment ended: steps that failed or were broken off."""
        self.finish(QUEUE, at, "It waited to be taken up.")
        for step, _ in self.broken:
            self.finish(step, at, f"{phrase(step)} {how}.")
        self.broken.clear()

    def other(self, named: str) -> str:
        """Another deployment in words: `deployment 01a2… (rollback by Ada)`."""
        request = self.around.others.get(named)
        return (
            f"deployment {named} ({request.data['trigger']} by {request.actor})" if request else f"deployment {named}"
        )


def explain(history: Sequence[Fact], around: Circumstances) -> Explanation:
    """The explanation of the deployment that the events are about; the first of them is its request."""
    story = Story(around, history[0])
    for fact in history:
        if teller := TELLERS.get(fact.type):
            teller(story, fact, fact.data)
    under_way = [
        Moment(at, UNDER_WAY.get(phase, f"{phrase(phase)} is under way."), phase, _seconds(at, around.now), False)
        for phase, at in story.open.items()
        if phase != SERVE
    ]
    told = _held_up_by(story) or story.failure
    return Explanation(
        UUID(str(story.requested.data["deployment_id"])),
        story.status,
        _end_of(story),
        told.get("hint"),
        told.get("code"),
        _waits_for(story),
        _in_order([*story.moments, *under_way]),
    )


def _in_order(moments: Sequence[Moment]) -> tuple[Moment, ...]:
    """By time; what happened again and again without anything else between is told once, with its number."""
    told: list[tuple[Moment, int]] = []
    for moment in sorted(moments, key=lambda one: one.at):
        if told and told[-1][0].sentence == moment.sentence:
            told[-1] = (told[-1][0], told[-1][1] + 1)
        else:
            told.append((moment, 1))
    return tuple(
        replace(one, sentence=f"{one.sentence.rstrip('.')}, {times} times.") if times > 1 else one
        for one, times in told
    )


# --- the tellers, one per type of event ---


def _requested(story: Story, fact: Fact, data: Data) -> None:
    story.wanted = data["replicas"]
    asked = TRIGGERS.get(data["trigger"], "Asked for by {actor}").format(actor=fact.actor)
    back = f", to {story.other(data['rollback_of'])}" if data["rollback_of"] else ""
    source = source_text(data["source"])
    taken_over = "; the image is there already" if data["image"] else ""
    story.say(fact.at, f"{asked}{back}: {source}, {counted(story.wanted, 'replica')}{taken_over}.")


def _progressed(story: Story, fact: Fact, data: Data) -> None:
    story.status = data["status"]
    if story.status == Status.QUEUED:
        story.begin(QUEUE, fact.at)
    else:
        story.finish(QUEUE, fact.at, "It waited to be taken up.")


def _step_started(story: Story, fact: Fact, data: Data) -> None:
    story.finish(QUEUE, fact.at, "It waited to be taken up.")
    story.begin(data["step"], fact.at)


def _step_ended(story: Story, fact: Fact, data: Data) -> None:
    step = data["step"]
    if data["is_skipped"]:
        story.open.pop(step, None)
        story.say(fact.at, f"{phrase(step)} was skipped{SKIPPED.get(step, '')}.")
    elif data["error"]:
        story.broken.append((step, data["error"]))  # what ended the deployment says whether it failed or was broken off
    else:
        story.finish(step, fact.at, f"{phrase(step)}.")


SKIPPED = {StepName.CONFIGURE_NETWORK: ": nothing in it listens, so that no request can go to it"}


def _resolved(story: Story, fact: Fact, data: Data) -> None:
    commit = data["commit"]
    if commit:
        message = str(commit.get("message") or "").strip().partition("\n")[0][:60]
        by = f" by {commit['author']}" if commit.get("author") else ""
        story.say(fact.at, f"The source is commit {str(commit['sha'])[:7]}{f' “{message}”' if message else ''}{by}.")


def _port_found(story: Story, fact: Fact, data: Data) -> None:
    story.say(fact.at, f"It listens on port {data['port']}.")


def _routed(story: Story, fact: Fact, data: Data) -> None:
    if data["page"] is None and not story.is_routed:
        story.is_routed = True
        story.say(fact.at, "The edge was told to send all new requests to it.")


def _succeeded(story: Story, fact: Fact, data: Data) -> None:
    story.status, story.served_at = Status.SUCCESS, story.served_at or fact.at
    story.held_up = None
    story.begin(SERVE, fact.at)
    story.say(fact.at, f"SUCCESS, {span(_since(story, fact.at))} after it was asked for.")


def _failed(story: Story, fact: Fact, data: Data) -> None:
    story.settle(fact.at, "failed")
    story.status, story.failure = Status.FAILED, data
    unrouted = "" if story.is_routed else " No request was sent to it; what served before was left as it is."
    story.end = f"{data['reason']}{unrouted}"
    story.say(fact.at, f"FAILED{after_colon(data['reason'])}")


def _crashed(story: Story, fact: Fact, data: Data) -> None:
    story.status, story.end = Status.CRASHED, data["reason"]
    story.finish(SERVE, fact.at, "It served.")
    story.say(fact.at, f"CRASHED{after_colon(data['reason'])}")


def _recovered(story: Story, fact: Fact, data: Data) -> None:
    story.status, story.held_up = Status.SUCCESS, None
    story.begin(SERVE, fact.at)
    story.say(fact.at, "It serves again.")


def _removing(story: Story, fact: Fact, data: Data) -> None:
    story.settle(fact.at, "was broken off")
    story.finish(SERVE, fact.at, "It served.")
    story.status, why = Status.REMOVING, _why_gone(story, data)
    served = sum(moment.seconds or 0 for moment in story.moments if moment.phase == SERVE)
    story.end = f"{why.rstrip('.')}, after it had served for {span(served)}." if story.served_at else why
    story.begin(LEAVE, fact.at)
    story.say(fact.at, why)


def _removed(story: Story, fact: Fact, data: Data) -> None:
    story.settle(fact.at, "was broken off")
    story.finish(LEAVE, fact.at, "Its open requests ended and its replicas stopped.")
    story.status = Status.REMOVED
    if data["reason"]:
        story.end = _why_gone(story, data)
        story.say(fact.at, story.end)


def _why_gone(story: Story, data: Data) -> str:
    by = data.get("by")
    if by is None:
        return f"{str(data['reason']).rstrip('.')}."
    if story.is_routed or story.served_at:
        return f"It was replaced by {story.other(by)}."
    return f"It was superseded by {story.other(by)} before it served."


def _held_up(story: Story, fact: Fact, data: Data) -> None:
    story.held_up = data
    story.say(fact.at, f"It has to wait{after_colon(data['reason'])}")


def _resumed(story: Story, fact: Fact, data: Data) -> None:
    story.held_up = None
    story.say(fact.at, "It goes on: what it waited for is there.")


def _replicas_wanted(story: Story, fact: Fact, data: Data) -> None:
    story.wanted = data["replicas"]
    story.say(fact.at, f"Scaled to {counted(story.wanted, 'replica')} by {fact.actor}.")


def _replica_planned(story: Story, fact: Fact, data: Data) -> None:
    is_task = data["role"] == Role.PRE_DEPLOY
    story.replicas[data["replica_id"]] = "the pre-deploy container" if is_task else f"replica {data['ordinal']}"


def _replica(story: Story, data: Data) -> str:
    return first_upper(story.replicas.get(data["replica_id"], "a replica"))


def _replica_changed(story: Story, fact: Fact, data: Data) -> None:
    """What goes well is not worth a line, unless it went wrong before."""
    named = data["replica_id"]
    if data["status"] in BAD and data["detail"]:
        story.unwell.add(named)
        story.say(fact.at, f"{_replica(story, data)} is {data['status']}{after_colon(data['detail'])}")
    elif data["status"] == "RUNNING" and named in story.unwell:
        story.unwell.discard(named)
        story.say(fact.at, f"{_replica(story, data)} runs again.")


def _replica_restarted(story: Story, fact: Fact, data: Data) -> None:
    story.say(fact.at, f"{_replica(story, data)} was restarted by the platform{after_colon(data['reason'])}")


def _replica_leaving(story: Story, fact: Fact, data: Data) -> None:
    story.say(fact.at, f"{_replica(story, data)} is scaled away.")


TELLERS: dict[str, Callable[[Story, Fact, Data], None]] = {
    "DeploymentRequested": _requested,
    "DeploymentProgressed": _progressed,
    "StepStarted": _step_started,
    "StepEnded": _step_ended,
    "SourceResolved": _resolved,
    "PortFound": _port_found,
    "RouteChanged": _routed,
    "DeploymentSucceeded": _succeeded,
    "DeploymentFailed": _failed,
    "DeploymentCrashed": _crashed,
    "DeploymentRecovered": _recovered,
    "DeploymentHeldUp": _held_up,
    "DeploymentResumed": _resumed,
    "DeploymentRemoving": _removing,
    "DeploymentRemoved": _removed,
    "ReplicasWanted": _replicas_wanted,
    "ReplicaPlanned": _replica_planned,
    "ReplicaChanged": _replica_changed,
    "ReplicaRestarted": _replica_restarted,
    "ReplicaLeaving": _replica_leaving,
}


# --- what it came to, and what comes next ---


def _since(story: Story, at: datetime) -> float:
    return _seconds(story.requested.at, at)


def _seconds(begun: datetime, at: datetime) -> float:
    return (at - begun).total_seconds()


def _end_of(story: Story) -> str:
    """One sentence: how it ended and why, or how it goes."""
    if story.end and story.status != Status.SUCCESS:
        return story.end
    if story.status == Status.SUCCESS and (serving := story.open.get(SERVE)):
        took = span(_since(story, story.served_at or serving))
        so_far = span(_seconds(serving, story.around.now))
        return f"It serves, for {so_far} now; it took {took} from the request to SUCCESS."
    return f"It is under way, for {span(_since(story, story.around.now))} now."


def _waits_for(story: Story) -> str | None:
    """What has to happen next, where something has."""
    if held_up := _held_up_by(story):
        return str(held_up["reason"])
    if story.status in (Status.SUCCESS, Status.CRASHED, Status.SLEEPING, *ENDS):
        return None
    waiting = WAITING.get(next(reversed(story.open), story.status)) or WAITING.get(story.status)
    return waiting(story) if waiting else "The platform has to take its next step."


def _held_up_by(story: Story) -> Data | None:
    """What it waits for in the world, where it goes on and something is not there."""
    return None if story.status in (Status.CRASHED, Status.REMOVING, *ENDS) else story.held_up


ENDS = (Status.FAILED, Status.REMOVED, Status.SKIPPED)


def _queue(story: Story) -> str:
    if story.around.place is not None:
        return f"A place to build in: it is {ordinal(story.around.place)} in the queue."
    return (
        "The deployer has to take it up."
        if _source_kind(story) == "image"
        else "A builder has to be free and take it up."
    )


def _source_kind(story: Story) -> str | None:
    return story.requested.data["source"].get("kind")


def _publish(story: Story) -> str:
    return "The image has to be pulled." if _source_kind(story) == "image" else "The engine has to take the image."


def _pre_deploy(story: Story) -> str:
    return f"Its pre-deploy command has to end; it may take {_setting(story, 'pre_deploy_timeout')} s."


def _start(story: Story) -> str:
    return f"{counted(story.wanted, 'replica').capitalize()} must be started."


def _health(story: Story) -> str:
    path = _setting(story, "healthcheck_path")
    how = f" at {path}" if path else ""
    allowed = float(_setting(story, "healthcheck_timeout") or 0) + float(_setting(story, "start_period") or 0)
    all_of = f"all {story.wanted} replicas" if story.wanted > 1 else "its replica"
    return f"The edge has to find {all_of} well{how}; that may take {allowed:g} s."


def _setting(story: Story, name: str) -> Any:
    settings: Any = story.requested.data["settings"]
    value = settings.get(name)
    return f"{value:g}" if isinstance(value, float) else value


def _always(text: str) -> Callable[[Story], str]:
    return lambda story: text


WAITING: dict[str, Callable[[Story], str]] = {
    QUEUE: _queue,
    Status.WAITING: _always("What it depends on has to be ready."),
    Status.NEEDS_APPROVAL: _always("Somebody has to approve it."),
    StepName.SNAPSHOT_CODE: _always("Its source has to be fetched."),
    StepName.BUILD_IMAGE: _always("Its build has to end; `trackside logs --build -f` follows it."),
    StepName.PUBLISH_IMAGE: _publish,
    StepName.PRE_DEPLOY_COMMAND: _pre_deploy,
    StepName.CREATE_CONTAINER: _start,
    StepName.HEALTHCHECK: _health,
    StepName.CONFIGURE_NETWORK: _always("The edge has to confirm that it sends all new requests to it."),
    StepName.DRAIN_INSTANCES: _always("The version before it has to finish its open requests and stop."),
    LEAVE: _always("Its open requests have to end and its replicas to stop."),
    Status.BUILDING: _always("The builder has to take its next step."),
    Status.DEPLOYING: _always("The deployer has to take its next step."),
}
