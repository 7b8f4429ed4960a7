"""The GPU's bars (G0 to G12 of the engine's design) on the card of this machine, in ten minutes, from nothing.

Bases are random numbers in the shapes of Llama-3.1-8B and Qwen3-4B, adapters are random numbers of rank 16 and 8, so
nothing has to be downloaded. A bar that this card is too small for, or whose peer is not installed, is null with the
reason. `--json` prints one object on the last line. `--quick` runs all of it on a tiny base, also without a card; its
figures mean nothing.
"""

import argparse
import gc
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

sys.path.append(str(Path(__file__).resolve().parent / "players"))

import torch
from bars import Bar, bar, environment, show_bars
from contender import Contender
from gpu_cases import CONVERSATION, FULL, QUICK, Bench, Work, write_even, write_mixed
from gpu_engine import AtCap, CardWatch, measure_at_cap, options_at_cap
from quiet import PlayerError
from random_base import install_plug, open_backend, random_weights, write_base
from work import folder_of

from openledger_node.backends.device_facts import DeviceFacts, device_facts
from openledger_node.backends.torch_lora.loading import load_weights
from openledger_node.backends.torch_lora.placement import Placement, choose_dtype
from openledger_node.backends.torch_lora.selfcheck import check_device
from openledger_node.card import find_card
from openledger_node.config import InferenceConfig
from openledger_node.engine.backend import BLOCK_TOKENS, Backend, BackendSettings
from openledger_node.engine.budget import PLAN_RANK, MemoryPlan, fit, plan_memory
from openledger_node.engine.memory_plan import adapter_bytes_of, memory_needs, token_bytes_of
from openledger_node.errors import ConfigError, NodeError
from openledger_node.models.adapter_files.random_adapter import read_linears
from openledger_node.models.adapter_source import AdapterSource
from openledger_node.models.decoder_config import DecoderConfig, read_config

SCHEMA: Final = "openledger.bench_gpu/1"
GIB: Final = 1 << 30

CAP_BYTES: Final = 7 * GIB
"""The owner's cap in the run at a cap: a card of 8 GiB, of which a desktop has one."""

CAPPED_ADAPTERS: Final = 8
CAPPED_CONTEXT: Final = 2048
PLANNED_TOKENS_MAX, PLANNED_STEP = 65_536, 256
HALF_BYTES: Final = 2
PEERS: Final = ("peft", "vllm")
NO_CARD: Final = (
    "this needs a card that torch can use, and there is none: `openledger-node doctor` says why. `--quick` runs the "
    "benchmark itself on a tiny base without one"
)

BARS: Final[dict[str, tuple[Any, ...]]] = {
    "g0_self_check": ("ratio", 1, None, "higher"),
    "g0_greedy_as_cpu": ("ratio", 1, None, "higher"),
    "g1_kernels": ("", 1, None, "higher"),
    "g2_load_peak": ("GB", 1.0, 0.5, "lower"),
    "g2_over_cap": ("GB", 0, None, "lower"),
    "g2_refusals": ("requests", 0, None, "lower"),
    "g3_planned_kv": ("tokens", 4096, 8192, "higher"),
    "g3_served_kv": ("tokens", 4096, 8192, "higher"),
    "g4_step_over_floor": ("ratio", 1.6, 1.35, "lower"),
    "g5_over_vllm": ("ratio", 0.90, 1.0, "higher"),
    "g6_over_vllm_lora": ("ratio", 1.0, 1.25, "higher"),
    "g6_over_own_base": ("ratio", 0.80, 0.88, "higher"),
    "g6_over_peft": ("ratio", 20, None, "higher"),
    "g7_shapes_over_one": ("ratio", 0.95, 0.98, "higher"),
    "g8_roofline": ("ratio", 0.65, 0.80, "higher"),
    "g8_over_wide": ("ratio", 1.8, 2.5, "higher"),
    "g9_sampling_cost": ("percent", 5, 2, "lower"),
    "g10_idle": ("ms", 0.5, 0.2, "lower"),
    "g11_others_step": ("ms", 2, 0, "lower"),
    "g11_first_token": ("ms", 40, 20, "lower"),
    "g12_pause": ("s", 2, 1, "lower"),
}
"""Unit, goal, stretch goal, and which direction is better."""

