"""A small notes service."""

import asyncio
import os
from collections.abc import AsyncIterator

from fastapi import FastAPI, HTTPException, WebSocket, WebSocketDisconnect
from fastapi.responses import StreamingResponse
from pydantic import BaseModel

app = FastAPI(title="Notes")
notes: dict[int, str] = {}


class Note(BaseModel):
    text: str


@app.get("/")
async def index() -> dict[str, str]:
    return {"service": "notes", "version": os.environ.get("VERSION", "unset")}


@app.get("/health")
async def health() -> dict[str, str]:
    return {"status": "ok"}


@app.get("/version")
async def version() -> dict[str, str]:
    return {"version": os.environ.get("VERSION", "unset"), "deployment": os.environ.get("RAILWAY_DEPLOYMENT_ID", "")}


@app.post("/notes", status_code=201)
async def add_note(note: Note) -> dict[str, int]:
    number = len(notes) + 1
    notes[number] = note.text
    return {"id": number}


@app.get("/notes/{number}")
async def read_note(number: int) -> Note:
    if number not in notes:
        raise HTTPException(404, "no such note")
    return Note(text=notes[number])


@app.get("/slow")
async def slow(seconds: float = 10.0) -> dict[str, float]:
    """Answers after a while (at most a minute)."""
    await asyncio.sleep(min(seconds, 60.0))
    return {"slept": seconds}


@app.get("/ticks")
async def ticks(count: int = 5) -> StreamingResponse:
    """Server-sent events, one every 100 ms."""

    async def events() -> AsyncIterator[str]:
        for number in range(min(count, 1000)):
            yield f"id: {number}\ndata: tick {number}\n\n"
            await asyncio.sleep(0.1)

    return StreamingResponse(events(), media_type="text/event-stream")


@app.websocket("/echo")
async def echo(socket: WebSocket) -> None:
    await socket.accept()
    try:
        while True:
            await socket.send_text(await socket.receive_text())
    except WebSocketDisconnect:
        return
