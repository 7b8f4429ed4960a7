"""Fair queueing: payers share the engine evenly, and so do the adapters of each payer.

Virtual token counters (Sheng et al., "Fairness in Serving Large Language Models", OSDI 2024): the payer that has been
served the fewest tokens is next. A payer that always has a sequence waiting is never served less than another by more
than 2 · max(WEIGHT_IN · the longest prompt, WEIGHT_OUT · the tokens that a full batch may answer).
"""

from collections import Counter, deque
from collections.abc import Collection, Iterator

from ..models.adapter_source import AdapterSource
from .sequence import Sequence

WEIGHT_IN, WEIGHT_OUT = 1, 2
"""Weights of a prompt token and an answer token; an answer token costs more, because each needs its own step."""


class TokenCounters:
    """Counts the tokens that each name was served, so that no name can save up turns or lose any."""

    def __init__(self) -> None:
        self._served: dict[str, int] = {}
        self._idle: set[str] = set()  # names with no sequence that waits or runs
        self._last_served = 0  # the counter of the name that had the last turn

    def __getitem__(self, name: str) -> int:
        return self._served.get(name, 0)

    def enter(self, name: str, waiting: Collection[str]) -> None:
        """Start `name` at the least counter of the waiting names, or at its own counter if that is higher."""
        self._served[name] = max(self[name], self._floor(waiting))
        self._idle.discard(name)

    def leave(self, name: str, waiting: Collection[str]) -> None:
        """Mark `name` as idle, and drop idle names whose counters would return at the least anyway."""
        self._idle.add(name)
        floor = self._floor(waiting)
        for other in [other for other in self._idle if self[other] <= floor]:
            self._served.pop(other, None)
            self._idle.remove(other)

    def take_turn(self, name: str) -> None:
        """Record that a sequence of `name` was chosen."""
        self._last_served = self[name]

    def charge(self, name: str, weight: int) -> None:
        """Record what `name` was served."""
        self._served[name] = self[name] + weight

    def _floor(self, waiting: Collection[str]) -> int:
        return min((self[name] for name in waiting), default=self._last_served)


