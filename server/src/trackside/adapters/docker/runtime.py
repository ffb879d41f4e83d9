"""The runtime on Docker Engine: does what `manifests` says and turns the engine's errors into ours.

Every verb can be repeated, run beside itself, and find what a killed process left: a container created but not started,
a network made by someone else a moment ago.
"""

import asyncio
import json
import time
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any, cast
from uuid import UUID

import aiohttp
from aiodocker.containers import DockerContainer
from aiodocker.exceptions import DockerError

from trackside.adapters.docker import failures, manifests
from trackside.adapters.docker.connection import ANSWER_SECONDS, CONNECT_SECONDS, LazyEngine
from trackside.adapters.docker.frames import LogDecoder, LogLine
from trackside.adapters.docker.manifests import DockerOptions
from trackside.rooms.deployments.errors import RuntimeRefused, RuntimeUnavailable
from trackside.rooms.deployments.model import Network, SeenReplica, Workload

INSPECTIONS_AT_ONCE = 16
STARTS_AT_ONCE = 4
"""More take the engine longer in all, and the apps that have just been started wait for a processor."""
PAUSES = (0.02, 0.05, 0.1, 0.2, 0.4, 0.8, None)
"""Between tries where the engine has given a name or subnet away but does not show yet to whom: seconds, None = give up."""
STALL_LOOK_SECONDS = 1.0
STALL_LONGEST_LOOK_SECONDS = 8.0
STALL_MARGIN_SECONDS = 0.2
ENDLESS = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS)


