"""An event in a sentence, and what it is about. Pure: an event's fields and the names of what they name in, words out."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast
from uuid import UUID

from trackside.kit.words import after_colon, counted, first_upper, phrase
from trackside.rooms.audit.model import About, Fact, Place, Subjects, Told
from trackside.rooms.builds.model import source_text
from trackside.rooms.projects.model import ServiceInstance

Data = Mapping[str, Any]


@dataclass(frozen=True)
class Creation:
    """The event by which something came to be, which holds its name and what it is in."""

    type: str
    data: Data


Known = Mapping[str, Creation]

CREATIONS = ("ProjectCreated", "EnvironmentCreated", "ServiceCreated", "ServiceInstanceCreated", "DeploymentRequested")
IDS = ("project_id", "environment_id", "service_id", "service_instance_id", "deployment_id", "subject_id")
"""Fields that name one of them."""
DELETABLE = {"ProjectCreated": "project_id", "EnvironmentCreated": "environment_id", "ServiceCreated": "service_id"}
"""What can be deleted, by how it came to be, and the field that names it."""
MOST_KEYS = 6
"""Keys of a config's change that a sentence names."""


# --- what it is about ---


def fits(about: About, instance: ServiceInstance) -> bool:
    """Whether a service instance is within what is asked about."""
    return about.environment_id in (None, instance.environment_id) and about.service_id in (None, instance.service_id)


def subjects_of(
    about: About, environments: Sequence[UUID], services: Sequence[UUID], below: Sequence[UUID]
) -> Subjects:
    """What events about a part of a project name. `below`: its service instances and their deployments, as asked for.

    All else of the project belongs where it is not narrowed: a service's own events where no other service is asked about.
    """
    ids = set(below)
    if about.service_id is None:
        ids |= {about.environment_id} if about.environment_id else {*environments, *services, about.project_id}
        return Subjects(frozenset(one for one in ids if one is not None))
    if about.environment_id is None:
        ids.add(about.service_id)
    within = [about.environment_id] if about.environment_id else environments
    return Subjects(frozenset(ids), frozenset(within), frozenset({about.service_id}))


def ids_in(data: Data) -> Iterator[str]:
    """The ids of projects, environments, services, service instances and deployments that an event names."""
    for field in IDS:
        if isinstance(value := data.get(field), str):
            yield value
    yield from _services_in(data)


def _services_in(data: Data) -> list[str]:
    """The services that a commit of a config is about."""
    return list(_object(_object(data.get("patch")).get("services")))


def place_of(data: Data, known: Known) -> Place:
    """Where it happened: what the event names, and what that is in, up to the project."""
    found: dict[str, str] = {field: data[field] for field in IDS if isinstance(data.get(field), str)}
    services = _services_in(data)
    if len(services) == 1:
        found["service_id"] = services[0]
    waiting = list(found.values())
    while waiting:
        creation = known.get(waiting.pop())
        for field in IDS if creation else ():
            value = creation.data.get(field) if creation else None
            if isinstance(value, str) and field not in found:
                found[field] = value
                waiting.append(value)
    if "subject_id" in found:
        found |= _as_its_own(found.pop("subject_id"), known)
    names = {field.removesuffix("_id"): name for field, named in found.items() if (name := _name(named, known))}
    return Place(**{field: value for field, value in {**found, **names}.items() if field in Place.__annotations__})


def _as_its_own(named: str, known: Known) -> dict[str, str]:
    """What is being deleted, under the name of its kind."""
    creation = known.get(named)
    field = DELETABLE.get(creation.type) if creation else None
    return {field: named} if field else {}


def _name(named: str, known: Known) -> str | None:
    return known[named].data.get("name") if named in known else None


# --- in words ---


def tell(fact: Fact, known: Known) -> Told:
    """The event with its sentence. `known`: how what it names came to be."""
    place = place_of(fact.data, known)
    say = SENTENCES.get(fact.type)
    sentence = say(Words(fact.data, place, known)) if say else f"{fact.type}."
    return Told(fact.seq, fact.id, fact.type, fact.at, fact.actor, sentence, place, fact.data)