class FairQueue:
    """Waiting sequences; those of one payer on one adapter are in order of arrival."""

    def __init__(self) -> None:
        self._returned: deque[Sequence] = deque()  # preempted after their turn
        self._parked: dict[str, Sequence] = {}  # have used up their allowance, and get no turn
        self._lines: dict[
            str, dict[str, deque[Sequence]]
        ] = {}  # payer → adapter → its waiting sequences; never empty
        self._payers = TokenCounters()
        self._adapters: dict[str, TokenCounters] = {}  # by payer
        self._num_live: Counter[tuple[str, str]] = Counter()  # by payer and adapter, including running sequences

    def __len__(self) -> int:
        num_lined_up = sum(len(line) for lines in self._lines.values() for line in lines.values())
        return len(self._returned) + len(self._parked) + num_lined_up

    def __iter__(self) -> Iterator[Sequence]:
        yield from self._returned
        yield from self._parked.values()
        for lines in self._lines.values():
            for line in lines.values():
                yield from line

    @property
    def num_parked(self) -> int:
        """The number of sequences that get no turn."""
        return len(self._parked)

    def add(self, sequence: Sequence) -> None:
        """Queue a sequence behind those of its payer and adapter."""
        self._line_up(sequence).append(sequence)
        self._num_live[_names(sequence)] += 1

    def park(self, sequence: Sequence) -> None:
        """Set a sequence aside, wherever it is, until `resume`."""
        self._remove(sequence)
        self._parked[sequence.sequence_id] = sequence

    def resume(self, sequence: Sequence) -> None:
        """Queue a sequence before those of its payer and adapter if it is parked; other payers lose no turn by it."""
        if self._parked.pop(sequence.sequence_id, None):
            self._line_up(sequence).appendleft(sequence)

    def put_back(self, sequence: Sequence) -> None:
        """Queue a preempted sequence before all others, because it has already had its turn."""
        self._returned.appendleft(sequence)

    def take(self, sequence: Sequence) -> None:
        """Remove a sequence whose turn it is, and charge its prompt."""
        if self._remove(sequence):
            payer, adapter = _names(sequence)
            self._payers.take_turn(payer)
            self._adapters[payer].take_turn(adapter)
            self.charge(sequence, WEIGHT_IN * sequence.num_pending)

    def charge(self, sequence: Sequence, weight: int) -> None:
        """Record what a sequence was served."""
        payer, adapter = _names(sequence)
        self._payers.charge(payer, weight)
        self._adapters[payer].charge(adapter, weight)

    def end(self, sequence: Sequence) -> None:
        """Forget a sequence, even if it was already taken."""
        self._remove(sequence)
        payer, adapter = _names(sequence)
        self._num_live[payer, adapter] -= 1
        if self._num_live[payer, adapter]:
            return
        del self._num_live[payer, adapter]
        self._adapters[payer].leave(adapter, self._lines.get(payer, {}))
        if all(other != payer for other, _ in self._num_live):
            del self._adapters[payer]
            self._payers.leave(payer, self._lines)
        if not self._num_live:
            self._payers = TokenCounters()  # nothing is left to compare with

    def holds(self, sequence: Sequence) -> bool:
        """Return True if a sequence waits; fast if it is the first of its line."""
        payer, adapter = _names(sequence)
        return sequence in self._lines.get(payer, {}).get(adapter, ()) or sequence in self._returned

    def find(self, sequence_id: str) -> Sequence | None:
        """The sequence of that id, if it waits."""
        return next((sequence for sequence in self if sequence.sequence_id == sequence_id), None)

    def adapters(self) -> list[AdapterSource]:
        """The adapters of the waiting sequences, in the current order of turns."""
        heads = [*self._returned, *self._heads(set())]
        return list({head.adapter.id: head.adapter for head in heads if head.adapter}.values())

    def turns(self) -> Iterator[Sequence]:
        """Yield the sequence whose turn it is, then the next if that one can't run; the caller may take each."""
        yield from list(self._returned)
        overdue = [line[0] for lines in self._lines.values() for line in lines.values() if line[0].is_overdue]
        yield from sorted(overdue, key=lambda sequence: -sequence.num_passed_by)
        passed_by: set[tuple[str, str]] = set()
        while heads := self._heads(passed_by):
            for head in heads:
                yield head
                if not self._is_head(head):
                    break  # it was taken and charged, so the order has changed
                passed_by.add(_names(head))  # the sequences behind it need the same adapter

    def _line_up(self, sequence: Sequence) -> deque[Sequence]:
        """The line of a sequence that is about to wait in it."""
        payer, adapter = _names(sequence)
        if payer not in self._lines:
            self._payers.enter(payer, self._lines)
        lines = self._lines.setdefault(payer, {})
        if adapter not in lines:
            self._adapters.setdefault(payer, TokenCounters()).enter(adapter, lines)
        return lines.setdefault(adapter, deque())

    def _heads(self, passed_by: set[tuple[str, str]]) -> list[Sequence]:
        """The first sequence of each line, in the order of turns."""
        heads = [
            (self._payers[payer], self._adapters[payer][adapter], line[0])
            for payer, lines in self._lines.items()
            for adapter, line in lines.items()
            if (payer, adapter) not in passed_by
        ]
        return [head for _, _, head in sorted(heads, key=lambda entry: entry[:2])]

    def _is_head(self, sequence: Sequence) -> bool:
        payer, adapter = _names(sequence)
        line = self._lines.get(payer, {}).get(adapter)
        return line is not None and line[0] is sequence

    def _remove(self, sequence: Sequence) -> bool:
        """Remove a sequence and return True if it waited in a line."""
        if self._parked.pop(sequence.sequence_id, None):
            return False
        if sequence in self._returned:
            self._returned.remove(sequence)
            return False
        payer, adapter = _names(sequence)
        line = self._lines.get(payer, {}).get(adapter)
        if line is None or sequence not in line:
            return False
        line.remove(sequence)
        if not line:
            del self._lines[payer][adapter]
        if not self._lines[payer]:
            del self._lines[payer]
        return True


def _names(sequence: Sequence) -> tuple[str, str]:
    return sequence.payer, sequence.adapter_id or ""
