"""Answers that are being generated: their parts so far, and notes on their length for the case of a crash."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final

from openledger_protocol.inference import Completion

from .admission import Admitted
from .measures import Served

NOTE_NS: Final = 2 * 10**9
"""Time between two notes. One write has all running answers, so that it costs nothing beside their tokens."""


@dataclass(slots=True)
class AnswerProgress:
    """The tokens and text generated so far."""

    began_ns: int
    text: list[str] = field(default_factory=list)
    ids: list[int] = field(default_factory=list)
    first_token_ns: int | None = None
    has_left: bool = False


class RunningAnswers:
    """The requests in the engine, by id."""

    def __init__(self, now_ns: Callable[[], int]) -> None:
        self._now_ns = now_ns
        self._running: dict[str, tuple[Admitted, AnswerProgress]] = {}
        self._noted_ns = 0

    def __iter__(self) -> Iterator[str]:
        return iter(tuple(self._running))

    def add(self, admitted: Admitted, progress: AnswerProgress) -> None:
        """Add a request that the engine has accepted."""
        if not self._running:
            self._noted_ns = self._now_ns()  # so that short answers cost no write
        self._running[admitted.request.request_id] = admitted, progress

    def remove(self, admitted: Admitted) -> None:
        """Remove a request whose answer has ended."""
        del self._running[admitted.request.request_id]

    def is_running(self, admitted: Admitted) -> bool:
        """False too for a request that used the id of a running one, and is refused for that."""
        found = self._running.get(admitted.request.request_id)
        return found is not None and found[0] is admitted

    def lengths_to_note(self) -> dict[str, int]:
        """The tokens of each running answer that has any; empty unless the last note is `NOTE_NS` old."""
        now_ns = self._now_ns()
        if now_ns < self._noted_ns + NOTE_NS:
            return {}
        self._noted_ns = now_ns
        return {name: len(progress.ids) for name, (_, progress) in self._running.items() if progress.ids}


def served(admitted: Admitted, answered: Completion | None, progress: AnswerProgress, now_ns: int) -> Served:
    """The measure of a request that has ended; `answered` is None if it failed."""
    return Served(
        origin="sold" if admitted.payer else "local",
        outcome=answered.finish_reason if answered else "failed",
        tokens_in=len(admitted.prompt_ids),
        tokens_out=answered.tokens_out if answered else 0,
        received_ns=progress.began_ns,
        first_token_ns=progress.first_token_ns,
        ended_ns=now_ns,
    )