WITHOUT_CARD: Final = {"g1_kernels": "needs no card: `make kernels` compiles them, `make test` interprets them"}


@dataclass(slots=True)
class Run:
    """One run: the machine, the work, and what was found so far."""

    device: str
    work: Work
    scratch: Path
    facts: DeviceFacts
    deadline_s: float
    values: dict[str, float] = field(default_factory=dict)
    whys: dict[str, str] = field(default_factory=dict)
    runs: dict[str, Any] = field(default_factory=dict)
    bases: dict[str, Path] = field(default_factory=dict)
    even: dict[str, list[AdapterSource]] = field(default_factory=dict)

    @property
    def threads(self) -> int:
        """Threads of every contender on the host."""
        return 1 if self.work == QUICK else os.cpu_count() or 1

    def base(self, shape: str) -> Path:
        """The folder of a base of this shape."""
        if shape not in self.bases:
            self.bases[shape] = write_base(self.scratch / shape, shape)
        return self.bases[shape]

    def even_adapters(self, shape: str) -> list[AdapterSource]:
        """Adapters of two ranks for a base of this shape, one for each row of a batch."""
        if shape not in self.even:
            linears = read_linears(self.base(shape))
            self.even[shape] = write_even(self.scratch / f"even-{shape}", linears, self.work.batch, self.work.ranks)
        return self.even[shape]

    def settings(self, shape: str, **changes: Any) -> BackendSettings:
        """Settings of a backend in this process."""
        usual: dict[str, Any] = {
            "base_folder": str(self.base(shape)),
            "device": self.device,
            "dtype": "auto",
            "threads": self.threads,
            "batch_max": self.work.batch,
            "context_max": 2 * self.work.context,
            "acceleration": "auto",
        }
        return BackendSettings(**{**usual, **changes})

    def note(self, name: str, value: float, why: str = "") -> None:
        """Record a bar's value, with a remark."""
        self.values[name] = value
        if why:
            self.whys[name] = why


Part = Callable[[Run], None]


def measure(run: Run, peers: list[str], vllm_python: str | None) -> dict[str, Any]:
    """Measure all parts. If one fails, its bars are null with the reason, and the others are measured."""
    load, began_s = os.getloadavg()[0], time.monotonic()
    parts: dict[str, tuple[Part, tuple[str, ...]]] = {
        "exact": (exact_part, ("g0",)),
        "wide": (wide_part, ("g4", "g6_over_own", "g7", "g9", "g10", "g11")),
        "narrow": (narrow_part, ("g2_load", "g8")),
        "capped": (capped_part, ("g2", "g3", "g12")),
        "peft": (lambda run: peer_part(run, "peft", peers, None), ("g6_over_peft",)),
        "vllm": (lambda run: peer_part(run, "vllm", peers, vllm_python), ("g5", "g6_over_vllm")),
    }
    for name, (part, prefixes) in parts.items():
        if failure := failure_of(part, run):
            run.runs[name] = failure
            run.whys |= {id: failure for id in BARS if id.startswith(prefixes) and id not in run.values}
        print(f"{name}: {time.monotonic() - began_s:.0f} s", flush=True)
        free_memory()
    run.runs["took_s"] = round(time.monotonic() - began_s)
    env = environment(load, run.threads, **card_of(run.facts))
    bars = [bar_of(id, run) for id in BARS]
    return {"schema": SCHEMA, "bench": "gpu", "quick": run.work == QUICK, "bars": bars, "env": env, "runs": run.runs}


