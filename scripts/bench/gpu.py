"""The GPU path on the card of this machine, in a few minutes, from nothing: right answers, timings and memory.

Bases are random numbers in the shapes of Llama-3.1-8B and Qwen3-4B, and adapters are random numbers of rank 16 and 8,
so nothing has to be downloaded. A bar that this card is too small for is null with the reason. `--json` prints one
object on the last line. `--quick` runs all of it on a tiny base, also without a card; its figures mean nothing.
"""

import argparse
import gc
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

sys.path.append(str(Path(__file__).resolve().parent / "players"))

import numpy as np
import torch
from bars import Bar, bar, environment, show_bars
from drive import Run, run_batch
from random_base import open_backend, random_weights, write_base

from openledger_node.backends.device_facts import DeviceFacts, device_facts
from openledger_node.backends.torch_lora.loading import load_weights
from openledger_node.backends.torch_lora.placement import Placement, choose_dtype
from openledger_node.backends.torch_lora.selfcheck import check_device
from openledger_node.card import find_card
from openledger_node.config import InferenceConfig
from openledger_node.engine.backend import Backend, BackendSettings
from openledger_node.engine.budget import PLAN_RANK, plan_memory
from openledger_node.engine.memory_plan import adapter_bytes_of, decode_bytes, token_bytes_of
from openledger_node.errors import ConfigError, NodeError
from openledger_node.models.adapter_files.random_adapter import read_linears, write_random_adapter
from openledger_node.models.adapter_source import AdapterSource
from openledger_node.models.decoder_config import DecoderConfig, read_config

SCHEMA: Final = "openledger.bench_gpu/2"
NO_CARD: Final = (
    "this needs a card that torch can use, and there is none: `openledger-node doctor` says why. `--quick` runs the "
    "benchmark itself on a tiny base without one"
)
GIB: Final = 1 << 30
HALF_BYTES: Final = 2
ARENA_MARGIN_BYTES: Final = 16 << 20

BARS: Final[dict[str, tuple[Any, ...]]] = {
    "g0_self_check": ("ratio", 1, None, "higher"),
    "g0_greedy_as_cpu": ("ratio", 1, None, "higher"),
    "g2_load_peak": ("GB", 1.0, 0.5, "lower"),
    "g4_step_over_floor": ("ratio", 1.6, 1.35, "lower"),
    "g6_over_own_base": ("ratio", 0.80, 0.88, "higher"),
    "g8_roofline": ("ratio", 0.65, 0.80, "higher"),
    "g8_over_wide": ("ratio", 1.8, 2.5, "higher"),
    "g10_idle": ("ms", 0.5, 0.2, "lower"),
}
"""Unit, goal, stretch goal, and which direction is better."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """The amount of work."""

    wide: tuple[str, ...]  # shapes of bases that are served as they are; the first that fits counts
    narrow: str  # the shape that is served in int4
    batch: int
    prompt_tokens: int
    answer_tokens: int
    samples: int
    ranks: tuple[int, int]  # of the adapters of a batch, in turns

    @property
    def context(self) -> int:
        """Tokens of a prompt and its answer."""
        return self.prompt_tokens + self.answer_tokens


FULL: Final = Work(
    wide=("llama-3.1-8b", "qwen3-4b"),
    narrow="llama-3.1-8b",
    batch=32,
    prompt_tokens=64,
    answer_tokens=33,
    samples=3,
    ranks=(16, 8),
)
QUICK: Final = Work(wide=("tiny",), narrow="tiny", batch=2, prompt_tokens=3, answer_tokens=2, samples=1, ranks=(4, 2))


@dataclass(slots=True)
class Bench:
    """The machine, its bases, and the bars that were measured so far."""

    device: str
    work: Work
    scratch: Path
    facts: DeviceFacts
    values: dict[str, float] = field(default_factory=dict)
    whys: dict[str, str] = field(default_factory=dict)
    runs: dict[str, Any] = field(default_factory=dict)
    draws: np.random.Generator = field(default_factory=lambda: np.random.default_rng(7))

    @property
    def threads(self) -> int:
        """Threads on the host."""
        return 1 if self.work is QUICK else os.cpu_count() or 1

    def note(self, name: str, value: float, why: str = "") -> None:
        """Record a bar's value, with a remark."""
        self.values[name] = value
        self.whys[name] = why

    def base(self, shape: str) -> Path:
        """The folder of a base of this shape."""
        folder = self.scratch / shape
        return folder if folder.exists() else write_base(folder, shape)

    def adapters(self, shape: str) -> list[AdapterSource]:
        """Adapters of two ranks on all linear maps, one for each row of a batch."""
        linears, ranks = read_linears(self.base(shape)), self.work.ranks
        folder = self.scratch / f"adapters-{shape}"
        return [
            write_random_adapter(folder / str(number), linears, rank=ranks[number % 2], seed=number)
            for number in range(self.work.batch)
        ]

    def open(self, shape: str, **changes: Any) -> "Opened":
        """Open a backend in this process on a base of this shape."""
        usual: dict[str, Any] = {
            "base_folder": str(self.base(shape)),
            "device": self.device,
            "dtype": "auto",
            "threads": self.threads,
            "batch_max": self.work.batch,
            "context_max": 2 * self.work.context,
            "acceleration": "auto",
        }
        settings = BackendSettings(**{**usual, **changes})
        return Opened(self, open_backend(settings), read_config(self.base(shape)))


