"""When an engine is past help: frozen, or grown over its bound. A decision alone; the supervisor acts on it."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What an engine may do before it is ended."""

    stall_timeout_s: float  # of silence while it has work
    load_timeout_s: float  # from its start until it is ready
    memory_max_bytes: int  # resident; 0: no bound


@dataclass(frozen=True, slots=True, kw_only=True)
class Vitals:
    """What the supervisor sees of an engine."""

    is_ready: bool
    has_work: bool
    silent_s: float  # since its last word, or since its start
    rss_bytes: int | None  # None: the system does not say


def why_kill(seen: Vitals, limits: Limits) -> str | None:
    """Why an engine must be ended now, as the log says it; None if it may go on."""
    if limits.memory_max_bytes and (seen.rss_bytes or 0) > limits.memory_max_bytes:
        return (
            f"engine takes {_mib(seen.rss_bytes or 0)} of memory, and [inference] memory_max_bytes is "
            f"{_mib(limits.memory_max_bytes)}: restarting it; where this comes again, lower batch_max, "
            "kv_cache_bytes or adapter_cache_bytes, or raise the bound"
        )
    if not seen.is_ready and seen.silent_s > limits.load_timeout_s:
        return f"engine is not ready after {seen.silent_s:.0f} s: killing it"
    if seen.is_ready and seen.has_work and seen.silent_s > limits.stall_timeout_s:
        return f"engine has said nothing for {seen.silent_s:.0f} s: killing it"
    return None


def _mib(size_bytes: int) -> str:
    return f"{size_bytes >> 20} MiB"
