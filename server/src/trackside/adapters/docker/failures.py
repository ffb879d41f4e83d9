"""The engine's errors, turned into ours: what can be tried again, and what this workload can never do."""

import json
import re
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import aiohttp
from aiodocker.exceptions import DockerError

from trackside.kit.errors import TracksideError
from trackside.rooms.deployments.errors import RuntimeRefused, RuntimeUnavailable
from trackside.rooms.deployments.model import Network

INVALID = 400
FORBIDDEN = 403
MISSING = 404
CONFLICT = 409
UNREACHED = 900
"""What the client's library says where there was nobody to answer."""

NO_SPACE = "no space left on device"
TRANSIENT = (
    NO_SPACE,
    "resource temporarily unavailable",
    "cannot allocate memory",
    "too many open files",
    "address already in use",
    "context deadline exceeded",
    "connection refused",
    "transport is closing",
    "marked for removal",
)
WORKLOAD = ("oci runtime create failed", "linux spec user", "unable to find user", "unable to find group")


@asynccontextmanager
async def translated() -> AsyncGenerator[None]:
    """Turn what the engine or the way to it raises, and nobody has read more exactly, into `RuntimeUnavailable`."""
    try:
        yield
    except DockerError as error:
        raise unanswered(error) or RuntimeUnavailable(f"The container engine answered: {error.message}") from error
    except TimeoutError as error:
        raise RuntimeUnavailable("The container engine does not answer.") from error
    except (aiohttp.ClientError, OSError) as error:
        raise RuntimeUnavailable(f"The container engine can't be reached: {error or type(error).__name__}.") from error


def message(text: str) -> str:
    """The sentence in the body of an error answer."""
    try:
        return str(json.loads(text)["message"])
    except (ValueError, KeyError, TypeError):
        return text.strip()


def is_missing_network(error: DockerError) -> bool:
    return error.status == MISSING and "network" in error.message.lower()


def is_damaged(error: DockerError) -> bool:
    """Whether a layer of an image that the engine knows is missing on its disk, as after a machine that crashed while it was written.

    The engine never looks again: pulled or loaded anew the image stays so, until it is removed.
    """
    text = error.message.lower()
    return "layer does not exist" in text or ("no such file or directory" in text and "/overlay2/" in text)


def damaged(image_id: str) -> RuntimeRefused:
    """What is said of such an image."""
    return RuntimeRefused(
        f"A part of the image {image_id} is missing on the engine's disk.",
        hint="Deploy the source again: a built image is moved to the engine anew.",
    )


def create_failure(error: DockerError, image_id: str) -> TracksideError:
    """Why a container can't be made."""
    if error.status == MISSING:
        return RuntimeRefused(
            f"The image {image_id} is not on the engine.", hint="Deploy again: the image is built or pulled anew."
        )
    if is_damaged(error):
        return damaged(image_id)
    if error.status in (INVALID, FORBIDDEN) and not is_transient(error):
        return RuntimeRefused(f"The engine refuses the container: {plain(error.message)}")
    return unavailable(error, "make the container")


def start_failure(error: DockerError) -> TracksideError:
    """Why a container can't be started."""
    text = error.message.lower()
    is_workload = error.status == INVALID or any(sign in text for sign in WORKLOAD)
    if is_workload and not is_transient(error):
        return RuntimeRefused(f"The container can't start: {plain(error.message)}")
    return unavailable(error, "start the container")


def is_left_task(error: DockerError) -> bool:
    """Whether containerd has the container, or its task, of which an engine that was killed as it started it knows nothing.

    The engine refuses for ever to start that container; another one of the same replica is another matter.
    """
    text = error.message.lower()
    return ("task " in text and "already exists" in text) or "id already in use" in text


def network_failure(error: DockerError, network: Network) -> TracksideError:
    """Why a network can't be made."""
    if error.status == FORBIDDEN and "overlap" in error.message.lower():
        return RuntimeRefused(
            f"The addresses {network.subnet} are in use by another network of this machine.",
            hint="Remove the other network; an installation's own addresses are chosen when it is first started.",
        )
    return unavailable(error, f"make the network {network.subnet}")


def is_away(error: BaseException) -> bool:
    """Whether nobody was there, or whoever was there went away in between. One that hangs is there: that is a `TimeoutError`."""
    if isinstance(error, DockerError):
        return error.status == UNREACHED
    return isinstance(error, aiohttp.ClientError | ConnectionError) and not isinstance(error, TimeoutError)


def unanswered(error: DockerError) -> RuntimeUnavailable | None:
    """The error, where it is that nobody was there."""
    return RuntimeUnavailable("The container engine can't be reached.") if error.status == UNREACHED else None


def unavailable(error: DockerError, deed: str) -> RuntimeUnavailable:
    """What the engine could not do this time."""
    if away := unanswered(error):
        return away
    if NO_SPACE in error.message.lower():
        return RuntimeUnavailable(
            f"The engine could not {deed}: its disk is full.",
            hint="Make room on the disk of the container engine (`docker system df`); the platform tries again by itself.",
        )
    return RuntimeUnavailable(f"The engine could not {deed}: {plain(error.message)}")


def is_transient(error: DockerError) -> bool:
    text = error.message.lower()
    return any(sign in text for sign in TRANSIENT)


def plain(text: str) -> str:
    """The part of the engine's message that tells a person something: without the chain of programs it came through."""
    chain = r"(?:unable to start container process|container init caused|starting container process caused):\s*"
    tail = re.split(chain, text.strip())[-1]
    return tail.removesuffix(": unknown").strip().rstrip(".") + "."
