"""The decision to kill an engine that is frozen or takes too much memory; the supervisor acts on it."""

from collections import deque
from dataclasses import dataclass

from ..text import size_text


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineLimits:
    """Limits beyond which an engine is killed."""

    stall_timeout_s: float  # of silence while it has work
    load_timeout_s: float  # from its start until it is ready
    memory_max_bytes: int  # resident; 0: no limit


@dataclass(frozen=True, slots=True, kw_only=True)
class Vitals:
    """The state of an engine as the supervisor sees it."""

    is_ready: bool
    has_work: bool
    silent_s: float  # since its last event, or since its start
    rss_bytes: int | None  # None: the system does not say


def why_kill(seen: Vitals, limits: EngineLimits) -> str | None:
    """The reason to kill an engine now, for the log; None if it may go on."""
    if limits.memory_max_bytes and (seen.rss_bytes or 0) > limits.memory_max_bytes:
        return (
            f"engine takes {size_text(seen.rss_bytes or 0)} of memory, and [inference] memory_max_bytes is "
            f"{size_text(limits.memory_max_bytes)}: restarting it; if this happens again, lower batch_max, "
            "kv_cache_bytes or adapter_cache_bytes, or raise memory_max_bytes"
        )
    if not seen.is_ready and seen.silent_s > limits.load_timeout_s:
        return f"engine is not ready after {seen.silent_s:.0f} s: killing it"
    if seen.is_ready and seen.has_work and seen.silent_s > limits.stall_timeout_s:
        return f"engine has said nothing for {seen.silent_s:.0f} s: killing it"
    return None


# ---- The engine's speed.

WINDOW_S = 5.0


class Meter:
    """Counts tokens a second over the last WINDOW_S seconds."""

    def __init__(self) -> None:
        self._noted: deque[tuple[float, int]] = deque()  # (seconds, tokens), the oldest first
        self._num_tokens = 0  # of those noted

    def note(self, now_s: float, num_tokens: int) -> None:
        """Record the tokens of one step."""
        self._noted.append((now_s, num_tokens))
        self._num_tokens += num_tokens

    def tokens_per_s(self, now_s: float) -> float:
        """The mean speed over the window."""
        while self._noted and self._noted[0][0] <= now_s - WINDOW_S:
            self._num_tokens -= self._noted.popleft()[1]
        return self._num_tokens / WINDOW_S
