"""What the engine says of itself now and then."""

import os

from .frames import Beat
from .residency import Residency
from .rss import peak_bytes
from .scheduler import Scheduler


def beat(scheduler: Scheduler, residency: Residency, *, tokens_per_s: float) -> Beat:
    """Read all the figures."""
    pool = scheduler.pool
    return Beat(
        num_running=len(scheduler.running),
        num_waiting=scheduler.num_waiting,
        num_preempted=scheduler.num_preempted,
        tokens_per_s=tokens_per_s,
        resident=residency.device.resident,
        adapter_bytes=residency.device.used_bytes,
        num_hits=residency.num_hits,
        num_misses=residency.num_misses,
        num_loads=residency.num_loads,
        load_ms_median=residency.load_ms(0.5),
        load_ms_p95=residency.load_ms(0.95),
        num_reused_tokens=scheduler.num_reused_tokens,
        blocks_used=pool.num_used if pool else 0,
        blocks_cached=pool.num_idle if pool else 0,
        blocks_total=pool.num_blocks if pool else 0,
        peak_rss_bytes=peak_bytes(os.getpid()) or 0,
    )