@dataclass(frozen=True)
class Words:
    """An event's fields, and words for what they name."""

    data: Data
    place: Place
    known: Known

    def __getitem__(self, field: str) -> Any:
        return self.data[field]

    @property
    def service(self) -> str:
        """`web in production of shop`."""
        return f"{self.place.service or 'a service'} in {self.environment}"

    @property
    def environment(self) -> str:
        return f"{self.place.environment or 'an environment'} of {self.place.project or 'a project'}"

    @property
    def deployment(self) -> str:
        """`deployment …d5516993 of web in production of shop`: of an id made from the time the end tells more."""
        return f"deployment {short(self['deployment_id'])} of {self.service}"

    @property
    def replica(self) -> str:
        return f"replica {short(self['replica_id'])} of {self.deployment}"

    @property
    def step(self) -> str:
        return f"“{phrase(self['step'])}”"


def short(named: str) -> str:
    """The end of an id."""
    return f"…{named[-8:]}"


def config_keys(patch: Data, known: Known) -> list[str]:
    """What a patch changes, without any value: `web: variables.A`, `web: deploy.numReplicas`."""
    found = [part for part in patch if part != "services"]
    for service_id, settings in _object(patch.get("services")).items():
        name = _name(service_id, known) or short(service_id)
        found += [f"{name}: {key}" for key in _keys(_object(settings))] or [f"{name}: everything removed"]
    return found


def _object(value: object) -> Data:
    """The value as an object; an empty one where it is none."""
    return cast(Data, value) if isinstance(value, Mapping) else {}


def _keys(settings: Data) -> list[str]:
    """Dotted keys, two levels deep; of a source, only that it is one."""
    found: list[str] = []
    for key, value in settings.items():
        below = _object(None if key == "source" else value)
        found += [_key(f"{key}.{name}", inner) for name, inner in below.items()] or [_key(key, value)]
    return found


def _key(key: str, value: object) -> str:
    return f"{key} removed" if value is None else key


def _committed(words: Words) -> str:
    keys = config_keys(words["patch"], words.known)
    more = f" and {len(keys) - MOST_KEYS} more" if len(keys) > MOST_KEYS else ""
    told = f"{', '.join(keys[:MOST_KEYS])}{more}" if keys else "nothing"
    return f"The config of {words.environment} became version {words['config_version']}: {told}."


def _requested(words: Words) -> str:
    return (
        f"{first_upper(words['trigger'])} of {words.service} from {source_text(words['source'])}: "
        f"deployment {words['deployment_id']}."
    )


def _step_ended(words: Words) -> str:
    if words["is_skipped"]:
        return f"{words.step} was skipped in {words.deployment}."
    if words["error"]:
        return f"{words.step} failed in {words.deployment}{after_colon(words['error'])}"
    return f"{words.step} is done in {words.deployment}."


def _resolved(words: Words) -> str:
    commit = words["commit"]
    if not commit:
        return f"The source of {words.deployment} was fetched."
    message = (
        f" “{str(commit.get('message') or '').strip().partition(chr(10))[0][:60]}”" if commit.get("message") else ""
    )
    return f"The source of {words.deployment} is commit {str(commit.get('sha'))[:7]}{message}."


def _routed(words: Words) -> str:
    if words["page"]:
        return f"Visitors of {words.service} get the page “{words['page']}” from now on."
    return f"Requests go to {words.deployment} from now on."


def _upload_size(words: Words) -> str:
    return f"{words['size_bytes'] / 1_000_000:.1f} MB"


def _replica_changed(words: Words) -> str:
    return f"{first_upper(words.replica)} is {words['status']}{after_colon(words['detail'])}"


def _removed(words: Words) -> str:
    return f"{first_upper(words.deployment)} is gone{after_colon(words['reason'] or '')}"