class DockerRuntime:
    """Port `Runtime` on the engine at `engine_url` (`unix:///path` or `tcp://host:port`); `close` when done.

    A volume that an image asks for goes with its container (`v`), always: it carries no label of ours, so one that was
    left could not be told from other people's.
    """

    def __init__(self, engine_url: str, installation: str, options: DockerOptions | None = None) -> None:
        self._engine = LazyEngine(engine_url)
        self._installation = installation
        self._options = options or DockerOptions()
        self._cores: int | None = None
        self._inspections = asyncio.Semaphore(INSPECTIONS_AT_ONCE)
        self._starts = asyncio.Semaphore(STARTS_AT_ONCE)

    async def close(self) -> None:
        await self._engine.close()

    # --- networks ---

    async def ensure_network(self, network: Network) -> None:
        async with failures.translated():
            for pause in PAUSES:
                if await self._has_network(network):
                    return
                try:
                    body = manifests.network_body(network, self._installation, self._options)
                    await self._engine.client.networks.create(body)
                except DockerError as error:
                    if pause is None:
                        raise failures.network_failure(error, network) from error
                    await asyncio.sleep(pause)
                else:
                    return

    async def _has_network(self, network: Network) -> bool:
        """Whether it stands on its subnet; one of ours on another subnet is removed if nothing is on it."""
        for inspection in await self._list_networks(environment=network.environment_id):
            found = manifests.seen_network(inspection)
            if found == network:
                return True
            if await self._containers(environment=network.environment_id):
                raise RuntimeRefused(
                    f"Containers are still on the network of environment {network.environment_id}, which is on "
                    f"{found.subnet if found else 'no subnet'} where {network.subnet} is planned.",
                    hint="Take the environment's services down, then deploy them again.",
                )
            await self._delete_network(str(inspection["Id"]))
        return False

    async def remove_network(self, environment_id: UUID) -> None:
        async with failures.translated():
            inspections = await self._list_networks(environment=environment_id)
            if inspections and await self._containers(environment=environment_id):
                raise RuntimeUnavailable(f"Containers are still on the network of environment {environment_id}.")
            for inspection in inspections:
                await self._delete_network(str(inspection["Id"]))

    async def _delete_network(self, network: str) -> None:
        try:
            await (await self._engine.client.networks.get(network)).delete()
        except DockerError as error:
            if error.status != failures.MISSING:
                raise

    async def networks(self) -> Sequence[Network]:
        async with failures.translated():
            seen = (manifests.seen_network(inspection) for inspection in await self._list_networks())
            return [network for network in seen if network]

    async def _list_networks(self, **labels: UUID) -> list[dict[str, Any]]:
        wanted = manifests.label_filter(self._installation, **labels)
        async with asyncio.timeout(ANSWER_SECONDS):
            return await self._engine.client.networks.list(filters=wanted)

    # --- containers ---

    async def start(self, workload: Workload) -> None:
        async with self._starts, failures.translated():
            container = await self._unstarted(workload)
            if container is None:
                return
            try:
                await container.start()
            except DockerError as error:
                if failures.is_left_task(error):
                    await container.delete(force=True, v=True)
                    container = await self._create(workload) or container
                elif failures.is_missing_network(error):
                    await self.ensure_network(workload.network)
                else:
                    raise failures.start_failure(error) from error
                await self._start_again(container)

    async def _unstarted(self, workload: Workload) -> DockerContainer | None:
        """The replica's container if it must be started, new or made earlier; None where it has been started."""
        for pause in PAUSES:
            if container := await self._create(workload):
                return container
            if inspection := await self._inspect(workload.replica_id):
                is_unstarted = inspection["State"]["Status"] == "created"
                return self._engine.client.containers.container(str(inspection["Id"])) if is_unstarted else None
            await self._refuse_foreign(workload.replica_id)
            if pause is not None:
                await asyncio.sleep(pause)
        raise RuntimeUnavailable(f"Another container of replica {workload.replica_id} is being made or removed.")

    async def _start_again(self, container: DockerContainer) -> None:
        try:
            await container.start()
        except DockerError as error:
            raise failures.start_failure(error) from error

    async def _create(self, workload: Workload) -> DockerContainer | None:
        """The new container; None where its name is taken, by itself most likely."""
        body = manifests.container_body(workload, self._installation, self._options, await self._machine_cores())
        name = manifests.container_name(self._installation, workload.replica_id)
        try:
            return await self._engine.client.containers.create(body, name=name)
        except DockerError as error:
            if error.status == failures.CONFLICT:
                return None
            if failures.is_damaged(error):  # as long as the engine has it, nobody gives it another one
                with suppress(DockerError):
                    await self._engine.client.images.delete(workload.image_id, force=True)
            raise failures.create_failure(error, workload.image_id) from error

    async def _refuse_foreign(self, replica_id: UUID) -> None:
        name = manifests.container_name(self._installation, replica_id)
        inspection = await self._show(self._engine.client.containers.container(name))
        if inspection and not self._is_of(inspection, replica_id):
            raise RuntimeRefused(
                f"A container that is not ours has the name {name}.", hint=f"Rename it: `docker rename {name} other`."
            )

    async def restart(self, replica_id: UUID, grace_seconds: float) -> None:
        async with failures.translated():
            container = await self._known(replica_id)
            grace = manifests.whole_seconds(grace_seconds)
            limit = aiohttp.ClientTimeout(total=grace + 60, sock_connect=CONNECT_SECONDS)
            try:
                await container.restart(t=grace, timeout=limit)
            except DockerError as error:
                if failures.is_left_task(error):
                    await container.delete(force=True, v=True)  # the next pass finds none, and makes one
                raise failures.start_failure(error) from error

    async def _known(self, replica_id: UUID) -> DockerContainer:
        inspection = await self._inspect(replica_id)
        if inspection is None:
            raise RuntimeRefused(f"There is no container for replica {replica_id}.")
        return self._engine.client.containers.container(str(inspection["Id"]))

    async def terminate(self, replica_id: UUID) -> None:
        await self._signal(replica_id, "")

    async def kill(self, replica_id: UUID) -> None:
        await self._signal(replica_id, "SIGKILL")

    async def _signal(self, replica_id: UUID, signal: str) -> None:
        """Send a signal ("" = the image's stop signal) to what runs.

        The restart policy goes first: `on-failure` would bring it back when the engine itself is restarted.
        """
        async with failures.translated():
            inspection = await self._inspect(replica_id)
            if inspection is None or not inspection["State"]["Running"]:
                return
            container = self._engine.client.containers.container(str(inspection["Id"]))
            try:
                await self._call("POST", f"containers/{container.id}/update", {"RestartPolicy": manifests.NO_RESTART})
                await container.kill(signal=signal or inspection["Config"].get("StopSignal") or "SIGTERM")
            except DockerError as error:
                if error.status not in (failures.MISSING, failures.CONFLICT):  # it ended in between
                    raise

    async def remove(self, replica_id: UUID) -> None:
        async with failures.translated():
            inspection = await self._inspect(replica_id)
            if inspection is None:
                return
            container = self._engine.client.containers.container(str(inspection["Id"]))
            try:
                await container.delete(force=True, v=True)
            except DockerError as error:
                if error.status == failures.MISSING:
                    return
                if error.status != failures.CONFLICT:
                    raise
                await self._until_removed(replica_id)

    async def _until_removed(self, replica_id: UUID) -> None:
        """Another removal is under way: wait for its end."""
        try:
            async with asyncio.timeout(10):
                while await self._inspect(replica_id):
                    await asyncio.sleep(0.05)
        except TimeoutError as error:
            raise RuntimeUnavailable(f"The removal of replica {replica_id} takes long.") from error

    # --- seeing ---

    async def observe(self, service_instance_id: UUID) -> Sequence[SeenReplica]:
        async with failures.translated():
            return await self._look_at(await self._containers(service_instance=service_instance_id))

    async def observe_all(self) -> Sequence[SeenReplica]:
        async with failures.translated():
            containers = await self._containers()
            running = (manifests.listed_replica(c["Labels"], c["NetworkSettings"]) for c in containers if is_running(c))
            others = await self._look_at([container for container in containers if not is_running(container)])
            return [*(replica for replica in running if replica), *others]

    async def _look_at(self, containers: Sequence[DockerContainer]) -> list[SeenReplica]:
        seen = await asyncio.gather(*(self._look(container) for container in containers))
        return [replica for replica in seen if replica]

    async def _look(self, container: DockerContainer) -> SeenReplica | None:
        inspection = await self._show(container)
        if inspection is None:
            return None
        process = int(inspection["State"].get("Pid") or 0)
        tables = await asyncio.to_thread(read_tables, process) if process else ""
        return manifests.seen_replica(inspection, manifests.listening_ports(tables), self._options.downtime)

    async def _containers(self, **labels: UUID) -> list[DockerContainer]:
        filters = json.dumps(manifests.label_filter(self._installation, **labels))
        async with asyncio.timeout(ANSWER_SECONDS):
            return await self._engine.client.containers.list(all=True, filters=filters)

    async def _inspect(self, replica_id: UUID) -> dict[str, Any] | None:
        """The container of this replica, if it carries our labels."""
        name = manifests.container_name(self._installation, replica_id)
        inspection = await self._show(self._engine.client.containers.container(name))
        return inspection if inspection and self._is_of(inspection, replica_id) else None

    def _is_of(self, inspection: Mapping[str, Any], replica_id: UUID) -> bool:
        labels: Mapping[str, str] = inspection["Config"]["Labels"] or {}
        is_ours = labels.get(f"{manifests.LABEL}installation") == self._installation
        return is_ours and manifests.label_id(labels, "replica") == replica_id

    async def _show(self, container: DockerContainer) -> dict[str, Any] | None:
        async with self._inspections, asyncio.timeout(ANSWER_SECONDS):
            try:
                return await container.show()
            except DockerError as error:
                if error.status == failures.MISSING:
                    return None
                raise

    async def _machine_cores(self) -> int:
        if self._cores is None:
            async with asyncio.timeout(ANSWER_SECONDS):
                information = cast(dict[str, Any], await self._engine.client.system.info())
            self._cores = int(information["NCPU"])
        return self._cores

    # --- streams ---

    async def watch(self) -> AsyncIterator[tuple[UUID, UUID]]:
        events = {"type": ["container"], "event": ["start", "die", "kill"]}
        filters = manifests.label_filter(self._installation) | events
        async with failures.translated(), self._stream("events", {"filters": json.dumps(filters)}) as response:
            rest = b""
            try:
                async for data in response.content.iter_any():
                    *lines, rest = (rest + data).split(b"\n")
                    for ids in (manifests.event_ids(json.loads(line)) for line in lines if line.strip()):
                        if ids:
                            yield ids
            except aiohttp.ClientError:
                return  # the engine went away

    async def logs(self, replica_id: UUID, since: datetime | None, *, follow: bool) -> AsyncIterator[LogLine]:
        async with failures.translated():
            inspection = await self._inspect(replica_id)
            if inspection is None:
                return
            parameters = {"stdout": "1", "stderr": "1", "timestamps": "1", "follow": "1" if follow else "0"}
            if since:
                parameters["since"] = manifests.after(since)
            decoder = LogDecoder(is_terminal=bool(inspection["Config"].get("Tty")))
            async with self._stream(f"containers/{inspection['Id']}/logs", parameters) as response:
                async for data in unless_stalled(response, str(inspection.get("LogPath") or "")):
                    for line in decoder.feed(data):
                        yield line
            if follow or not inspection["State"]["Running"]:
                for line in decoder.finish():
                    yield line

    @asynccontextmanager
    async def _stream(self, path: str, parameters: Mapping[str, str]) -> AsyncGenerator[aiohttp.ClientResponse]:
        async with self._request("GET", path, params=parameters, timeout=ENDLESS) as response:
            yield response

    async def _call(self, method: str, path: str, body: manifests.Json) -> None:
        async with self._request(method, path, json=body):
            pass

    @asynccontextmanager
    async def _request(self, method: str, path: str, **arguments: Any) -> AsyncGenerator[aiohttp.ClientResponse]:
        """A request that aiodocker has no verb for, or for which it loses what we need (the streams' names)."""
        client = self._engine.client
        async with client.session.request(method, f"{client.docker_host}/{path}", **arguments) as response:
            if response.status >= 400:
                text = await response.text()
                raise DockerError(response.status, failures.message(text))
            yield response


