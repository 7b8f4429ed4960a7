"""The decision whether the engine should be loaded: pauses, idleness and failures. The caller passes the time.

An engine is off while the node is paused, after a time without requests (`[inference] unload_after_s`), or because it
can't be loaded now. In the second case, work that arrives loads it. In the third, it is tried again by itself, ever
less often, and at the next request of this machine.
"""

from dataclasses import dataclass
from math import inf
from typing import Final, Literal

from openledger_protocol.errors import UnavailableError

from .frames import Refused

Off = Literal["paused", "unloaded", "failed"]

RETRY_S: Final = (30.0, 60.0, 120.0, 300.0, 900.0)
"""Pauses between attempts after failures in a row; the last one repeats. A game takes the GPU for hours."""

LEFT_S_MIN: Final = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadFailure:
    """The last attempt to load failed."""

    why: str  # for the operator: what happened and what helps
    can_recover: bool  # False: nothing is tried before `renew`, `wake` or the next start
    retry_at_s: float  # infinite: never by itself

    def refusal(self, sequence_id: str) -> Refused:
        """The final event of a sequence that waited for this attempt."""
        return Refused(sequence_id=sequence_id, message=self.why, code=UnavailableError.code)


class Duty:
    """The engine's duty now. Work is any sequence that has not ended, and a request to load."""

    def __init__(self, unload_after_s: float) -> None:
        self.unload_after_s = unload_after_s  # 0: never
        self.is_resting = False
        self.failure: LoadFailure | None = None
        self._num_failures = 0  # in a row
        self._is_unloaded = False
        self._is_stale = False  # the child runs with options of the past
        self._idle_since_s = self._began_s = 0.0
        self.load_s: float | None = None  # measured at the last load

    def why_off(self, now_s: float, *, has_work: bool) -> Off | None:
        """The reason why no engine should be loaded now; None if one should."""
        if self.is_resting:
            return "paused"
        if (failure := self.failure) and not self._is_due(failure, now_s, has_work=has_work):
            return "failed"
        return "unloaded" if self._is_unloaded and not has_work else None

    def why_end(self, now_s: float, *, has_work: bool) -> Literal["unloaded", "stale"] | None:
        """The reason to end a loaded engine now; None if it should go on."""
        if has_work:
            return None
        if self._is_stale:
            return "stale"
        return "unloaded" if self.will_unload(now_s, within_s=0.0) else None

    def will_unload(self, now_s: float, *, within_s: float) -> bool:
        """Return True if a loaded engine without work is unloaded within that time, unless work arrives."""
        return bool(self.unload_after_s) and now_s + within_s - self._idle_since_s >= self.unload_after_s

    def left_s(self, now_s: float) -> float:
        """Seconds that the running load still takes: as the last one, and one that is late as long again as it is."""
        return max(LEFT_S_MIN, abs((self.load_s or 0.0) - (now_s - self._began_s)))

    # ---- events

    def note_work(self, now_s: float) -> None:
        """Work arrived or ended."""
        self._idle_since_s = now_s

    def note_unloaded(self) -> None:
        """The engine ends because it was idle."""
        self._is_unloaded = True

    def note_loading(self, now_s: float) -> None:
        """An engine with the newest options is being loaded."""
        self._is_stale, self._began_s = False, now_s

    def note_ready(self, now_s: float) -> None:
        """It is loaded."""
        self.failure, self._num_failures, self._is_unloaded = None, 0, False
        self._idle_since_s, self.load_s = now_s, now_s - self._began_s

    def note_failure(self, now_s: float, why: str, *, can_recover: bool) -> LoadFailure:
        """It could not be loaded."""
        pause_s = RETRY_S[min(self._num_failures, len(RETRY_S) - 1)] if can_recover else inf
        self._num_failures += 1
        self._is_unloaded = False  # a later attempt must succeed before the node promises answers again
        self.failure = LoadFailure(why=why, can_recover=can_recover, retry_at_s=now_s + pause_s)
        return self.failure

    def rest(self) -> None:
        """A pause begins."""
        self.is_resting = True

    def wake(self) -> None:
        """A pause ends: load the engine, whatever failed before."""
        self.is_resting = self._is_unloaded = False
        self._forgive()

    def renew(self) -> None:
        """The options changed: load the engine with them, and try again what failed with the old ones."""
        self._is_stale = True
        self._forgive()

    def _forgive(self) -> None:
        self.failure, self._num_failures = None, 0

    def _is_due(self, failure: LoadFailure, now_s: float, *, has_work: bool) -> bool:
        return failure.can_recover and (has_work or now_s >= failure.retry_at_s)
