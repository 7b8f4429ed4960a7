"""What scripts/bench/gpu.py measures on the node's own engine process: traffic at a memory cap, and a pause."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import count
from pathlib import Path
from typing import Final

import numpy as np
import torch
import trio
from gpu_cases import Work
from random_base import PLUG
from work import draw_zipf

from openledger_node.engine.backend import BackendSettings, Profile
from openledger_node.engine.engine import Engine, EngineOptions
from openledger_node.engine.frames import EngineChunk, Finished, Submit
from openledger_node.engine.stopwatch import run_engine
from openledger_node.models.adapter_source import AdapterSource
from openledger_protocol.inference import SamplingParams

POLL_S: Final = 0.005
SLACK_BYTES: Final = 64 << 20
"""Memory counts as free again when so much or less of it is missing: drivers keep some of it for a while."""

PAUSE_WITHIN_S: Final = 30.0
TRAFFIC_TOKENS: Final = 4
TRAFFIC_PROMPT: Final = 8


@dataclass(slots=True, kw_only=True)
class AtCap:
    """The outcome of traffic at a memory cap, and of the pause after it."""

    profile: Profile
    num_requests: int = 0
    refusals: list[str] = field(default_factory=list)
    taken_bytes: int = 0  # the most of the card that the engine had
    pause_s: float | None = None


def measure_at_cap(options: EngineOptions, work: Work, sources: list[AdapterSource], watch: "CardWatch") -> AtCap:
    """Start an engine, send Zipf traffic over all adapters, and pause it."""
    with watch.watching():
        found = run_engine(options, partial(_measure, work=work, sources=sources, watch=watch))
    return replace(found, taken_bytes=watch.taken_bytes)


async def _measure(engine: Engine, *, work: Work, sources: list[AdapterSource], watch: "CardWatch") -> AtCap:
    assert engine.profile is not None, "it is ready"
    found = AtCap(profile=engine.profile)
    await _traffic(engine, work, sources, found)
    found.pause_s = await _pause(engine, watch)
    return found


async def _traffic(engine: Engine, work: Work, sources: list[AdapterSource], found: AtCap) -> None:
    """Requests by Zipf's law, always twice as many as run at once, until all are sent or the time is over."""
    drawn = iter(draw_zipf(len(sources), work.requests, seed=0))
    prompts, names = np.random.default_rng(3), count()
    deadline_s = trio.current_time() + work.traffic_s

    async def send() -> None:
        for number in drawn:
            if trio.current_time() > deadline_s:
                return
            ids = tuple(prompts.integers(1, found.profile.vocab_size, TRAFFIC_PROMPT).tolist())
            sampling = SamplingParams(max_tokens=TRAFFIC_TOKENS, seed=0, temperature=0.0)
            command = Submit(
                sequence_id=f"z{next(names)}", prompt_ids=ids, sampling=sampling, adapter=sources[number]
            )
            found.num_requests += 1
            async for outcome in engine.submit(command):
                if not isinstance(outcome, EngineChunk | Finished):
                    found.refusals.append(str(getattr(outcome, "message", outcome)))

    async with trio.open_nursery() as nursery:
        for _ in range(2 * work.batch):
            nursery.start_soon(send)


async def _pause(engine: Engine, watch: "CardWatch") -> float | None:
    """Seconds from a pause until the process has ended and the card's memory is free; None if it never is."""
    began_s = time.monotonic()
    engine.rest()
    while engine.process_id is not None or not watch.is_free:
        if time.monotonic() - began_s > PAUSE_WITHIN_S:
            return None
        await trio.sleep(POLL_S)
    return time.monotonic() - began_s


class CardWatch:
    """The memory of the card that others took since the start; without a card, none."""

    def __init__(self, device: str) -> None:
        self._is_card = device == "cuda"
        self._free_bytes = self._free_now()
        self.taken_bytes = 0

    @property
    def is_free(self) -> bool:
        """True if as much is free as at the start."""
        return self._free_bytes - self._free_now() <= SLACK_BYTES

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Record the most that is taken meanwhile."""
        is_over = threading.Event()

        def watch() -> None:
            while not is_over.wait(POLL_S):
                self.taken_bytes = max(self.taken_bytes, self._free_bytes - self._free_now())

        thread = threading.Thread(target=watch)
        thread.start()
        try:
            yield
        finally:
            is_over.set()
            thread.join()

    def _free_now(self) -> int:
        return int(torch.cuda.mem_get_info()[0]) if self._is_card else 0


def options_at_cap(settings: BackendSettings, scratch: Path, adapter_cache_bytes: int) -> EngineOptions:
    """The engine's options on a base of random numbers."""
    return EngineOptions(
        backend=PLUG,
        settings=settings,
        prefill_tokens_max=512,
        adapter_cache_bytes=adapter_cache_bytes,
        adapter_ram_bytes=4 << 30,
        stall_timeout_s=120.0,
        wait_policy="auto",
        log_file=scratch / "engine.log",
    )