def is_running(listed: DockerContainer) -> bool:
    return listed["State"] == "running"


async def unless_stalled(response: aiohttp.ClientResponse, log_path: str) -> AsyncIterator[bytes]:
    """The answer's bytes as they come. Raises `RuntimeUnavailable` where the engine has stopped sending what is logged:
    following a log that is written faster than it is read, Docker 20.10 loses its way when the file is rotated.
    """
    arrived, owed, patience = time.time(), False, STALL_LOOK_SECONDS
    while True:
        try:
            async with asyncio.timeout(patience):
                data = await response.content.readany()
        except TimeoutError:
            if owed:
                raise RuntimeUnavailable("The container engine has lost its way in a log that it follows.") from None
            owed = written_at(log_path) > arrived + STALL_MARGIN_SECONDS
            patience = STALL_LOOK_SECONDS if owed else min(patience * 2, STALL_LONGEST_LOOK_SECONDS)
            continue
        if not data:
            return
        arrived, owed, patience = time.time(), False, STALL_LOOK_SECONDS
        yield data


def written_at(path: str) -> float:
    """When a file was last written; 0 where it can't be seen from here."""
    try:
        return Path(path).stat().st_mtime
    except OSError:
        return 0.0


def read_tables(process: int) -> str:
    """The TCP sockets of a process's network namespace; nothing once the process is gone."""
    texts: list[str] = []
    for name in ("tcp", "tcp6"):
        try:
            texts.append(Path(f"/proc/{process}/net/{name}").read_text())
        except OSError:
            continue
    return "\n".join(texts)