def failure_of(part: Part, run: Run) -> str:
    """Run a part, and return the reason if it failed."""
    if time.monotonic() > run.deadline_s:
        return "the time was over"
    try:
        part(run)
    except (NodeError, PlayerError, RuntimeError, OSError) as error:
        return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
    return ""


def bar_of(id: str, run: Run) -> Bar:
    unit, goal, stretch, better = BARS[id]
    value, why = run.values.get(id), run.whys.get(id) or WITHOUT_CARD.get(id, "")
    return bar(id, value, unit, goal, stretch, better=better, why=why if value is not None else f"NOT TESTED: {why}")


# ---- G0: right answers


def exact_part(run: Run) -> None:
    """The self-check in every number format, and greedy answers of mixed adapters beside the CPU's in float32."""
    formats = formats_of(run.device)
    passed = {name: is_right(run, name) for name in formats}
    run.runs["self_check"] = passed
    run.note("g0_self_check", sum(each == "triton" for each in passed.values()) / len(formats), str(passed))
    linears = read_linears(run.base("tiny"))
    sources = write_mixed(run.scratch / "exact", linears, run.work.exact_rows)
    answers = [answers_of(run, sources, device=device) for device in ("cpu", run.device)]
    pairs = [pair for one, other in zip(*answers, strict=True) for pair in zip(one, other, strict=True)]
    run.note("g0_greedy_as_cpu", sum(one == other for one, other in pairs) / len(pairs))


def formats_of(device: str) -> list[str]:
    """The number formats that a device computes in."""
    best = choose_dtype("auto", device, torch.cuda.get_device_capability() if device == "cuda" else None)
    return list(dict.fromkeys(["float32", "float16", str(best).removeprefix("torch.")]))


def is_right(run: Run, dtype: str) -> str:
    """The kernel that serves in this format after the self-checks of both paths, or the reason why none does."""
    try:
        check_device(Placement(torch.device(run.device), getattr(torch, dtype)))
        return open_backend(run.settings("tiny", dtype=dtype)).profile.kernel
    except NodeError as error:
        return str(error)


def answers_of(run: Run, sources: list[AdapterSource], *, device: str) -> list[list[int]]:
    acceleration = "off" if device == "cpu" else "auto"
    batch = max(run.work.batch, len(sources))
    settings = run.settings("tiny", device=device, dtype="float32", acceleration=acceleration, batch_max=batch)
    bench = Bench(open_backend(settings), read_config(run.base("tiny")), run.work)
    bench.load(sources)
    return [[each.token for each in answer] for answer in bench.run(sources).drawn]


# ---- G4, G6, G7, G9 to G11: decoding


