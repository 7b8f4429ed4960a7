"""The measurements of scripts/bench/gpu.py on one open backend in its own process: decode steps, a late adapter."""

import statistics
import time
from collections.abc import Sequence as Items
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from drive import Line, Run, run_batch

from openledger_node.engine.backend import BLOCK_TOKENS, Backend
from openledger_node.engine.memory_plan import decode_bytes
from openledger_node.models.adapter_files.random_adapter import Linear, write_random_adapter
from openledger_node.models.adapter_source import AdapterSource
from openledger_node.models.decoder_config import DecoderConfig
from openledger_protocol.inference import SamplingParams

MIXED_RANKS = (2, 6, 10, 14, 18, 22, 26, 30)
"""Ranks of adapters on all linear maps. With the pairs below, these are 16 shapes with the numbers of 16 adapters of
rank 16, so that only their variety costs."""

PAIRED_RANKS = (8, 24, 40, 56)
"""Ranks of two adapters each, one on attention and one on the MLP."""

CONVERSATION = {"temperature": 0.7, "top_p": 0.9}
"""The sampling of a chat."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """The amount of work."""

    wide: tuple[str, ...]  # shapes of bases that are served as they are; the first that fits counts
    narrow: str  # the shape that is served in int4
    batch: int
    chat_batch: int  # rows of a batch whose tokens are drawn
    prompt_tokens: int
    answer_tokens: int
    samples: int
    warm_ups: int  # batches before those that are measured
    exact_rows: int
    requests: int  # of traffic at the memory cap
    traffic_s: float  # after this long no more requests are sent
    ranks: tuple[int, int] = (16, 8)  # of the adapters of a batch, in turns

    @property
    def context(self) -> int:
        """Tokens of a prompt and its answer."""
        return self.prompt_tokens + self.answer_tokens


FULL = Work(
    wide=("llama-3.1-8b", "qwen3-4b"),
    narrow="llama-3.1-8b",
    batch=32,
    chat_batch=16,
    prompt_tokens=64,
    answer_tokens=33,
    samples=3,
    warm_ups=1,
    exact_rows=16,
    requests=10_000,
    traffic_s=90.0,
)
QUICK = Work(
    wide=("tiny",),
    narrow="tiny",
    batch=2,
    chat_batch=2,
    prompt_tokens=3,
    answer_tokens=2,
    samples=1,
    warm_ups=0,
    exact_rows=2,
    requests=3,
    traffic_s=60.0,
    ranks=(4, 2),
)


@dataclass(slots=True)
class Bench:
    """One open backend, and the steps that were measured on it."""

    backend: Backend
    config: DecoderConfig
    work: Work
    draws: np.random.Generator = field(default_factory=lambda: np.random.default_rng(7))
    adapters: dict[str, Any] = field(default_factory=dict)  # read, by id

    def prompts(self, count: int) -> list[list[int]]:
        """Fresh prompts."""
        found: list[list[int]] = self.draws.integers(
            1, self.config.vocab_size, (count, self.work.prompt_tokens)
        ).tolist()
        return found

    def run(self, sources: Items[AdapterSource | None], **how: Any) -> Run:
        """One batch of fresh prompts, each on its adapter."""
        return run_batch(self.backend, self.prompts(len(sources)), sources, self.work.answer_tokens, **how)

    def step_s(self, sources: Items[AdapterSource | None], **how: Any) -> float:
        """The median decode step of some batches, after those that warm up."""
        for _ in range(self.work.warm_ups):
            self.run(sources, **how)
        steps = [step for _ in range(self.work.samples) for step in self.run(sources, **how).steps_s]
        return statistics.median(steps)

    def tokens_per_s(self, sources: Items[AdapterSource | None]) -> float:
        """The median speed of whole batches, prompts included."""
        runs = [self.run(sources) for _ in range(self.work.samples)]
        return statistics.median(run.tokens / run.wall_s for run in runs)

    def load(self, sources: Items[AdapterSource]) -> None:
        """Read adapters, and bring them to the device."""
        for source in sources:
            self.read(source)
            self.backend.load_adapter(source.id, self.adapters[source.id])

    def read(self, source: AdapterSource) -> None:
        """Read an adapter into the machine's memory."""
        if source.id not in self.adapters:
            self.adapters[source.id] = self.backend.read_adapter(source)

    def unload(self, sources: Items[AdapterSource]) -> None:
        """Take adapters off the device."""
        for source in sources:
            self.backend.unload_adapter(source.id)

    def step_bytes(self, rows: int) -> int:
        """Bytes that a decode step of the bare base has to read: its matrices, and each row's keys and values."""
        profile, work = self.backend.profile, self.work
        return decode_bytes(
            self.config,
            profile.quantisation,
            getattr(torch, profile.dtype).itemsize,
            base_bytes=profile.base_bytes,
            cached=rows * (work.prompt_tokens + work.answer_tokens // 2),
        )

    def gpu_idle_ms(self) -> float | None:
        """Milliseconds a decode step during which the device computes nothing; None if it can't be seen."""
        sources: list[AdapterSource | None] = [None] * self.work.batch
        self.run(sources)
        activity = torch.profiler.ProfilerActivity.CUDA
        if activity not in torch.profiler.supported_activities():
            return None
        with torch.profiler.profile(activities=[activity]) as profiler:
            run = self.run(sources)
        spans = sorted(
            (event.time_range.start, event.time_range.end)
            for event in profiler.events() or ()
            if event.device_type != torch.autograd.DeviceType.CPU
        )
        return idle_ms(spans, sum(run.steps_s)) / len(run.steps_s) if spans else None

    def late_adapter(self, source: AdapterSource, *, is_cold: bool) -> tuple[float, float]:
        """The longest step of the others, and the time to the first token, as a request with this adapter joins.

        A cold adapter is in the machine's memory and is brought to the device between two steps; a warm one is there.
        """
        self.read(source)
        if not is_cold:
            self.load([source])
        lines = self._lines(self.work.chat_batch)
        late, others = lines[-1], lines[:-1]
        for line in others:
            self.backend.join(line.id, None)
        self._step(others, prefill=True)
        gaps = []
        for number in range(max(2, self.work.answer_tokens - 1)):
            began_s = time.perf_counter()
            if number == 1:
                joined_s = began_s
                if is_cold:
                    self.load([source])
                self.backend.join(late.id, source.id)
            self._step(others, late if number == 1 else None)
            gaps.append(time.perf_counter() - began_s)
            if number == 1:
                first_s = time.perf_counter() - joined_s
        for line in lines:
            self.backend.leave(line.id)
        self.unload([source])
        return max(gaps[1:]), first_s

    def _lines(self, count: int) -> list[Line]:
        sampling = SamplingParams(max_tokens=self.work.answer_tokens, seed=0, temperature=0.0)
        each = -(-(self.work.context + 2) // BLOCK_TOKENS)
        return [
            Line(
                id=f"l{number}",
                prompt=tuple(prompt),
                blocks=tuple(range(number * each, (number + 1) * each)),
                sampling=sampling,
            )
            for number, prompt in enumerate(self.prompts(count))
        ]

    def _step(self, lines: list[Line], late: Line | None = None, *, prefill: bool = False) -> None:
        """One step: the prompts of all lines, or a token of each and the prompt of a late one."""
        if prefill:
            rows = [line.row(0, line.prompt) for line in lines]
        else:
            rows = [line.row(len(line.prompt) + len(line.drawn) - 1, (line.drawn[-1].token,)) for line in lines]
        rows += [late.row(0, late.prompt)] if late else []
        drawn = self.backend.step(tuple(rows))
        for line in lines:
            line.drawn.append(drawn[line.id])


def idle_ms(spans: list[tuple[float, float]], decode_s: float) -> float:
    """Milliseconds between the spans (µs, sorted) in which a device worked, in the last `decode_s` of them."""
    begin = spans[-1][1] - 1e6 * decode_s
    busy, reached = 0.0, begin
    for first, last in spans:
        busy += max(0.0, last - max(first, reached))
        reached = max(reached, last)
    return max(0.0, (spans[-1][1] - begin - busy) / 1000)


def write_even(folder: Path, linears: tuple[Linear, ...], count: int, ranks: tuple[int, int]) -> list[AdapterSource]:
    """Adapters on all linear maps, of two ranks in turns."""
    return [
        write_random_adapter(folder / f"even{number}", linears, rank=ranks[number % 2], seed=number)
        for number in range(count)
    ]


def write_mixed(folder: Path, linears: tuple[Linear, ...], count: int) -> list[AdapterSource]:
    """Adapters of different shapes, with the numbers of as many of rank 16 if there are 16."""
    parts = [(linears, rank) for rank in MIXED_RANKS]
    for rank in PAIRED_RANKS:
        attention = tuple(linear for linear in linears if ".self_attn." in linear.path)
        parts += [(attention, rank), (tuple(linear for linear in linears if linear not in attention), rank)]
    return [
        write_random_adapter(folder / f"mixed{number}", maps, rank=rank, seed=100 + number)
        for number, (maps, rank) in enumerate(parts[-count:] if count < len(parts) else parts)
    ]
