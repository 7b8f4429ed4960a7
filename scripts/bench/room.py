"""The node's own engine at work: batches, traffic over many adapters, cold adapters, a neighbour."""

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from collections.abc import Sequence as Items
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from typing import Any

import trio
from bars import percentile
from cold_files import files_below, forget
from field import Setting
from quiet import Samples, gather
from work import FULL, RANKS, draw_zipf, folder_of

from openledger_node.engine.backend import BackendSettings
from openledger_node.engine.engine import Engine, EngineOptions
from openledger_node.engine.frames import Submit
from openledger_node.engine.stopwatch import Timing, time_sequences
from openledger_node.machine import resident_bytes
from openledger_node.models.adapter_source import AdapterSource
from openledger_protocol.codec import sha256_digest
from openledger_protocol.inference import SamplingParams

NEIGHBOUR = "while True: pass"
STALL_TIMEOUT_S = 120.0
FEW_REGISTERED = 8

BASE_DIGEST = sha256_digest(b"the benchmark's base")
"""Under this the verdicts of probes are kept from engine to engine."""

POOL_BATCHES = 3

LAST_BEAT_S = 0.3
"""An idle engine reports its figures again, which arrive within this time after the last answer."""

CALM_WITHIN_S = 120.0
"""The engine chooses its wait policy by the load at its start, so our own load must have gone by then."""

CALM_POLL_S = 2.0


@dataclass(slots=True, kw_only=True)
class Engines:
    """Samples and figures."""

    samples: dict[str, Samples] = field(default_factory=dict)
    starts: list[dict[str, Any]] = field(default_factory=list)
    memory: dict[str, Any] = field(default_factory=dict)
    kernel: str = ""

    def median(self, name: str, field: str) -> float | None:
        """The median of one figure of a case."""
        return self.samples[name].median(lambda one: one[field]) if name in self.samples else None

    def why(self, *names: str) -> str:
        """The reason for which a case has no figure."""
        missing = [name for name in names if name not in self.samples or not self.samples[name].kept]
        return f"no sample of {', '.join(missing)} was undisturbed" if missing else ""


class Room:
    """One engine at work."""

    def __init__(self, setting: Setting, found: Engines, others_max: float, cached: float) -> None:
        self.setting = setting
        self.found = found
        self._others_max = others_max
        self._numbers = count()
        files = [files_below(folder_of(source)) for source in setting.sources[:2]]
        mean = statistics.mean(sum(file.stat().st_size for file in each) for each in files)
        self.budget_bytes = int(cached * mean)
        self.options = options_of(setting, self.budget_bytes)
        self.began_s = 0.0

    @property
    def process_id(self) -> int:
        """Of the engine."""
        assert self._engine.process_id is not None, "it runs"
        return self._engine.process_id

    def enter(self, engine: Engine) -> None:
        """Work with this engine, which is ready."""
        self._engine = engine
        assert engine.profile is not None, "it is ready"
        self.found.kernel = engine.profile.kernel

    def note_start(self) -> None:
        """Record the time until the engine was ready, and its memory."""
        start_s, profile = time.monotonic() - self.began_s, self._engine.profile
        assert profile is not None, "it is ready"
        rss = resident_bytes(self.process_id)
        self.found.starts.append({"start_s": round(start_s, 2), "rss_bytes": rss, "base_bytes": profile.base_bytes})

    async def gather(self, cases: dict[str, Callable[[], Awaitable[dict[str, Any]]]]) -> None:
        """Sample all cases in turn; each runs in this trio thread, where the engine's client lives."""
        in_thread = {name: partial(trio.from_thread.run, case) for name, case in cases.items()}
        work = partial(
            gather, in_thread, self.setting.shape.samples, others_max=self._others_max, say=self.setting.say
        )
        self.found.samples |= await trio.to_thread.run_sync(work)

    async def batch(self, adapters: Items[AdapterSource | None], answer_tokens: int | None = None) -> dict[str, Any]:
        """A batch of fresh prompts, all at once."""
        return summary(await self._time(adapters, answer_tokens))

    async def warm(self, adapters: list[AdapterSource | None]) -> dict[str, Any]:
        """A batch whose adapters are all on the device."""
        await self.touch([source for source in adapters if source])
        return await self.batch(adapters)

    async def beside_neighbour(self, adapters: list[AdapterSource | None]) -> dict[str, Any]:
        """A warm batch while another process uses one core."""
        await self.touch([source for source in adapters if source])
        with neighbour():
            return await self.batch(adapters)

    async def all_cold(self) -> dict[str, Any]:
        """A batch whose adapters are all only on the disk."""
        return await self.batch(await self._not_here(self.setting.shape.batch))

    async def lone_cold(self) -> dict[str, Any]:
        """Requests one after the other, each with an adapter that is only on the disk."""
        return await self.lone(self.of_one_rank(await self._not_here(len(self.pool))))

    async def lone(self, adapters: Items[AdapterSource | None]) -> dict[str, Any]:
        """Requests one after the other, with one token each."""
        times = []
        for source in adapters:
            forget(files_below(folder_of(source), self.options.settings.cache_folder if source else None))
            times.append((await self._time([source], 1)).wall_s)
        return {"first_s": statistics.median(times)}

    async def touch(self, sources: list[AdapterSource]) -> None:
        """Load each adapter once, so that its one-time work is done."""
        await self._time(sources, 1)

    async def traffic(self, registered: int) -> dict[str, Any]:
        """Zipf traffic over a number of adapters."""
        return await self.replay(self.draw(registered))

    def draw(self, registered: int) -> list[AdapterSource]:
        """The adapters of two rounds of requests, by Zipf's law."""
        drawn = draw_zipf(registered, 2 * self.setting.shape.requests, seed=next(self._numbers))
        return [self.setting.sources[one] for one in drawn]

    async def replay(self, drawn: list[AdapterSource]) -> dict[str, Any]:
        """Traffic over these adapters: the first half fills the cache, and the second is timed."""
        requests = len(drawn) // 2
        await self._time(drawn[:requests], None)
        before = await self._figures()
        timing = await self._time(drawn[requests:], None)
        after = await self._figures()
        counted = {name: after[name] - before[name] for name in ("num_hits", "num_misses", "num_loads")}
        loads = {name: after[name] for name in ("load_ms_median", "load_ms_p95", "adapter_bytes")}
        return {**summary(timing), **counted, **loads, "resident": len(self._engine.beat.resident)}

    async def memory(self, before: int) -> dict[str, Any]:
        """Memory that adapters took, their budget, and the peak of the process."""
        figures = await self._figures()
        return {
            "budget_bytes": self.budget_bytes,
            "adapter_bytes": figures["adapter_bytes"],
            "rss_before_bytes": before,
            "rss_after_bytes": resident_bytes(self.process_id),
            "peak_rss_bytes": figures["peak_rss_bytes"],
        }

    async def _figures(self) -> dict[str, Any]:
        await trio.sleep(LAST_BEAT_S)
        beat = self._engine.beat
        return {name: getattr(beat, name) for name in BEAT_FIELDS}

    def of_one_rank(self, sources: list[AdapterSource]) -> list[AdapterSource]:
        """A few adapters of the first rank, so that loads have one size."""
        firsts = {source.id for source in self.setting.sources[:: len(RANKS)]}
        return [source for source in sources if source.id in firsts][:FEW_REGISTERED]

    @property
    def pool(self) -> list[AdapterSource]:
        """Enough adapters that some are always cold, since fewer fit."""
        return self.setting.sources[-POOL_BATCHES * self.setting.shape.batch :]

    async def _not_here(self, many: int) -> list[AdapterSource]:
        """Adapters that were evicted from the device; their files are dropped from the page cache."""
        await self._figures()
        resident = set(self._engine.beat.resident)
        absent = [source for source in self.pool if source.id not in resident][:many]
        forget(files_below(*map(folder_of, absent), self.options.settings.cache_folder))
        return absent

    async def _time(self, adapters: Items[AdapterSource | None], answer_tokens: int | None) -> Timing:
        sampling = SamplingParams(
            max_tokens=answer_tokens or self.setting.shape.answer_tokens, seed=0, temperature=0.0
        )
        prompts = self.setting.prompts.draw(len(adapters))
        commands = [
            Submit(
                sequence_id=f"b{next(self._numbers)}", prompt_ids=tuple(prompt.ids), sampling=sampling, adapter=source
            )
            for prompt, source in zip(prompts, adapters, strict=True)
        ]
        return await time_sequences(self._engine, commands)


