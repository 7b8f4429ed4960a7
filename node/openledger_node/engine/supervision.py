"""When an engine is past help: frozen, or grown over its bound. A decision alone; the supervisor acts on it."""

from collections import deque
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineLimits:
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


def why_kill(seen: Vitals, limits: EngineLimits) -> str | None:
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


# ---- How fast the engine answers.

WINDOW_S = 5.0


class Meter:
    """Tokens a second over the last seconds."""

    def __init__(self) -> None:
        self._noted: deque[tuple[float, int]] = deque()  # (seconds, tokens), the oldest first
        self._num_tokens = 0  # of those noted

    def note(self, now_s: float, num_tokens: int) -> None:
        """Note the tokens of one step."""
        self._noted.append((now_s, num_tokens))
        self._num_tokens += num_tokens

    def tokens_per_s(self, now_s: float) -> float:
        """The mean over the window."""
        while self._noted and self._noted[0][0] <= now_s - WINDOW_S:
            self._num_tokens -= self._noted.popleft()[1]
        return self._num_tokens / WINDOW_S