def _deleted(words: Words, end: str) -> str:
    name = _name(words["subject_id"], words.known)
    return f"The {words['kind']} {name or short(words['subject_id'])} {end}."


SENTENCES: dict[str, Callable[[Words], str]] = {
    "ProjectCreated": lambda w: f"The project {w['name']} was created.",
    "EnvironmentCreated": lambda w: f"The environment {w['name']} of {w.place.project or 'a project'} was created.",
    "ServiceCreated": lambda w: f"The service {w['name']} of {w.place.project or 'a project'} was created.",
    "ServiceInstanceCreated": lambda w: f"{w.service} can be deployed.",
    "DeletionRequested": lambda w: _deleted(w, "is to be deleted, with all it holds"),
    "DeletionFinished": lambda w: _deleted(w, "is deleted"),
    "EnvironmentConfigCommitted": _committed,
    "UploadReceived": lambda w: f"An archive of {_upload_size(w)} was uploaded for {w.service}.",
    "UploadDropped": lambda w: f"An archive uploaded for {w.service} was removed: nobody needs it any longer.",
    "UploadsForgotten": lambda w: f"The archives uploaded for {w.service} were removed.",
    "SubnetAssigned": lambda w: f"The environment {w.environment} has private network number {w['number']}.",
    "SubnetReleased": lambda w: f"The environment {w.environment} gave its private network back.",
    "HostAssigned": lambda w: f"{w.service} has the host name {w['host']}.",
    "HostsReleased": lambda w: f"{w.service} gave its host names back.",
    "BackendPut": lambda w: f"The edge is to know {counted(len(w['servers']), 'replica')} of {w.deployment}.",
    "BackendRemoved": lambda w: f"The edge is to forget {w.deployment}.",
    "RouteChanged": _routed,
    "RouteRemoved": lambda w: f"The edge is to forget {w.service}.",
    "DeploymentRequested": _requested,
    "DeploymentProgressed": lambda w: f"{first_upper(w.deployment)} is {w['status']}.",
    "StepStarted": lambda w: f"{w.step} began in {w.deployment}.",
    "StepEnded": _step_ended,
    "SourceResolved": _resolved,
    "ImageReady": lambda w: f"The image of {w.deployment} is there.",
    "PortFound": lambda w: f"{first_upper(w.deployment)} listens on port {w['port']}.",
    "DeploymentSucceeded": lambda w: f"{first_upper(w.deployment)} serves: SUCCESS.",
    "DeploymentFailed": lambda w: f"{first_upper(w.deployment)} failed{after_colon(w['reason'])}",
    "DeploymentHeldUp": lambda w: f"{first_upper(w.deployment)} waits{after_colon(w['reason'])}",
    "DeploymentResumed": lambda w: f"{first_upper(w.deployment)} goes on: what it waited for is there.",
    "DeploymentCrashed": lambda w: f"{first_upper(w.deployment)} crashed{after_colon(w['reason'])}",
    "DeploymentRecovered": lambda w: f"{first_upper(w.deployment)} serves again.",
    "DeploymentRemoving": lambda w: f"{first_upper(w.deployment)} leaves{after_colon(w['reason'])}",
    "DeploymentRemoved": _removed,
    "ReplicasWanted": lambda w: f"{first_upper(w.deployment)} is to have {counted(w['replicas'], 'replica')}.",
    "ReplicaPlanned": lambda w: f"{first_upper(w.replica)} is to run at {w['address']}.",
    "ReplicaChanged": _replica_changed,
    "ReplicaRestarted": lambda w: f"{first_upper(w.replica)} was restarted{after_colon(w['reason'])}",
    "ReplicaLeaving": lambda w: f"{first_upper(w.replica)} is scaled away.",
    "ReplicaTerminating": lambda w: f"{first_upper(w.replica)} was asked to stop.",
    "ReplicaRemoved": lambda w: f"{first_upper(w.replica)} is gone.",
    "InstanceForgotten": lambda w: f"The deployments of {w.service} were forgotten.",
}
"""Every event of the workspace's stream in words; a test keeps it complete."""
