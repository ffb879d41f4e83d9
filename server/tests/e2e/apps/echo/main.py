"""A test app: answers with its version, slowly or wrongly when asked, and ends in every way an app can end."""

import asyncio
import json
import os
import signal
import sys
import time
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

VERSION = os.environ.get("VERSION", "1")
REPLICA = os.environ.get("RAILWAY_REPLICA_ID", "")
STARTED = time.monotonic()
state = {"healthy": True, "asked": 0}


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            method, target, _ = head.split(" ", 2)
            length = next(
                (int(line.split(":")[1]) for line in head.split("\r\n") if line.lower().startswith("content-length")), 0
            )
            await reader.readexactly(length)
            url = urlsplit(target)
            if url.path == "/stream":
                await stream(writer, float(parse_qs(url.query)["s"][0]))
                continue
            status, body = await respond(method, url, head)
            writer.write(f"HTTP/1.1 {status} X\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
            await writer.drain()
    except (EOFError, OSError):
        pass
    finally:
        writer.close()


async def stream(writer: asyncio.StreamWriter, seconds: float) -> None:
    """An answer in ten pieces, begun at once; its head says who gives it."""
    writer.write(f"HTTP/1.1 200 X\r\nX-Replica: {REPLICA}\r\nTransfer-Encoding: chunked\r\n\r\n".encode())
    for _ in range(10):
        writer.write(b"1\r\n.\r\n")
        await writer.drain()
        await asyncio.sleep(seconds / 10)
    writer.write(b"0\r\n\r\n")
    await writer.drain()


async def respond(method: str, url, head: str) -> tuple[int, bytes]:
    query = {key: values[0] for key, values in parse_qs(url.query).items()}
    match url.path:
        case "/slow":
            await asyncio.sleep(float(query.get("s", "1")))
        case "/health":
            state["asked"] += 1
            delay = float(os.environ.get("HEALTHY_AFTER", "0"))
            healthy = state["healthy"] and time.monotonic() - STARTED >= delay
            return (200 if healthy else 503), b"db not ready"
        case "/asked":
            return 200, str(state["asked"]).encode()
        case "/sicken":
            state["healthy"] = False
        case "/exit":
            print("asked to exit", flush=True)
            os._exit(int(query.get("code", "1")))
        case "/log":
            print(query.get("line", ""), flush=True)
        case "/variable":
            return 200, json.dumps(os.environ.get(query["name"])).encode()
        case "/headers":
            return 200, head.encode("latin-1")
        case "/file":
            return 200, Path(query["path"]).read_bytes()
        case "/replica":
            return 200, REPLICA.encode()
        case "/resolve":
            return 200, json.dumps(await resolve(query["name"])).encode()
        case "/connect":
            return 200, (await connect(query["host"], int(query["port"]))).encode()
    return 200, VERSION.encode()


async def resolve(name: str) -> list[str]:
    loop = asyncio.get_running_loop()
    try:
        return sorted({info[4][0] for info in await loop.getaddrinfo(name, None)})
    except OSError:
        return []


async def connect(host: str, port: int) -> str:
    try:
        _, writer = await asyncio.wait_for(asyncio.open_connection(host, port), 2)
        writer.close()
        return "open"
    except (TimeoutError, OSError) as error:
        return f"closed: {type(error).__name__}"


async def main() -> None:
    print(f"version {VERSION} starts", flush=True)
    if "EXIT_AFTER" in os.environ:
        await asyncio.sleep(float(os.environ["EXIT_AFTER"]))
        print("giving up: no database", file=sys.stderr, flush=True)
        sys.exit(int(os.environ.get("EXIT_CODE", "3")))
    server = await asyncio.start_server(answer, "0.0.0.0", int(os.environ.get("LISTEN", os.environ["PORT"])))
    told = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, told.set)
    await told.wait()
    print("stopping", flush=True)
    if "STUBBORN" in os.environ:
        await asyncio.Event().wait()
    server.close()


asyncio.run(main())