BEAT_FIELDS = (
    "num_hits",
    "num_misses",
    "num_loads",
    "load_ms_median",
    "load_ms_p95",
    "adapter_bytes",
    "peak_rss_bytes",
)


def options_of(setting: Setting, adapter_cache_bytes: int) -> EngineOptions:
    """Open the engine as a daemon would on this base, with the shape's batch and context."""
    return EngineOptions(
        backend="torch_lora",
        settings=BackendSettings(
            base_folder=str(setting.base),
            device="cpu",
            dtype="bfloat16",
            threads=setting.threads,
            batch_max=setting.shape.batch,
            context_max=setting.shape.context,
            cache_folder=str(setting.scratch / "engine-packed"),
        ),
        prefill_tokens_max=512,
        adapter_cache_bytes=adapter_cache_bytes,
        stall_timeout_s=STALL_TIMEOUT_S,
        wait_policy="auto",
        log_file=setting.scratch / "engine.log",
        base_digest=BASE_DIGEST,
    )


def wait_until_calm(setting: Setting) -> None:
    """Wait until the load average has fallen; the short form does not."""
    deadline_s = time.monotonic() + (CALM_WITHIN_S if setting.shape == FULL else 0)
    while os.getloadavg()[0] >= (os.cpu_count() or 1) / 2 and time.monotonic() < deadline_s:
        time.sleep(CALM_POLL_S)


@contextmanager
def neighbour() -> Iterator[None]:
    """A process that uses one core."""
    process = subprocess.Popen([sys.executable, "-c", NEIGHBOUR])
    try:
        yield
    finally:
        process.kill()
        process.wait()


def summary(timing: Timing) -> dict[str, Any]:
    return {
        "tokens_per_s": timing.tokens_per_s,
        "ttft_p95_s": percentile(timing.first_s) if timing.first_s else None,
        "gap_s": statistics.median(timing.gaps_s) if timing.gaps_s else 0.0,
        "longest_gap_s": max(timing.gaps_s, default=0.0),
        "tokens": timing.num_tokens,
        "wall_s": timing.wall_s,
        "failures": timing.failures,
    }
