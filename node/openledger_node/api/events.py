"""Live updates for the page as server-sent events.

The stream polls the control routes and sends each answer that differs from the one before, so the page and the
command line show the same objects.
"""

import json
import time
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import httpx
import trio
from fastapi import FastAPI
from fastapi.responses import StreamingResponse
from starlette.exceptions import HTTPException

from .guard import App

POINT_EVERY_S = 10.0
POINTS_MAX = 360
"""One hour of the engine's figures."""

BUFFERED_MAX = 64
"""Events that may wait for one reader. A slower reader is dropped, and its page polls from then on."""

READERS_MAX = 16
QUIET_S = 10.0
"""After this long without an event the stream sends a sign of life."""

ASK_TIMEOUT_S = 5.0
VOLATILE = frozenset({"uptime_s"})
"""Fields that differ each time and make no event on their own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Topic:
    """One kind of event: the route that it repeats, and the interval between polls."""

    name: str
    method: str
    path: str
    every_s: float
    body: Mapping[str, Any] | None = None


TOPICS = (
    Topic(name="state", method="GET", path="/status", every_s=0.5),
    Topic(name="jobs", method="GET", path="/jobs?limit=20", every_s=1.0),
    Topic(name="money", method="POST", path="/money/receipts", every_s=2.0, body={"limit": 20}),
    Topic(name="peers", method="POST", path="/money/peers", every_s=2.0, body={}),
    Topic(name="chain", method="POST", path="/money/network", every_s=4.0, body={}),
    Topic(name="factory", method="GET", path="/factory", every_s=0.7),
)

Ask = Callable[[Topic], Awaitable[Any]]


class EventStream:
    """Polls the routes while a page reads, and the engine always."""

    def __init__(self, ask: Ask, *, topics: tuple[Topic, ...] = TOPICS) -> None:
        self._ask = ask
        self._topics = topics
        self._sent: dict[str, Any] = {}  # topic → the answer that was sent last
        self._readers: set[trio.MemorySendChannel[str]] = set()
        self._has_reader = trio.Event()
        self._points: deque[dict[str, Any]] = deque(maxlen=POINTS_MAX)

    @property
    def points(self) -> list[dict[str, Any]]:
        """The engine's figures of the last hour, oldest first."""
        return list(self._points)

    async def run(self, stopping: Callable[[], Awaitable[None]]) -> None:
        """Poll until `stopping` returns, then end every stream."""
        async with trio.open_nursery() as nursery:
            for topic in self._topics:
                nursery.start_soon(self._follow, topic)
            nursery.start_soon(self._keep_points)
            await stopping()
            nursery.cancel_scope.cancel()
        for reader in list(self._readers):
            self._drop(reader)

    async def read(self) -> AsyncGenerator[str]:
        """Open the stream of one reader, which begins with the latest answers.

        It ends with the node, or when the reader is too slow.

        Raises:
            HTTPException: there are too many readers.
        """
        if len(self._readers) >= READERS_MAX:
            raise HTTPException(503, f"{READERS_MAX} pages follow this node already: close one")
        send, receive = trio.open_memory_channel[str](BUFFERED_MAX)
        for name, answer in {**self._sent, "engine": {"points": self.points}}.items():
            send.send_nowait(event_text(name, answer))
        self._readers.add(send)
        self._has_reader.set()
        return self._pass_on(send, receive)

    async def _pass_on(
        self, send: "trio.MemorySendChannel[str]", receive: "trio.MemoryReceiveChannel[str]"
    ) -> AsyncGenerator[str]:
        try:
            while True:
                event = "event: alive\ndata: {}\n\n"
                with trio.move_on_after(QUIET_S):
                    event = await receive.receive()
                yield event
        except trio.EndOfChannel:
            return
        finally:
            receive.close()
            self._drop(send)

    def _drop(self, reader: "trio.MemorySendChannel[str]") -> None:
        reader.close()
        self._readers.discard(reader)
        if not self._readers:
            self._has_reader = trio.Event()
            self._sent.clear()  # the next reader starts with fresh answers

    def _tell(self, event: str) -> None:
        for reader in list(self._readers):
            try:
                reader.send_nowait(event)
            except (trio.WouldBlock, trio.BrokenResourceError):
                self._drop(reader)

    async def _follow(self, topic: Topic) -> None:
        while True:
            await self._has_reader.wait()
            found = await self._ask(topic)
            if found is not None and is_news(self._sent.get(topic.name), found):
                self._sent[topic.name] = found
                self._tell(event_text(topic.name, found))
            await trio.sleep(topic.every_s)

    async def _keep_points(self) -> None:
        state = next(topic for topic in self._topics if topic.name == "state")
        while True:
            if (status := await self._ask(state)) is not None:
                self._points.append(point_of(status, at=datetime.fromtimestamp(int(time.time()), UTC)))
                self._tell(event_text("engine", {"points": [self._points[-1]]}))
            await trio.sleep(POINT_EVERY_S)


def add_events(app: FastAPI, stream: EventStream) -> None:
    """Add the event stream and the engine's last hour to the control API."""

    @app.get("/events", response_model=None)
    async def follow() -> StreamingResponse:
        """Changes as they happen: `state`, `jobs`, `money`, `peers`, `chain`, `factory`; every 10 s `engine`."""
        headers = {"Cache-Control": "no-store"}
        return StreamingResponse(await stream.read(), media_type="text/event-stream", headers=headers)

    @app.get("/engine")
    async def show_points() -> dict[str, Any]:
        """The engine's last hour, one point every 10 s, oldest first."""
        return {"points": stream.points}


def ask_app(app: App) -> Ask:
    """Return a function that asks the routes of `app` in this process; it returns None for a failure or a timeout."""
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)

    async def ask(topic: Topic) -> Any:
        with trio.move_on_after(ASK_TIMEOUT_S):
            async with httpx.AsyncClient(transport=transport, base_url="http://node", timeout=None) as client:
                response = await client.request(topic.method, topic.path, json=topic.body)
            return response.json() if response.is_success else None
        return None

    return ask


def is_news(before: Any, now: Any) -> bool:
    """Return True if an answer differs from the one before in more than volatile fields."""
    return _without_volatile(before) != _without_volatile(now)


def point_of(status: Mapping[str, Any], *, at: datetime) -> dict[str, Any]:
    """The engine's figures at one moment; a figure that is missing from the status is None."""
    engine, requests = status.get("engine") or {}, status.get("requests") or {}
    ttft = engine.get("ttft_ms") or {}
    return {
        "at": at.isoformat().replace("+00:00", "Z"),
        "tokens_per_s": engine.get("tokens_per_s"),
        "ttft_p50_ms": ttft.get("p50"),
        "ttft_p95_ms": ttft.get("p95"),
        "running": requests.get("running"),
    }


def event_text(name: str, content: Any) -> str:
    """One server-sent event as text."""
    return f"event: {name}\ndata: {json.dumps(content, ensure_ascii=False, separators=(',', ':'))}\n\n"


def _without_volatile(answer: Any) -> object:
    if not isinstance(answer, dict):
        return answer
    return {name: value for name, value in answer.items() if name not in VOLATILE}
