"""The engine's part of `status --json`."""

from typing import Any

from .engine import Engine


def engine_figures(engine: Engine) -> dict[str, Any]:
    """What the engine is and how it does; figures are as old as its last word, half a second where it works."""
    profile, beat = engine.profile, engine.beat
    return {
        "state": engine.state,
        "process_id": engine.process_id,
        "restarts": engine.num_restarts,
        "backend": profile.backend if profile else None,
        "kernel": profile.kernel if profile else None,
        "device": profile.device if profile else None,
        "dtype": profile.dtype if profile else None,
        "quantisation": profile.quantisation if profile else None,
        "threads": profile.threads if profile else None,
        "context_max": profile.context_max if profile else None,
        "base_bytes": profile.base_bytes if profile else None,
        "peak_rss_bytes": beat.peak_rss_bytes,
        "tokens_per_s": round(beat.tokens_per_s, 1) if engine.num_live else 0.0,  # who has nothing to do says nothing
        "kv_cache": {
            "blocks": beat.blocks_total,
            "block_bytes": profile.block_bytes if profile else None,
            "used": beat.blocks_used,
            "cached": beat.blocks_cached,
            "reused_tokens": beat.num_reused_tokens,
            "preempted": beat.num_preempted,
        },
    }


def adapter_figures(engine: Engine, *, num_registered: int, budget_bytes: int) -> dict[str, Any]:
    """Which adapters are on the device, and how often others had to be brought there."""
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
