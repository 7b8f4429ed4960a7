"""Batches of streamed requests over plain sockets, so that the daemon is measured and not a client library."""

import json
import time
from dataclasses import dataclass, field
from typing import Any

import trio
from quiet import PlayerError

from openledger_node.api_key import load_api_key
from openledger_node.demo.processes import OperatorHome
from openledger_node.home import Home

TIMEOUT_S = 300.0
RECEIVE_BYTES = 65_536
TAIL_BYTES = 4_096
"""The last event before the end, which holds the usage, is shorter."""

DATA, END, LAST_CHUNK = b"data: ", b"data: [DONE]", b"0\r\n\r\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """A daemon's API."""

    host: str
    port: int
    key: str

    def request(self, body: dict[str, Any]) -> bytes:
        """One streamed completion as bytes of HTTP/1.1."""
        content = json.dumps({**body, "stream": True, "stream_options": {"include_usage": True}}).encode()
        head = (
            f"POST /v1/completions HTTP/1.1\r\nHost: {self.host}:{self.port}\r\nAuthorization: Bearer {self.key}\r\n"
        )
        return f"{head}Content-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n".encode() + content


def address_of(home: OperatorHome, status: dict[str, Any]) -> Address:
    """The API of a running daemon, by its status."""
    host, _, port = status["api"]["url"].removeprefix("http://").rpartition(":")
    return Address(host=host, port=int(port), key=load_api_key(Home(home.root)))


@dataclass(slots=True)
class Answers:
    """What a batch received."""

    wall_s: float = 0.0
    first_s: list[float] = field(default_factory=list)
    usages: list[dict[str, int]] = field(default_factory=list)

    @property
    def tokens(self) -> int:
        """Tokens of all answers."""
        return sum(usage["completion_tokens"] for usage in self.usages)


def ask_all(address: Address, bodies: list[dict[str, Any]]) -> Answers:
    """Send all requests at once, each on a connection of its own, and read every answer to its end.

    Raises:
        PlayerError: a request was refused, or its answer ended early.
    """
    try:
        return trio.run(_ask_all, address, bodies)
    except BaseExceptionGroup as group:
        failure: BaseException = group
        while isinstance(failure, BaseExceptionGroup):
            failure = failure.exceptions[0]
        raise PlayerError(f"{type(failure).__name__}: {failure}") from group


async def _ask_all(address: Address, bodies: list[dict[str, Any]]) -> Answers:
    requests, answers, began_s = [address.request(body) for body in bodies], Answers(), time.perf_counter()
    with trio.fail_after(TIMEOUT_S):
        async with trio.open_nursery() as nursery:
            for request in requests:
                nursery.start_soon(_ask, address, request, answers, began_s)
    answers.wall_s = time.perf_counter() - began_s
    return answers


async def _ask(address: Address, request: bytes, answers: Answers, began_s: float) -> None:
    async with await trio.open_tcp_stream(address.host, address.port) as stream:
        await stream.send_all(request)
        tail, first_s = b"", None
        while not tail.endswith(LAST_CHUNK):
            piece = await stream.receive_some(RECEIVE_BYTES)
            if not piece:
                raise PlayerError(f"the connection was closed in an answer, after {tail[-300:]!r}")
            tail = (tail + piece)[-TAIL_BYTES:]
            if first_s is None and DATA in tail:
                first_s = time.perf_counter() - began_s
    if END not in tail or first_s is None:
        raise PlayerError(f"the daemon answers {tail[:300]!r}")
    answers.first_s.append(first_s)
    answers.usages.append(usage_of(tail))


def usage_of(tail: bytes) -> dict[str, int]:
    """The usage in the event before the end of a stream."""
    event = tail[: tail.rindex(END)].rpartition(DATA)[2]
    usage: dict[str, int] = json.loads(event[: event.rindex(b"}") + 1])["usage"]
    return usage
