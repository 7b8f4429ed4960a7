"""Concurrent readers of streams for a given time, from an engine alone or from a daemon over HTTP."""

import itertools
import json
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import trio
from bars import percentile

from openledger_node.engine.backend import BackendSettings
from openledger_node.engine.engine import Engine, EngineOptions, Submit
from openledger_node.engine.frames import EngineChunk, Finished
from openledger_node.engine.tokenizer import ByteTokenizer
from openledger_protocol.inference import SamplingParams

PROMPT, TOKENS, CONTEXT = "on and on...", 400, 2_048
LEAVES_ONE_IN = 16
GAPS_MAX = 1_000_000
"""Gaps that are kept; after that, each new one replaces a random one."""

END = b"\n\n"


@dataclass
class Reading:
    """Counts of all readers."""

    num_tokens: int = 0
    num_answers: int = 0
    num_left: int = 0
    seconds: float = 0.0
    gaps_s: list[float] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    _seen: int = 0
    _random: Random = field(default_factory=lambda: Random(7))

    @property
    def rate(self) -> float:
        """Tokens per second of all readers."""
        return self.num_tokens / self.seconds if self.seconds else 0.0

    @property
    def first_error(self) -> str:
        """The first error, or an empty string."""
        return self.errors[0] if self.errors else ""

    def note(self, num_tokens: int, gap_s: float) -> None:
        """Count tokens that arrived together, `gap_s` after the previous ones."""
        self.num_tokens += num_tokens
        for gap in (gap_s, *[0.0] * (num_tokens - 1)):
            self._seen += 1
            if len(self.gaps_s) < GAPS_MAX:
                self.gaps_s.append(gap)
            elif (place := self._random.randrange(self._seen)) < GAPS_MAX:
                self.gaps_s[place] = gap

    def figures(self) -> dict[str, Any]:
        """Figures for the report."""
        gaps = {f"gap_p{round(part * 100)}_ms": 1_000 * percentile(self.gaps_s, part) for part in (0.5, 0.99)}
        counts = {"answers": self.num_answers, "left": self.num_left, "tokens": self.num_tokens}
        return {**counts, "tokens_per_s": self.rate, **gaps, "errors": self.errors[:5]}


async def read_engine(folder: Path, streams: int, seconds: float) -> Reading:
    """Read answers of the fake engine in its own process, without a daemon."""
    settings = BackendSettings(
        base_folder=None, device="cpu", dtype="auto", threads=1, batch_max=streams, context_max=CONTEXT
    )
    engine = Engine(
        EngineOptions(
            backend="fake",
            settings=settings,
            prefill_tokens_max=64,
            adapter_cache_bytes=1 << 20,
            stall_timeout_s=60.0,
            wait_policy="passive",
            log_file=folder / "engine.log",
        )
    )
    reading, names = Reading(), itertools.count()
    prompt_ids = tuple(ByteTokenizer().encode(PROMPT))

    async def answer(until_s: float) -> None:
        sampling = SamplingParams(max_tokens=TOKENS, seed=1, temperature=0)
        order = Submit(sequence_id=f"s{next(names)}", prompt_ids=prompt_ids, sampling=sampling, adapter=None)
        last_s = None
        async for outcome in engine.submit(order):
            now_s = time.perf_counter()
            match outcome:
                case EngineChunk():
                    if last_s is not None:
                        reading.note(len(outcome.ids), now_s - last_s)
                    last_s = now_s
                case Finished():
                    reading.num_answers += 1
                case _:
                    reading.errors.append(repr(outcome))
            if now_s > until_s:
                engine.cancel(order.sequence_id)

    async with trio.open_nursery() as nursery:
        await nursery.start(engine.run)
        await _for_so_long(streams, seconds, reading, answer)
        nursery.cancel_scope.cancel()
    return reading


async def read_http(host: str, port: int, key: str, streams: int, seconds: float) -> Reading:
    """Read streamed answers of a daemon; each reader keeps its connection."""
    reading, number = Reading(), itertools.count(1)
    asked = {"model": "fake", "prompt": PROMPT, "max_tokens": TOKENS, "temperature": 0, "stream": True}
    body = json.dumps(asked).encode()
    head = f"POST /v1/completions HTTP/1.1\r\nHost: {host}:{port}\r\nAuthorization: Bearer {key}\r\n"
    request = f"{head}Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body
    free: list[trio.SocketStream] = []

    async def answer(until_s: float) -> None:
        stream = free.pop() if free else await trio.open_tcp_stream(host, port)
        try:
            await stream.send_all(request)
            is_whole = await _read_events(stream, reading, until_s, leaves=next(number) % LEAVES_ONE_IN == 0)
        except (OSError, trio.BrokenResourceError) as error:
            is_whole = False
            reading.errors.append(f"{type(error).__name__}: {error}")
        if is_whole:
            free.append(stream)
        else:
            await trio.aclose_forcefully(stream)

    await _for_so_long(streams, seconds, reading, answer)
    for stream in free:
        await trio.aclose_forcefully(stream)
    return reading


async def _read_events(stream: trio.SocketStream, reading: Reading, until_s: float, *, leaves: bool) -> bool:
    """Read one answer and return True if its connection can be reused. Events are counted without parsing HTTP."""
    tail, last_s, num_events = b"", None, 0
    while True:
        piece = await stream.receive_some(65_536)
        now_s = time.perf_counter()
        if not piece:
            reading.errors.append("the connection was closed in an answer")
            return False
        if not num_events and not tail and not piece.startswith(b"HTTP/1.1 200"):
            reading.errors.append(piece[:300].decode(errors="replace"))
            return False
        if count := (tail[-1:] + piece).count(END):
            if last_s is not None:
                reading.note(count, now_s - last_s)
            last_s, num_events = now_s, num_events + count
        tail = (tail + piece)[-64:]
        if tail.endswith(b"0\r\n\r\n") and b"[DONE]" in tail:
            reading.num_answers += 1
            return True
        if now_s > until_s or (leaves and num_events > TOKENS // 2):
            reading.num_left += 1
            return False


async def _for_so_long(
    streams: int, seconds: float, reading: Reading, answer: Callable[[float], Awaitable[None]]
) -> None:
    """Keep a fixed number of readers busy, one answer after the other, until the time is up."""
    began_s = time.perf_counter()
    until_s = began_s + seconds

    async def go_on() -> None:
        while time.perf_counter() < until_s:
            await answer(until_s)

    async with trio.open_nursery() as nursery:
        for _ in range(streams):
            nursery.start_soon(go_on)
    reading.seconds = time.perf_counter() - began_s
