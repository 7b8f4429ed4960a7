"""A benchmark of the base on this machine through the node's own engine: speed, latency, adapters and memory."""

import os
import random
import shutil
import statistics
import subprocess
import time
from collections.abc import Awaitable, Callable, Iterator
from collections.abc import Sequence as Items
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

import trio

from openledger_protocol.inference import SamplingParams

from ..models.adapter_files.random_adapter import read_linears, write_random_adapter
from ..models.adapter_source import AdapterSource
from .backend import Profile
from .blocks import blocks_for
from .engine import Engine, EngineOptions
from .frames import Beat, EngineChunk, Finished, Submit

# ---- The memory that a process takes on NVIDIA cards, as their driver counts it.

NVIDIA_SMI = "nvidia-smi"
QUERY = ("--query-compute-apps=pid,used_memory", "--format=csv,noheader,nounits")
TIMEOUT_S = 10.0

Result = TypeVar("Result")


def card_bytes(process_id: int) -> int | None:
    """Bytes of card memory that a process holds; None if there is no card, or the driver does not say."""
    if shutil.which(NVIDIA_SMI) is None:
        return None
    try:
        output = subprocess.run(
            [NVIDIA_SMI, *QUERY], capture_output=True, text=True, timeout=TIMEOUT_S, check=True
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    return parse_used(output, process_id)


def parse_used(output: str, process_id: int) -> int | None:
    """Sum the MiB of a process's lines, one a card, such as "1234, 567"."""
    rows = [[word.strip() for word in line.split(",")] for line in output.splitlines() if line.count(",") == 1]
    return sum(int(used) << 20 for number, used in rows if number == str(process_id) and used.isdigit()) or None


# ---- benchmark

BATCHES = (1, 8, 32)
ROUNDS = 3
TTFT_SHARE = 0.95


LAST_BEAT_S = 0.3
"""Seconds after the last answer until the engine's last beat, with its final figures, has arrived."""

PACKED_ADAPTERS = "adapters"
"""The folder of packed adapters in the engine's cache; the benchmark's adapters must not stay there."""

Report = Callable[[str, int, int], None]
"""Receives the name of the current step, the number of finished steps, and the number of all steps."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchmarkWork:
    """The size of the requests: prompts of random tokens, on adapters of random numbers."""

    prompt_tokens: int
    answer_tokens: int
    rank: int

    @property
    def num_tokens(self) -> int:
        """Tokens of one sequence, prompt and answer."""
        return self.prompt_tokens + self.answer_tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchFigures:
    """Figures of requests that arrive together, all on the bare base or each on its own adapter."""

    batch: int
    adapters: int
    tokens_per_s: float  # of all requests together, including the time for prompts
    ttft_ms: float
    ttft_p95_ms: float
    step_ms: float  # between two tokens of an answer, median; 0 for answers of one token


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """The measured figures; None where the base takes no adapter, or the system does not say."""

    profile: Profile
    start_s: float
    batches: tuple[BatchFigures, ...]
    load_ms: float | None  # of an adapter that was not in memory, from disk to device
    load_p95_ms: float | None
    adapter_bytes: int | None  # of one adapter
    batch_fits: int  # sequences of this size that fit in the KV cache at once
    peak_bytes: int | None  # of the engine's process
    card_bytes: int | None
    failures: tuple[str, ...]


@dataclass(slots=True, kw_only=True)
class Timing:
    """The outcome of sequences that were submitted at once; times count from that moment."""

    wall_s: float = 0.0
    num_tokens: int = 0
    first_s: list[float] = field(default_factory=list)  # of each answered sequence: its first token
    gaps_s: list[float] = field(default_factory=list)  # between two tokens of one answer
    failures: list[str] = field(default_factory=list)  # of each sequence that was not answered: the reason

    @property
    def tokens_per_s(self) -> float:
        """Speed of all answers together, including the time for prompts."""
        return self.num_tokens / self.wall_s


def run_benchmark(options: EngineOptions, work: BenchmarkWork, scratch: Path, report: Report) -> Figures:
    """Start an engine, measure it, and end it; its files are written below `scratch` and deleted afterwards.

    Raises:
        ModelError: the backend can't be opened, or the engine dies.
    """
    base_folder = options.settings.base_folder
    sizes = batch_sizes(options.settings.batch_max)
    with TemporaryDirectory(prefix=".benchmark-", dir=scratch) as folder:
        options = _cache_beside(options, Path(folder))
        linears = read_linears(Path(base_folder) if base_folder else None)
        bench = _Bench(options, work, sizes, report)
        bench.step("writing adapters")
        for seed in range(max(sizes) if linears else 0):
            bench.sources.append(write_random_adapter(Path(folder) / f"a{seed}", linears, rank=work.rank, seed=seed))
        _forget(Path(folder))
        bench.step("loading the base")
        return run_engine(options, partial(bench.measure, time.monotonic()))


def batch_sizes(batch_max: int) -> tuple[int, ...]:
    """One, a few and many sequences, up to the batch limit."""
    return tuple(dict.fromkeys(min(size, batch_max) for size in BATCHES))


def sequences_that_fit(profile: Profile, num_tokens: int, batch_max: int) -> int:
    """The number of sequences of `num_tokens` that fit in the KV cache and the batch at once."""
    room = profile.num_blocks // blocks_for(num_tokens) if profile.num_blocks else batch_max
    return min(batch_max, room)


@dataclass(slots=True)
class _Bench:
    options: EngineOptions
    work: BenchmarkWork
    sizes: tuple[int, ...]
    report: Report
    sources: list[AdapterSource] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    num_done: int = 0
    names: Iterator[int] = field(default_factory=count)
    draws: random.Random = field(default_factory=lambda: random.Random(0))

    async def measure(self, began_s: float, engine: Engine) -> Figures:
        """Measure all figures of an engine that is ready."""
        start_s, profile = time.monotonic() - began_s, engine.profile
        assert profile is not None, "it is ready"
        self.step("loading adapters")
        for source in [None, *self.sources]:
            await self.time(engine, [source], 1)
        loaded = await _last_beat(engine)
        batches = [await self.batch(engine, size, has) for has in self.kinds for size in self.sizes]
        beat, process_id = await _last_beat(engine), engine.process_id
        on_card = card_bytes(process_id) if process_id and profile.device == "cuda" else None
        return Figures(
            profile=profile,
            start_s=start_s,
            batches=tuple(batches),
            load_ms=loaded.load_ms_median if self.sources else None,
            load_p95_ms=loaded.load_ms_p95 if self.sources else None,
            adapter_bytes=loaded.adapter_bytes // len(loaded.resident) if loaded.resident else None,
            batch_fits=sequences_that_fit(profile, self.work.num_tokens, self.options.settings.batch_max),
            peak_bytes=beat.peak_rss_bytes or None,
            card_bytes=on_card,
            failures=tuple(self.failures),
        )

    @property
    def kinds(self) -> tuple[bool, ...]:
        """Without adapters, and also with them if the base takes any."""
        return (False, True) if self.sources else (False,)

    async def batch(self, engine: Engine, size: int, has_adapters: bool) -> BatchFigures:
        """Run ROUNDS rounds and return the one of median speed."""
        rounds = []
        for _ in range(ROUNDS):
            self.step(f"a batch of {size}{', each on its own adapter' if has_adapters else ''}")
            sources: Items[AdapterSource | None] = self.sources[:size] if has_adapters else [None] * size
            rounds.append(await self.time(engine, sources, self.work.answer_tokens))
        rounds.sort(key=lambda timing: timing.tokens_per_s)
        middle = rounds[len(rounds) // 2]
        first_ms = sorted(1000 * one for one in middle.first_s) or [0.0]
        return BatchFigures(
            batch=size,
            adapters=size if has_adapters else 0,
            tokens_per_s=middle.tokens_per_s,
            ttft_ms=statistics.median(first_ms),
            ttft_p95_ms=first_ms[min(len(first_ms) - 1, int(TTFT_SHARE * len(first_ms)))],
            step_ms=step_ms(middle),
        )

    async def time(
        self,
        engine: Engine,
        sources: Items[AdapterSource | None],
        answer_tokens: int,
    ) -> Timing:
        """Submit fresh prompts, all at once, and time them."""
        assert engine.profile is not None, "it is ready"
        sampling = SamplingParams(max_tokens=answer_tokens, seed=0, temperature=0.0)
        commands = [
            Submit(
                sequence_id=f"benchmark-{next(self.names)}",
                prompt_ids=tuple(self.draws.choices(range(engine.profile.vocab_size), k=self.work.prompt_tokens)),
                sampling=sampling,
                adapter=source,
            )
            for source in sources
        ]
        timing = await time_sequences(engine, commands)
        self.failures += timing.failures
        return timing

    def step(self, what: str) -> None:
        """Report that the next step begins."""
        num_steps = 3 + len(self.kinds) * len(self.sizes) * ROUNDS
        self.report(what, self.num_done, num_steps)
        self.num_done += 1


def step_ms(timing: Timing) -> float:
    """Milliseconds between two tokens of an answer, median; 0 if no answer has two."""
    return 1000 * statistics.median(timing.gaps_s) if timing.gaps_s else 0.0


async def _last_beat(engine: Engine) -> Beat:
    await trio.sleep(LAST_BEAT_S)
    return engine.beat


def _cache_beside(options: EngineOptions, folder: Path) -> EngineOptions:
    """Link to the engine's cache, but keep the benchmark's packed adapters in `folder`."""
    cache = folder / "cache"
    cache.mkdir()
    if options.settings.cache_folder and (kept := Path(options.settings.cache_folder)).is_dir():
        for entry in kept.iterdir():
            if entry.name != PACKED_ADAPTERS:
                (cache / entry.name).symlink_to(entry)
    return replace(options, pinned=(), settings=replace(options.settings, cache_folder=str(cache)))


def _forget(folder: Path) -> None:
    """Drop the files that were just written from the page cache, so that they are read from the disk."""
    for file in folder.rglob("*.safetensors"):
        with file.open("rb") as stream:
            os.fsync(stream.fileno())
            if hasattr(os, "posix_fadvise"):  # not on every system
                os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def run_engine(options: EngineOptions, work: Callable[[Engine], Awaitable[Result]]) -> Result:
    """Start an engine, run `work` with it once it is ready, and end it.

    Raises:
        ModelError: the backend can't be opened.
    """
    try:
        return trio.run(_run_with, options, work)
    except BaseExceptionGroup as group:
        failure: BaseException = group
        while isinstance(failure, BaseExceptionGroup):
            failure = failure.exceptions[0]  # the other task was cancelled because of it
        raise failure from group


async def _run_with(options: EngineOptions, work: Callable[[Engine], Awaitable[Result]]) -> Result:
    engine = Engine(options)
    async with trio.open_nursery() as nursery:
        await nursery.start(engine.run)
        result = await work(engine)
        nursery.cancel_scope.cancel()
    return result


async def time_sequences(engine: Engine, commands: Items[Submit]) -> Timing:
    """Submit all sequences and wait until each has ended."""
    timing, began_s = Timing(), trio.current_time()
    async with trio.open_nursery() as nursery:
        for command in commands:
            nursery.start_soon(_follow, engine, command, timing, began_s)
    timing.wall_s = trio.current_time() - began_s
    return timing


async def _follow(engine: Engine, command: Submit, timing: Timing, began_s: float) -> None:
    last_s = None
    async for outcome in engine.submit(command):
        now_s = trio.current_time()
        match outcome:
            case EngineChunk():
                timing.num_tokens += len(outcome.ids)
                if last_s is None:
                    timing.first_s.append(now_s - began_s)
                else:
                    timing.gaps_s.append(now_s - last_s)
                last_s = now_s
            case Finished():
                pass
            case other:
                timing.failures.append(getattr(other, "message", "the engine died under it"))
