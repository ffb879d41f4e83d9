"""A pure stand-in for records, engine and edge: applies a plan's actions to a snapshot and lets simulated time pass.

With it the plan is run from any state until it rests, in microseconds.
"""

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from uuid import UUID

from trackside.adapters.memory.runtime import listed
from trackside.rooms.deployments import model as m
from trackside.rooms.deployments.model import planning
from trackside.rooms.deployments.plan import is_at_rest, plan
from trackside.rooms.networking.model import Backend, BackendReport, Health, Page, Probe, ProbeKind, Protocol

START = datetime(2026, 1, 1, tzinfo=UTC)
INSTANCE = UUID(int=1)
TICK = timedelta(milliseconds=100)


@dataclass
class App:
    """How a version behaves: when it listens and is healthy, whether and how it exits. At `first_port` it listens at once."""

    port: int | None = 8080
    first_port: int | None = None
    healthy_after: float = 0.2
    exits_after: float | None = None
    exit_code: int = 1
    term_seconds: float = 0.1
    pre_deploy_code: int | None = None


@dataclass
class World:
    """One service instance. `apps` by deployment."""

    deployments: dict[UUID, m.Deployment] = field(default_factory=dict)
    replicas: dict[UUID, m.Replica] = field(default_factory=dict)
    seen: dict[UUID, m.SeenReplica] = field(default_factory=dict)
    backends: dict[UUID, Backend] = field(default_factory=dict)
    reports: dict[UUID, tuple[BackendReport, datetime]] = field(default_factory=dict)
    apps: dict[UUID, App] = field(default_factory=dict)
    open_requests: dict[UUID, int] = field(default_factory=dict)
    terminated: dict[UUID, datetime] = field(default_factory=dict)
    well_at: dict[UUID, datetime] = field(default_factory=dict)
    routed: UUID | None = None
    page: Page | None = None
    confirmed: UUID | Page | None = None
    confirmed_at: datetime = START
    now: datetime = START
    history: list[planning.Action] = field(default_factory=list)
    next_id: int = 1000

    # --- building a situation ---

    def add(self, status: m.Status, app: App | None = None, replicas: int = 1, **settings: object) -> UUID:
        """A deployment with an image; older ones are added first."""
        identity = self._id()
        created = START - timedelta(hours=1) + timedelta(seconds=len(self.deployments))
        app = app or App()
        self.apps[identity] = app
        self.deployments[identity] = m.Deployment(
            id=identity,
            service_instance_id=INSTANCE,
            status=status,
            reason=None,
            hint=None,
            code=None,
            trigger=m.Trigger.DEPLOY,
            source={},
            commit=None,
            config_version=1,
            settings=m.Settings(**settings),  # pyright: ignore[reportArgumentType]
            build={},
            variables={},
            image=m.ImageFacts("sha256:x", expects_port=app.port is not None),
            port=None,
            wanted_replicas=replicas,
            rollback_of=None,
            steps=(),
            created_at=created,
            updated_at=created,
            removing_at=None,
            ended_at=None,
            version=1,
        )
        return identity

    def snapshot(self) -> planning.Snapshot:
        views = [self.view(d) for d in sorted(self.deployments.values(), key=lambda d: d.created_at, reverse=True)]
        shown = [v for v in views if v.deployment.status not in m.ENDED or v.replicas or v.backend]
        wanted = self.routed or self.page
        strays = tuple(sorted(self.seen.keys() - self.replicas.keys()))
        confirmed_at = self.confirmed_at if self.confirmed == wanted else None
        return planning.Snapshot(self.now, tuple(shown), self.routed, self.page, confirmed_at, strays)

    def view(self, deployment: m.Deployment) -> planning.DeploymentView:
        report, at = self.reports.get(deployment.id, (None, None))
        mine = [r for r in self.replicas.values() if r.deployment_id == deployment.id]
        return planning.DeploymentView(
            deployment,
            tuple(
                planning.ReplicaView(
                    r,
                    self.seen.get(r.id),
                    report.health.get(r.id) if report else None,
                    report.open_by_replica.get(r.id, 0) if report else 0,
                )
                for r in mine
            ),
            self.backends.get(deployment.id),
            report,
            at,
        )

    # --- running ---

    def decide(self) -> planning.Plan:
        """The plan; a look at a mere listing of the engine must never rest where this one does not."""
        snapshot = self.snapshot()
        decided = plan(snapshot)
        views = [
            replace(view, replicas=tuple(replace(r, seen=r.seen and listed(r.seen)) for r in view.replicas))
            for view in snapshot.deployments
        ]
        from_listing = plan(replace(snapshot, deployments=tuple(views)))
        assert is_at_rest(decided) or not is_at_rest(from_listing), (decided, from_listing)
        return decided

    def settle(self, seconds: float = 60) -> planning.Plan:
        """Plan and act until the plan rests; the resting plan. An AssertionError where it never does."""
        until = self.now + timedelta(seconds=seconds)
        while self.now < until:
            decided = self.decide()
            for action in decided.actions:
                self.apply(action)
            self.pass_time()
            if not decided.actions and (decided.look_again is None or decided.look_again >= 1):
                return decided
        raise AssertionError(f"never at rest; last actions: {self.history[-5:]}")

    def step(self) -> planning.Plan:
        """One pass, and one tick of time."""
        decided = self.decide()
        for action in decided.actions:
            self.apply(action)
        self.pass_time()
        return decided

    def pass_time(self) -> None:
        self.now += TICK
        for identity, seen in list(self.seen.items()):
            self.seen[identity] = self._live(identity, seen)
        for deployment_id, backend in self.backends.items():
            self._report(deployment_id, backend)
        if self.confirmed != (self.routed or self.page):
            self.confirmed, self.confirmed_at = self.routed or self.page, self.now

    def _live(self, identity: UUID, seen: m.SeenReplica) -> m.SeenReplica:
        app = self.apps[seen.deployment_id]
        if seen.state is m.SeenState.RESTARTING:
            return replace(seen, state=m.SeenState.RUNNING, started_at=self.now, restarts=seen.restarts + 1)
        if seen.state is not m.SeenState.RUNNING or seen.started_at is None:
            return seen
        ran = (self.now - seen.started_at).total_seconds()
        stopped = self.terminated.get(identity)
        if stopped and (self.now - stopped).total_seconds() >= app.term_seconds:
            return replace(seen, state=m.SeenState.EXITED, exit_code=143, listening=())
        if seen.role is m.Role.PRE_DEPLOY:
            return replace(seen, state=m.SeenState.EXITED, exit_code=app.pre_deploy_code or 0)
        if app.exits_after is not None and ran >= app.exits_after:
            return self._exit(seen, app)
        listens = app.port is not None and ran >= app.healthy_after
        ports = {app.first_port, app.port if listens else None} - {None}
        return replace(seen, listening=tuple(sorted(port for port in ports if port)))

    def _exit(self, seen: m.SeenReplica, app: App) -> m.SeenReplica:
        settings = self.deployments[seen.deployment_id].settings
        again = settings.restart_policy == "ALWAYS" or (
            settings.restart_policy == "ON_FAILURE" and app.exit_code != 0 and seen.restarts < settings.max_restarts
        )
        if again:
            return replace(seen, started_at=self.now, exit_code=app.exit_code, restarts=seen.restarts + 1, listening=())
        return replace(seen, state=m.SeenState.EXITED, exit_code=app.exit_code, ended_at=self.now, listening=())

    def _report(self, deployment_id: UUID, backend: Backend) -> None:
        health = {s.replica_id: self._probe(s.replica_id) for s in backend.servers}
        count = self.open_requests.get(deployment_id, 0)
        report = BackendReport(backend.slot, deployment_id, backend.revision, health, count)
        self.reports[deployment_id] = (report, self.now)

    def _probe(self, replica_id: UUID) -> Health:
        is_well = bool(self._listening(replica_id))
        if is_well:
            self.well_at[replica_id] = self.now
        return Health(is_well, f"probed at {self.now}", self.now, None if is_well else self.well_at.get(replica_id))

    def _listening(self, replica_id: UUID) -> tuple[int, ...]:
        seen = self.seen.get(replica_id)
        return seen.listening if seen and seen.state is m.SeenState.RUNNING else ()

    # --- actions ---

    def apply(self, action: planning.Action) -> None:
        self.history.append(action)
        name = "".join(f"_{c.lower()}" if c.isupper() else c for c in type(action).__name__)
        getattr(self, f"do{name}")(action)

    def do_remove_stray(self, action: planning.RemoveStray) -> None:
        self.seen.pop(action.replica_id)

    def do_add_replicas(self, action: planning.AddReplicas) -> None:
        for ordinal in action.ordinals:
            identity = self._id()
            address = IPv4Address(int(IPv4Address("10.0.0.0")) + self.next_id)
            self.replicas[identity] = m.Replica(
                identity, action.deployment_id, action.role, ordinal, address, m.ReplicaStatus.CREATED,
                "", None, None, 0, None, self.now,
            )  # fmt: skip

    def do_start_replica(self, action: planning.StartReplica) -> None:
        replica = self.replicas[action.replica_id]
        self.seen[replica.id] = m.SeenReplica(
            replica.id, replica.deployment_id, INSTANCE, INSTANCE, replica.role, m.SeenState.RUNNING,
            replica.address, None, False, 0, self.now,
        )  # fmt: skip

    def do_restart_replica(self, action: planning.RestartReplica) -> None:
        replica = self.replicas[action.replica_id]
        self.replicas[replica.id] = replace(replica, restarts=replica.restarts + 1, restarted_at=self.now)
        seen = self.seen[replica.id]
        running = replace(seen, state=m.SeenState.RUNNING, restarts=0, ended_at=None, is_cut_off=False)
        self.seen[replica.id] = replace(running, started_at=self.now, listening=())

    def do_leave_replica(self, action: planning.LeaveReplica) -> None:
        replica = self.replicas[action.replica_id]
        self.replicas[replica.id] = replace(replica, leaving_at=self.now)
        backend = self.backends.get(action.deployment_id)
        if backend:
            servers = tuple(replace(s, is_leaving=s.is_leaving or s.replica_id == replica.id) for s in backend.servers)
            self.backends[action.deployment_id] = replace(backend, servers=servers, revision=self._number())

    def do_terminate_replica(self, action: planning.TerminateReplica) -> None:
        self.terminated.setdefault(action.replica_id, self.now)
        replica = self.replicas[action.replica_id]
        self.replicas[replica.id] = replace(replica, terminating_at=self.now)

    def do_remove_replica(self, action: planning.RemoveReplica) -> None:
        self.seen.pop(action.replica_id, None)
        self.replicas.pop(action.replica_id)

    def do_note_replica(self, action: planning.NoteReplica) -> None:
        replica = self.replicas[action.replica_id]
        self.replicas[replica.id] = replace(replica, status=action.status, detail=action.detail)

    def do_begin_step(self, action: planning.BeginStep) -> None:
        self._set_step(action.deployment_id, m.Step(action.step, self.now))

    def do_end_step(self, action: planning.EndStep) -> None:
        begun = self.deployments[action.deployment_id].step(action.step)
        started = begun.started_at if begun else self.now
        self._set_step(action.deployment_id, m.Step(action.step, started, self.now, action.error, action.is_skipped))

    def _set_step(self, deployment_id: UUID, step: m.Step) -> None:
        deployment = self.deployments[deployment_id]
        others = tuple(s for s in deployment.steps if s.name != step.name)
        self.deployments[deployment_id] = replace(deployment, steps=(*others, step))

    def do_find_port(self, action: planning.FindPort) -> None:
        self._change(action.deployment_id, port=action.port)

    def do_put_backend(self, action: planning.PutBackend) -> None:
        before = self.backends.get(action.deployment_id)
        slot = before.slot if before else self._number()
        probe = Probe(ProbeKind.TCP)
        self.backends[action.deployment_id] = Backend(
            slot, INSTANCE, action.deployment_id, action.servers, probe, Protocol.HTTP1, self._number()
        )

    def do_remove_backend(self, action: planning.RemoveBackend) -> None:
        self.backends.pop(action.deployment_id)
        self.reports.pop(action.deployment_id, None)

    def do_swap(self, action: planning.Swap) -> None:
        assert action.deployment_id in self.backends
        self.routed, self.page, self.confirmed = action.deployment_id, None, None

    def do_show_page(self, action: planning.ShowPage) -> None:
        self.routed, self.page, self.confirmed = None, action.page, None

    def do_begin_removal(self, action: planning.BeginRemoval) -> None:
        self._move(action.deployment_id, m.Status.REMOVING, removing_at=self.now)

    def do_end_removal(self, action: planning.EndRemoval) -> None:
        self._move(action.deployment_id, m.Status.REMOVED, ended_at=self.now)

    def do_succeed(self, action: planning.Succeed) -> None:
        self._move(action.deployment_id, m.Status.SUCCESS)

    def do_recover(self, action: planning.Recover) -> None:
        self._move(action.deployment_id, m.Status.SUCCESS)

    def do_fail(self, action: planning.Fail) -> None:
        self._move(action.deployment_id, m.Status.FAILED, reason=action.reason, hint=action.hint, ended_at=self.now)

    def do_crash(self, action: planning.Crash) -> None:
        self._move(action.deployment_id, m.Status.CRASHED, reason=action.reason)

    def _move(self, deployment_id: UUID, status: m.Status, **values: object) -> None:
        before = self.deployments[deployment_id].status
        assert status == before or status in m.TRANSITIONS[before], f"{before} → {status}"
        self._change(deployment_id, status=status, **values)

    def _change(self, deployment_id: UUID, **values: object) -> None:
        self.deployments[deployment_id] = replace(self.deployments[deployment_id], **values)  # pyright: ignore[reportArgumentType]

    def _number(self) -> int:
        self.next_id += 1
        return self.next_id

    def _id(self) -> UUID:
        return UUID(int=self._number())


def served(world: World, **settings: object) -> UUID:
    """A deployment that serves, alone."""
    identity = world.add(m.Status.DEPLOYING, **settings)  # pyright: ignore[reportArgumentType]
    world.settle()
    assert world.deployments[identity].status is m.Status.SUCCESS
    return identity


def crash(world: World, identity: UUID) -> None:
    """Let the app crash until its restart policy is spent."""
    world.apps[identity].exits_after = 0.0
    for _ in range(100):
        world.step()


def kinds(world: World) -> list[str]:
    return [type(action).__name__ for action in world.history]


def assert_alone(world: World, identity: UUID) -> None:
    """`identity` serves with the wanted replicas, and nothing else is left."""
    assert world.deployments[identity].status is m.Status.SUCCESS
    assert world.routed == identity
    assert set(world.backends) == {identity}
    assert {r.deployment_id for r in world.replicas.values()} == {identity}
    assert len(world.replicas) == world.deployments[identity].wanted_replicas
    assert world.seen.keys() == world.replicas.keys()


def run(world: World, seconds: float) -> None:
    end = world.now + timedelta(seconds=seconds)
    while world.now < end:
        world.step()
