"""Sequences that have not ended, with all that is needed to run them again on another engine."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field

import trio

from .frames import EngineChunk, Finished, Refused, SequenceLost, Submit

Outcome = EngineChunk | Finished | Refused

LOSSES_MAX = 2
"""Engines that may die under a sequence. It may be what kills them, so it is not given a third."""


@dataclass(slots=True)
class LiveSequence:
    """One of them."""

    command: Submit
    outcomes: trio.MemorySendChannel[Outcome | SequenceLost]
    ids: list[int] = field(default_factory=list)
    is_running: bool = False  # in the current child's batch
    is_cancelled: bool = False
    num_losses: int = 0

    @property
    def is_parked(self) -> bool:
        """True if it has used up its allowance, so that no engine works on it."""
        return self.command.num_allowed is not None and len(self.ids) >= self.command.num_allowed


class LiveSequences:
    """All of them, by id."""

    def __init__(self) -> None:
        self._by_id: dict[str, LiveSequence] = {}

    def __len__(self) -> int:
        """The number of sequences that wait or run."""
        return len(self._by_id)

    def __iter__(self) -> Iterator[LiveSequence]:
        """Iterate over a copy, so that sequences may end meanwhile."""
        return iter(list(self._by_id.values()))

    @property
    def has_work(self) -> bool:
        """True if an engine has something to compute."""
        return any(not live.is_parked for live in self._by_id.values())

    def add(self, command: Submit) -> trio.MemoryReceiveChannel[Outcome | SequenceLost]:
        """Add a sequence and return the channel of its tokens."""
        # Every token makes one chunk, and one final event follows. With room for all, a slow reader blocks nobody.
        send, receive = trio.open_memory_channel[Outcome | SequenceLost](command.sampling.max_tokens + 1)
        self._by_id[command.sequence_id] = LiveSequence(command, send)
        return receive

    def find(self, sequence_id: str) -> LiveSequence | None:
        """A sequence, or None if it has ended."""
        return self._by_id.get(sequence_id)

    def pass_on(self, chunk: EngineChunk) -> bool:
        """Send tokens to their reader, and remember them; False if the reader is gone."""
        if live := self._by_id.get(chunk.sequence_id):
            live.ids += chunk.ids
            try:
                live.outcomes.send_nowait(chunk)
            except trio.BrokenResourceError:
                return False
        return True

    def end(self, last: Finished | Refused | SequenceLost) -> None:
        """Send a sequence's final event, unless it has ended."""
        if live := self._by_id.pop(last.sequence_id, None):
            with contextlib.suppress(trio.BrokenResourceError):
                live.outcomes.send_nowait(last)
            live.outcomes.close()

    def note_joined(self, sequence_ids: tuple[str, ...]) -> None:
        """These run in the current child."""
        for sequence_id in sequence_ids:
            if live := self._by_id.get(sequence_id):
                live.is_running = True

    def count_losses(self) -> None:
        """Count the death of an engine under its running sequences, and give up those that saw too many."""
        for live in self:
            # A sequence that only waited, for its turn or its payer, can't have killed it.
            live.num_losses += live.is_running and not live.is_parked
            live.is_running = False
            if live.num_losses > LOSSES_MAX:
                self.end(SequenceLost(sequence_id=live.command.sequence_id))
