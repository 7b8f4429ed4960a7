"""The parts of scripts/bench/gpu.py: right answers, decoding, a narrow base, and an engine at a memory cap."""

import os
from dataclasses import replace
from typing import Final

import torch
from gpu_cases import CONVERSATION, Bench, write_mixed
from gpu_engine import AtCap, CardWatch, measure_at_cap, options_at_cap
from gpu_run import GIB, HALF_BYTES, Run, does_fit, formats_of, open_bench
from random_base import install_plug, open_backend, random_weights

from openledger_node.backends.torch_lora.loading import load_weights
from openledger_node.backends.torch_lora.placement import Placement, choose_dtype
from openledger_node.backends.torch_lora.selfcheck import check_device
from openledger_node.config import InferenceConfig
from openledger_node.engine.backend import BLOCK_TOKENS
from openledger_node.engine.budget import PLAN_RANK, MemoryPlan, fit, plan_memory
from openledger_node.engine.memory_plan import adapter_bytes_of, memory_needs, token_bytes_of
from openledger_node.errors import ConfigError, NodeError
from openledger_node.models.adapter_files.random_adapter import read_linears
from openledger_node.models.adapter_source import AdapterSource
from openledger_node.models.decoder_config import DecoderConfig, read_config

CAP_BYTES: Final = 7 * GIB
"""The owner's cap in the run at a cap: a card of 8 GiB, of which a desktop has one."""

CAPPED_ADAPTERS: Final = 8
CAPPED_CONTEXT: Final = 2048
PLANNED_TOKENS_MAX, PLANNED_STEP = 65_536, 256

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
    work = run.work
    shape = next((name for name in work.wide if does_fit(run, name, "none", work.batch)), None)
    served, quantisation = shape or work.narrow, "none" if shape else "int4"
    num_adapters = work.batch if does_fit(run, served, quantisation, work.batch) else 0
    if not does_fit(run, served, quantisation):
        raise ConfigError(f"{served} in int4 does not fit this card")
    bench = open_bench(run, served, quantisation, max(1, num_adapters))
    on = f"on {shape}" if shape else f"on {served} in int4: no wide base fits this card with {work.batch} adapters"
    rates = decode_part(run, bench, on)
    if num_adapters:
        mixed = write_mixed(run.scratch / "mixed", read_linears(run.base(served)), work.batch // 2)
        rates |= adapters_part(run, bench, run.even_adapters(served), mixed, on)
    else:
        run.whys |= dict.fromkeys(
            ("g6_over_own_base", "g7_shapes_over_one"), f"{work.batch} adapters do not fit beside {served} in int4"
        )
    late_part(run, bench, run.even_adapters(served)[0])
    run.runs["decode"] |= {"shape": shape, "tokens_per_s": rates}


def decode_part(run: Run, bench: Bench, on: str) -> dict[str, float]:
    """The bare base: its decode step, drawn tokens, and the time in which the card is idle."""
    bare: list[AdapterSource | None] = [None] * run.work.batch
    lone_s, base_s = bench.step_s(bare[:1]), bench.step_s(bare)
    floor_s = bench.step_bytes(run.work.batch) / run.facts.bytes_per_s
    steps = {"lone": lone_s, "base": base_s, "floor": floor_s}
    run.runs["decode"] = {"on": on, "kernel": bench.backend.profile.kernel, "steps_s": steps}
    run.note("g4_step_over_floor", base_s / floor_s, on)
    sampling_part(run, bench)
    idle_ms = bench.gpu_idle_ms()
    if idle_ms is None:
        run.whys["g10_idle"] = "torch's profiler sees no card"
    else:
        run.note("g10_idle", idle_ms, on)
    return {"base": bench.tokens_per_s(bare)}


def adapters_part(
    run: Run, bench: Bench, even: list[AdapterSource], mixed: list[AdapterSource], on: str
) -> dict[str, float]:
    """A batch in which every row has another adapter: of two ranks, of one shape, and of sixteen shapes."""
    steps = run.runs["decode"]["steps_s"]
    bench.load(even)
    steps["lora"] = bench.step_s(even)
    rate = bench.tokens_per_s(even)
    steps["alike"] = bench.step_s(even[:: len(run.work.ranks)])
    bench.unload(even)
    bench.load(mixed)
    steps["mixed"] = bench.step_s(mixed)
    bench.unload(mixed)
    run.note("g6_over_own_base", steps["base"] / steps["lora"], on)
    run.note("g7_shapes_over_one", steps["alike"] / steps["mixed"], on)
    return {"adapters": rate}


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
    if not does_fit(run, shape, "int4"):
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
    needs = memory_needs(config, inference, is_on_gpu=True, number_bytes=HALF_BYTES, has_kernels=True)
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
        plan = plan_memory(config, inference, cap_bytes=CAP_BYTES, on_gpu=True, has_kernels=True)
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
