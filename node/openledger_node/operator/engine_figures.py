"""The engine's figures for `status`, and those of the adapters on its device."""

from typing import Any

from ..engine.backend import BLOCK_TOKENS
from ..engine.engine import Engine
from ..engine.load_steps import LoadStep


def engine_figures(engine: Engine) -> dict[str, Any]:
    """The engine's properties and figures; a working engine reports them each half second."""
    profile, beat = engine.profile, engine.beat
    return {
        "state": engine.state,
        "process_id": engine.process_id,
        "restarts": engine.num_restarts,
        "unloads": engine.num_unloads,
        "load_s": None if engine.load_s is None else round(engine.load_s, 2),
        "why_failed": engine.failure.why if engine.failure else None,
        "loading": load_step_to_plain(engine.load_step),
        "backend": profile.backend if profile else None,
        "kernel": profile.kernel if profile else None,
        "device": profile.device if profile else None,
        "dtype": profile.dtype if profile else None,
        "quantisation": profile.quantisation if profile else None,
        "threads": profile.threads if profile else None,
        "context_max": profile.context_max if profile else None,
        "base_bytes": profile.base_bytes if profile else None,
        "peak_rss_bytes": beat.peak_rss_bytes,
        "tokens_per_s": round(beat.tokens_per_s, 1) if engine.num_live else 0.0,  # an idle engine reports nothing
        "kv_cache": {
            "blocks": beat.blocks_total,
            "block_bytes": profile.block_bytes if profile else None,
            "tokens": beat.blocks_total * BLOCK_TOKENS,
            "used": beat.blocks_used,
            "cached": beat.blocks_cached,
            "reused_tokens": beat.num_reused_tokens,
            "preempted": beat.num_preempted,
        },
    }


def load_step_to_plain(step: LoadStep | None) -> dict[str, Any] | None:
    """The step of a base that is being loaded; None while none is."""
    return {"phase": step.phase, "percent": step.percent, "says": step.words} if step else None


def engine_alerts(engine: Engine) -> list[str]:
    """The alert of an engine that can't be loaded."""
    return [f"the engine can't be loaded: {engine.failure.why}"] if engine.failure else []


def adapter_figures(engine: Engine, *, num_registered: int, budget_bytes: int) -> dict[str, Any]:
    """The adapters on the device, and how often others had to be loaded."""
    beat = engine.beat
    return {
        "registered": num_registered,
        "resident": len(beat.resident),
        "resident_bytes": beat.adapter_bytes,
        "budget_bytes": budget_bytes,
        "hits": beat.num_hits,
        "misses": beat.num_misses,
        "loads": beat.num_loads,
        "load_ms_median": round(beat.load_ms_median, 2),
        "load_ms_p95": round(beat.load_ms_p95, 2),
    }