def wide_part(run: Run) -> None:
    """A base as it is; on a card that is too small for any, the narrow one stands in."""
    shape = next((name for name in run.work.wide if plan_on(run, name, "none")), None)
    bench = open_bench(run, shape or run.work.narrow, "none" if shape else "int4")
    on = f"on {shape}" if shape else f"on {run.work.narrow} in int4: no wide base fits this card"
    linears = read_linears(run.base(shape or run.work.narrow))
    even = run.even_adapters(shape or run.work.narrow)
    mixed = write_mixed(run.scratch / "mixed", linears, run.work.batch // 2)
    rates = decode_part(run, bench, even, mixed, on)
    run.runs["decode"] |= {"shape": shape, "tokens_per_s": rates}


def decode_part(
    run: Run, bench: Bench, even: list[AdapterSource], mixed: list[AdapterSource], on: str
) -> dict[str, float]:
    """All bars of one open base; returns the tokens per second of whole batches for the peers."""
    work = run.work
    bare: list[AdapterSource | None] = [None] * work.batch
    lone_s, base_s = bench.step_s(bare[:1]), bench.step_s(bare)
    floor_s = bench.step_bytes(work.batch) / run.facts.bytes_per_s
    rates = {"base": bench.tokens_per_s(bare)}
    bench.load(even)
    lora_s = bench.step_s(even)
    rates["adapters"] = bench.tokens_per_s(even)
    alike = even[:: len(work.ranks)]
    alike_s = bench.step_s(alike)
    bench.unload(even)
    bench.load(mixed)
    mixed_s = bench.step_s(mixed)
    bench.unload(mixed)
    steps = {"lone": lone_s, "base": base_s, "lora": lora_s, "alike": alike_s, "mixed": mixed_s, "floor": floor_s}
    run.runs["decode"] = {"on": on, "kernel": bench.backend.profile.kernel, "steps_s": steps}
    run.note("g4_step_over_floor", base_s / floor_s, on)
    run.note("g6_over_own_base", base_s / lora_s, on)
    run.note("g7_shapes_over_one", alike_s / mixed_s, on)
    sampling_part(run, bench)
    late_part(run, bench, even[0])
    idle_ms = bench.gpu_idle_ms()
    if idle_ms is None:
        run.whys["g10_idle"] = "torch's profiler sees no card"
    else:
        run.note("g10_idle", idle_ms, on)
    return rates


def sampling_part(run: Run, bench: Bench) -> None:
    rows: list[AdapterSource | None] = [None] * run.work.chat_batch
    greedy_s, chat_s = bench.step_s(rows), bench.step_s(rows, **CONVERSATION)
    run.note("g9_sampling_cost", 100 * (chat_s / greedy_s - 1))
    run.runs["chat_steps_s"] = {"greedy": greedy_s, "chat": chat_s}


def late_part(run: Run, bench: Bench, source: AdapterSource) -> None:
    bench.late_adapter(source, is_cold=False)  # warms up
    warm_step_s, warm_first_s = bench.late_adapter(source, is_cold=False)
    cold_step_s, cold_first_s = bench.late_adapter(source, is_cold=True)
    megabytes = f"an adapter of {bench.adapters[source.id].size_bytes / 1e6:.0f} MB"
    run.note("g11_others_step", 1000 * max(0.0, cold_step_s - warm_step_s), megabytes)
    run.note("g11_first_token", 1000 * max(0.0, cold_first_s - warm_first_s), megabytes)


# ---- G8, and the load of G2: a narrow base


def narrow_part(run: Run) -> None:
    """The narrow base alone: the peak of its load, and its decode step for one row."""
    shape = run.work.narrow
    if not plan_on(run, shape, "int4"):
        raise ConfigError(f"{shape} in int4 does not fit this card")
    load_peak(run, shape)
    bench = open_bench(run, shape, "int4")
    lone_s = bench.step_s([None])
    run.note("g8_roofline", bench.step_bytes(1) / run.facts.bytes_per_s / lone_s)
    run.runs["narrow_step_s"] = lone_s
    decode = run.runs.get("decode") or {}
    if isinstance(decode, dict) and decode.get("shape") == shape:
        run.note("g8_over_wide", decode["steps_s"]["lone"] / lone_s)
    else:
        run.whys["g8_over_wide"] = f"{shape} as it is does not fit this card"


def load_peak(run: Run, shape: str) -> None:
    if run.device != "cuda":
        run.whys["g2_load_peak"] = "there is no card whose memory counts"
        return
    device = torch.device(run.device)
    dtype = choose_dtype("auto", run.device, torch.cuda.get_device_capability())
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    with random_weights():
        weights = load_weights(run.base(shape), read_config(run.base(shape)), Placement(device, dtype), "int4", None)
    final = torch.cuda.memory_allocated()
    run.note("g2_load_peak", (torch.cuda.max_memory_allocated() - final) / 1e9)
    run.runs["load"] = {"final_bytes": final - before, "weights_bytes": weights.size_bytes}


# ---- G2, G3 and G12: the engine's own process at a memory cap


def capped_part(run: Run) -> None:
    """Plan a card of 8 GB, serve on it what the plan says, and pause."""
    shape, work = run.work.narrow, run.work
    config = read_config(run.base(shape))
    plan, inference = largest_plan(config, work.batch)
    run.note("g3_planned_kv", plan.kv_tokens if plan else 0, f"beside {CAPPED_ADAPTERS} adapters of rank {PLAN_RANK}")
    needs = memory_needs(config, inference, is_on_gpu=True, number_bytes=2)
    wanted = run.settings(
        shape, quantisation="int4", context_max=inference.context_max, kv_cache_bytes=inference.kv_cache_bytes
    )
    settings, adapter_bytes = fit(wanted, inference.adapter_cache_bytes, cap_bytes=CAP_BYTES, needs=needs)
    if run.device == "cpu":  # no cap holds there, and the interpreter would take a minute for the adapters' probes
        settings, adapter_bytes = replace(wanted, acceleration="off"), 1 << 20
    os.environ |= install_plug(run.scratch / "plug")
    options = options_at_cap(settings, run.scratch, adapter_bytes)
    found = measure_at_cap(options, work, run.even_adapters(shape), CardWatch(run.device))
    note_capped(run, found)


def largest_plan(config: DecoderConfig, batch: int) -> tuple[MemoryPlan | None, InferenceConfig]:
    """The plan with the most tokens of KV cache that leaves room for some adapters at the cap, and its settings."""
    adapters = CAPPED_ADAPTERS * adapter_bytes_of(config, PLAN_RANK, HALF_BYTES)
    usual = InferenceConfig(
        quantisation="int4", batch_max=batch, context_max=CAPPED_CONTEXT, adapter_cache_bytes=adapters
    )
    for num_tokens in range(PLANNED_TOKENS_MAX, 0, -PLANNED_STEP):
        inference = replace(usual, kv_cache_bytes=num_tokens * token_bytes_of(config, HALF_BYTES))
        plan = plan_memory(config, inference, cap_bytes=CAP_BYTES, on_gpu=True)
        if plan.num_adapters >= CAPPED_ADAPTERS and plan.kv_tokens >= num_tokens:
            return plan, inference
    return None, usual


def note_capped(run: Run, found: AtCap) -> None:
    sent = f"{found.num_requests:,} requests"
    run.note("g2_over_cap", max(0, found.taken_bytes - CAP_BYTES) / 1e9, f"of {CAP_BYTES / GIB:.0f} GiB, {sent}")
    run.note("g2_refusals", len(found.refusals), sent)
    run.note(
        "g3_served_kv",
        found.profile.num_blocks * BLOCK_TOKENS,
        f"{found.profile.kernel}, {found.profile.quantisation}",
    )
    if found.pause_s is None:
        run.whys["g12_pause"] = "the memory was not free again in time"
    else:
        run.note("g12_pause", found.pause_s)
    run.runs["capped"] = {"refusals": found.refusals[:3], "taken_bytes": found.taken_bytes, "requests": sent}


# ---- G5, and the others' part of G6


def peer_part(run: Run, name: str, peers: list[str], python: str | None) -> None:
    """The same batches by PEFT or vLLM, on the same shape with random numbers of their own."""
    decode = run.runs.get("decode")
    if name not in peers or not isinstance(decode, dict) or not decode.get("shape"):
        raise PlayerError("left out" if name not in peers else "nothing of ours on a wide base to compare with")
    if find_spec(name) is None and python is None:
        raise PlayerError(
            f"{name} is not installed here" + (": --vllm names a Python that has it" * (name == "vllm"))
        )
    work, script = run.work, {"peft": "transformers_peft.py", "vllm": "vllm_lora.py"}[name]
    words = {
        "base": str(run.base(decode["shape"])),
        "dtype": formats_of(run.device)[-1],
        "threads": run.threads,
        "batch": work.batch,
        "context": work.context,
        "adapters_max": work.batch,
        "rank_max": max(work.ranks),
        "device": run.device,
        "random": True,
    }
    contender = Contender(script, words, run.scratch / f"{name}.log", python=python or sys.executable)
    try:
        compare(run, name, contender, decode["tokens_per_s"])
    finally:
        contender.close()


def compare(run: Run, name: str, contender: Contender, ours: dict[str, float]) -> None:
    """Time batches of a peer, and note our speed over theirs."""
    work = run.work
    shape = run.runs["decode"]["shape"]
    folders = [str(folder_of(source)) for source in run.even_adapters(shape)]
    draws = Bench(NO_BACKEND, read_config(run.base(shape)), work)
    rates: dict[str, float] = {}
    cases: dict[str, list[str | None]] = {"base": [None] * work.batch, "adapters": list(folders)}
    for case in ("adapters",) if name == "peft" else tuple(cases):
        if case == "adapters":
            contender.ask("load", folders=folders)
        for _ in range(2):  # the first warms up
            prompts = draws.prompts(work.batch)
            found = contender.ask("run", prompts=prompts, adapters=cases[case], answer_tokens=work.answer_tokens)
            rates[case] = found["tokens"] / found["wall_s"]
    run.runs[name] = {"tokens_per_s": rates, **contender.about}
    bars = {"base": "g5_over_vllm", "adapters": f"g6_over_{'peft' if name == 'peft' else 'vllm_lora'}"}
    for case, rate in rates.items():
        run.note(bars[case], ours[case] / rate)


# ---- helpers


NO_BACKEND: Final[Any] = None
"""For the prompts of peers, which have processes of their own."""


def open_bench(run: Run, shape: str, quantisation: str) -> Bench:
    backend: Backend = open_backend(run.settings(shape, quantisation=quantisation))
    return Bench(backend, read_config(run.base(shape)), run.work)


def plan_on(run: Run, shape: str, quantisation: str) -> MemoryPlan | None:
    """The plan of a base on the whole card; None if it does not fit."""
    inference = InferenceConfig(quantisation=quantisation, batch_max=run.work.batch, context_max=2 * run.work.context)
    room = run.facts.total_bytes or 8 * GIB
    try:
        return plan_memory(read_config(run.base(shape)), inference, cap_bytes=room - GIB, on_gpu=True)
    except ConfigError:
        return None


def free_memory() -> None:
    """Give back the memory of the last part."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def card_of(facts: DeviceFacts) -> dict[str, Any]:
    """The card, its driver and the versions that drive it."""
    card = find_card(0)
    return {"card": {**asdict(facts), "driver": card.driver if card else ""}}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one JSON object on the last line")
    parser.add_argument("--quick", action="store_true", help="the short form, which needs no card")
    parser.add_argument("--peers", default=",".join(PEERS), help="peers to compare with, separated by commas")
    parser.add_argument("--vllm", metavar="PYTHON", help="the Python of an environment that has vLLM for this card")
    parser.add_argument("--minutes", type=float, default=10.0, help="after this long no further part begins")
    parser.add_argument("--work", type=Path, help="a folder for 10 GB of adapters; default: a temporary one")
    words = parser.parse_args()
    if not (torch.cuda.is_available() or words.quick):
        raise SystemExit(NO_CARD)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cpu" and find_spec("triton"):
        os.environ["TRITON_INTERPRET"] = "1"  # here and in the engine's process: the path of a card, slowly
    deadline_s = time.monotonic() + 60 * words.minutes
    with tempfile.TemporaryDirectory(dir=words.work) as folder:
        run = Run(device, QUICK if words.quick else FULL, Path(folder), device_facts(device), deadline_s)
        found = measure(run, words.peers.split(","), words.vllm)
    show_bars(f"GPU: {found['env']['card']['name'] or 'no card, so these figures mean nothing'}", found["bars"])
    if words.json:
        print(json.dumps(found))


if __name__ == "__main__":
    main()