@dataclass(slots=True)
class Opened:
    """One open backend."""

    bench: Bench
    backend: Backend
    config: DecoderConfig

    def load(self, sources: Sequence[AdapterSource]) -> None:
        """Read adapters, and bring them to the device."""
        for source in sources:
            self.backend.load_adapter(source.id, self.backend.read_adapter(source))

    def run(self, sources: Sequence[AdapterSource | None]) -> Run:
        """One batch of fresh prompts, each on its adapter."""
        work, size = self.bench.work, self.config.vocab_size
        prompts = self.bench.draws.integers(1, size, (len(sources), work.prompt_tokens)).tolist()
        return run_batch(self.backend, prompts, sources, work.answer_tokens)

    def step_s(self, sources: Sequence[AdapterSource | None]) -> float:
        """The median decode step of some batches, after one that warms up."""
        self.run(sources)
        return statistics.median(s for _ in range(self.bench.work.samples) for s in self.run(sources).steps_s)

    def floor_s(self, rows: int) -> float:
        """The time in which the card copies the bytes that a decode step of the bare base has to read."""
        profile, work = self.backend.profile, self.bench.work
        read_bytes = decode_bytes(
            self.config,
            profile.quantisation,
            getattr(torch, profile.dtype).itemsize,
            base_bytes=profile.base_bytes,
            cached=rows * (work.prompt_tokens + work.answer_tokens // 2),
        )
        return read_bytes / self.bench.facts.bytes_per_s

    def idle_ms(self) -> float | None:
        """Milliseconds a decode step during which the card computes nothing; None if no profiler sees it."""
        sources: list[AdapterSource | None] = [None] * self.bench.work.batch
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


def idle_ms(spans: list[tuple[float, float]], decode_s: float) -> float:
    """Milliseconds between the spans (µs, sorted) in which a device worked, in the last `decode_s` of them."""
    begin = spans[-1][1] - 1e6 * decode_s
    busy, reached = 0.0, begin
    for first, last in spans:
        busy += max(0.0, last - max(first, reached))
        reached = max(reached, last)
    return max(0.0, (spans[-1][1] - begin - busy) / 1000)


# ---- G0: right answers


def exact_part(bench: Bench) -> None:
    """The self-check in every number format, and greedy answers on mixed adapters beside the CPU's in float32."""
    best = choose_dtype("auto", bench.device, torch.cuda.get_device_capability() if bench.device == "cuda" else None)
    formats = list(dict.fromkeys(["float32", "float16", str(best).removeprefix("torch.")]))
    kernels = {name: kernel_of(bench, name) for name in formats}
    bench.note("g0_self_check", sum(each == "triton" for each in kernels.values()) / len(formats), str(kernels))
    sources, answers = bench.adapters("tiny"), []
    for device in ("cpu", bench.device):
        bench.draws = np.random.default_rng(7)  # the same prompts for both
        acceleration = "off" if device == "cpu" else "auto"
        opened = bench.open("tiny", device=device, dtype="float32", acceleration=acceleration)
        opened.load(sources)
        answers.append([drawn.token for row in opened.run(sources).drawn for drawn in row])
    equal = [one == other for one, other in zip(*answers, strict=True)]
    bench.note("g0_greedy_as_cpu", sum(equal) / len(equal))


def kernel_of(bench: Bench, dtype: str) -> str:
    """The kernel that serves in this format after the self-checks, or the reason why none does."""
    try:
        check_device(Placement(torch.device(bench.device), getattr(torch, dtype)))
        return bench.open("tiny", dtype=dtype).backend.profile.kernel
    except NodeError as error:
        return str(error)


# ---- G4, G6 and G10: decoding on a base as it is


def wide_part(bench: Bench) -> None:
    """The decode step of a whole batch: bare, and with another adapter for each row."""
    work = bench.work
    shape = next((name for name in work.wide if does_fit(bench, name, "none", work.batch)), None)
    if shape is None:
        raise ConfigError(f"no base of {', '.join(work.wide)} fits this card with {work.batch} adapters")
    opened = bench.open(shape, adapter_bytes=arena_bytes(read_config(bench.base(shape)), work.batch))
    bare: list[AdapterSource | None] = [None] * work.batch
    lone_s, base_s = opened.step_s(bare[:1]), opened.step_s(bare)
    bench.note("g4_step_over_floor", base_s / opened.floor_s(work.batch), f"on {shape}")
    idle = opened.idle_ms()
    if idle is None:
        bench.whys["g10_idle"] = "torch's profiler sees no card"
    else:
        bench.note("g10_idle", idle, f"on {shape}")
    sources = bench.adapters(shape)
    opened.load(sources)
    lora_s = opened.step_s(sources)
    bench.note("g6_over_own_base", base_s / lora_s, f"on {shape}")
    steps = {"lone": lone_s, "base": base_s, "adapters": lora_s}
    bench.runs["decode"] = {"shape": shape, "kernel": opened.backend.profile.kernel, "steps_s": steps}


# ---- G2 and G8: a base in int4


def narrow_part(bench: Bench) -> None:
    """The peak of the load, and the decode step of one row."""
    shape = bench.work.narrow
    if not does_fit(bench, shape, "int4"):
        raise ConfigError(f"{shape} in int4 does not fit this card")
    load_peak(bench, shape)
    adapter_bytes = arena_bytes(read_config(bench.base(shape)), 1)
    opened = bench.open(shape, quantisation="int4", adapter_bytes=adapter_bytes)
    lone_s = opened.step_s([None])
    bench.runs["narrow_step_s"] = lone_s
    bench.note("g8_roofline", opened.floor_s(1) / lone_s)
    decode = bench.runs.get("decode", {})
    if decode.get("shape") == shape:
        bench.note("g8_over_wide", decode["steps_s"]["lone"] / lone_s)
    else:
        bench.whys["g8_over_wide"] = f"{shape} as it is does not fit this card"


def load_peak(bench: Bench, shape: str) -> None:
    """The memory that a load takes beside what it leaves."""
    if bench.device != "cuda":
        bench.whys["g2_load_peak"] = "there is no card whose memory counts"
        return
    device, config = torch.device(bench.device), read_config(bench.base(shape))
    dtype = choose_dtype("auto", bench.device, torch.cuda.get_device_capability())
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    with random_weights():
        weights = load_weights(bench.base(shape), config, Placement(device, dtype), "int4", None)
    final = torch.cuda.memory_allocated()
    bench.note("g2_load_peak", (torch.cuda.max_memory_allocated() - final) / 1e9)
    bench.runs["load"] = {"final_bytes": final - before, "weights_bytes": weights.size_bytes}


def does_fit(bench: Bench, shape: str, quantisation: str, num_adapters: int = 0) -> bool:
    """True if the whole card has room for a base, a batch of it, and so many adapters of rank 16."""
    config, work = read_config(bench.base(shape)), bench.work
    inference = InferenceConfig(
        quantisation=quantisation,
        batch_max=work.batch,
        context_max=2 * work.context,
        adapter_cache_bytes=max(GIB, arena_bytes(config, num_adapters)),
        kv_cache_bytes=work.batch * 2 * work.context * token_bytes_of(config, HALF_BYTES),
    )
    room = (bench.facts.total_bytes or 8 * GIB) - GIB
    try:
        plan = plan_memory(config, inference, cap_bytes=room, on_gpu=True, has_kernels=True)
    except ConfigError:
        return False
    return plan.num_adapters >= num_adapters and plan.kv_tokens >= work.batch * 2 * work.context


def arena_bytes(config: DecoderConfig, num_adapters: int) -> int:
    """Room for adapters of rank 16, with a margin: each of their parts begins at a round address."""
    return ARENA_MARGIN_BYTES + num_adapters * adapter_bytes_of(config, PLAN_RANK, HALF_BYTES)


# ---- the run

PARTS: Final[dict[str, tuple[Callable[[Bench], None], tuple[str, ...]]]] = {
    "exact": (exact_part, ("g0",)),
    "wide": (wide_part, ("g4", "g6", "g10")),
    "narrow": (narrow_part, ("g2", "g8")),
}
"""Each part, and the beginnings of its bars' names."""


def measure(bench: Bench) -> dict[str, Any]:
    """Measure all parts. If one fails, its bars are null with the reason, and the others are measured."""
    load, began_s = os.getloadavg()[0], time.monotonic()
    for name, (part, prefixes) in PARTS.items():
        try:
            part(bench)
        except Exception as error:  # the other parts are worth their minutes whatever this one met
            why = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
            bench.whys |= {id: why for id in BARS if id.startswith(prefixes) and id not in bench.values}
        print(f"{name}: {time.monotonic() - began_s:.0f} s", flush=True)
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
    card = find_card(0)
    env = environment(load, bench.threads, card={**asdict(bench.facts), "driver": card.driver if card else ""})
    bars = [bar_of(id, bench) for id in BARS]
    return {
        "schema": SCHEMA,
        "bench": "gpu",
        "quick": bench.work is QUICK,
        "bars": bars,
        "env": env,
        "runs": bench.runs,
    }


def bar_of(id: str, bench: Bench) -> Bar:
    """One bar."""
    unit, goal, stretch, better = BARS[id]
    value, why = bench.values.get(id), bench.whys.get(id, "")
    return bar(id, value, unit, goal, stretch, better=better, why=why if value is not None else f"NOT TESTED: {why}")


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one JSON object on the last line")
    parser.add_argument("--quick", action="store_true", help="the short form, which needs no card")
    words = parser.parse_args()
    if not (torch.cuda.is_available() or words.quick):
        raise SystemExit(NO_CARD)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cpu" and find_spec("triton"):
        os.environ["TRITON_INTERPRET"] = "1"  # the path of a card, slowly
    with tempfile.TemporaryDirectory() as folder:
        found = measure(Bench(device, QUICK if words.quick else FULL, Path(folder), device_facts(device)))
    show_bars(f"GPU: {found['env']['card']['name'] or 'no card, so these figures mean nothing'}", found["bars"])
    if words.json:
        print(json.dumps(found))


if __name__ == "__main__":
    main()
