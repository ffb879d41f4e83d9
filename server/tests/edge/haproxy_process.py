"""A HAProxy of a test's own: launched exactly as in production, in a directory and on a port of its own."""

import asyncio
import json
import os
import shutil
import signal
import socket
import sys
from contextlib import suppress
from pathlib import Path

from trackside.adapters.proxy.haproxy import HAProxy
from trackside.adapters.proxy.options import HAProxyOptions, Limits
from trackside.rooms.networking.errors import ProxyUnavailable

LAUNCH = """
import json, sys
from pathlib import Path
from trackside.adapters.proxy.launch import launch
from trackside.adapters.proxy.options import HAProxyOptions, Limits
given = json.loads(sys.argv[1])
limits = Limits(**given.pop("limits"))
directory, run_directory = Path(given.pop("directory")), Path(given.pop("run_directory"))
launch(HAProxyOptions(directory, run_directory, limits=limits, **given))
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class HAProxyProcess:
    """Starts, kills and stops one HAProxy."""

    def __init__(
        self, directory: Path, *, slots: int = 20, limits: Limits | None = None, user: str = "haproxy"
    ) -> None:
        self.limits = limits or Limits()
        self.options = HAProxyOptions(
            directory / "haproxy",
            directory / "run",
            host="127.0.0.1",
            port=free_port(),
            slots=slots,
            user=user,
            limits=self.limits,
        )
        self.process: asyncio.subprocess.Process | None = None

    @property
    def port(self) -> int:
        return self.options.port

    def proxy(self) -> HAProxy:
        return HAProxy(self.options)

    async def start(self, *, is_boot: bool = False) -> None:
        """`is_boot`: for the first time since the machine began to run; else as one that clients could reach before."""
        if not is_boot:
            self.options.run_directory.mkdir(parents=True, exist_ok=True)
            self.options.opened.touch()
        given = {
            "directory": str(self.options.directory),
            "run_directory": str(self.options.run_directory),
            "host": self.options.host,
            "port": self.options.port,
            "slots": self.options.slots,
            "user": self.options.user,
            "limits": {name: getattr(self.limits, name) for name in Limits.__dataclass_fields__},
        }
        self.options.directory.parent.mkdir(parents=True, exist_ok=True)
        with (self.options.directory.parent / "haproxy.log").open("ab") as output:
            self.process = await asyncio.create_subprocess_exec(
                sys.executable, "-c", LAUNCH, json.dumps(given), stdout=output, stderr=output, start_new_session=True
            )
        await self._wait_until_it_answers(is_closed=is_boot)

    async def boot(self) -> None:
        """The machine goes down and up again: what was in memory is gone."""
        await self.kill()
        shutil.rmtree(self.options.run_directory)
        await self.start(is_boot=True)

    async def _wait_until_it_answers(self, *, is_closed: bool) -> None:
        async with asyncio.timeout(20):
            while True:
                if self.process is None or self.process.returncode is not None:
                    raise RuntimeError((self.options.directory.parent / "haproxy.log").read_text())
                with suppress(ProxyUnavailable, OSError):
                    await self.proxy().capacity()
                    if not is_closed:
                        _, writer = await asyncio.open_connection("127.0.0.1", self.port)
                        writer.close()
                    return
                await asyncio.sleep(0.02)

    async def kill(self) -> None:
        """SIGKILL to the master and its workers, as the kernel would when memory ends."""
        if self.process and self.process.returncode is None:
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            await self.process.wait()

    async def stop(self) -> None:
        await self.kill()
