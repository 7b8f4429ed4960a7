"""Whose turn it is: payers share the engine evenly, and so do the adapters of each payer.

Virtual token counters (Sheng et al., "Fairness in Serving Large Language Models", OSDI 2024): whoever has been served
the fewest tokens is next. A payer that has something waiting all the time is never served less than another by more
than 2 · max(WEIGHT_IN · the longest prompt, WEIGHT_OUT · the tokens that a full batch may answer).
"""

from collections import Counter, deque
from collections.abc import Collection, Iterator

from ..models.adapter_source import AdapterSource
from .sequence import Sequence

WEIGHT_IN, WEIGHT_OUT = 1, 2
"""What a token of a prompt and one of an answer count: an answer's is a step of its own."""


class TokenCounters:
    """What each of several sharers was served, so that none can save up turns, and none loses any."""

    def __init__(self) -> None:
        self._served: dict[str, int] = {}
        self._idle: set[str] = set()  # of those, who have nothing that waits or runs
        self._last_served = 0  # the counter of whoever had the last turn

    def __getitem__(self, name: str) -> int:
        return self._served.get(name, 0)

    def enter(self, name: str, waiting: Collection[str]) -> None:
        """Note that `name` begins to wait: at the least of those who wait, or where it was if that is more."""
        self._served[name] = max(self[name], self._floor(waiting))
        self._idle.discard(name)

    def leave(self, name: str, waiting: Collection[str]) -> None:
        """Note that `name` has nothing left; whoever would come back at the least is forgotten meanwhile."""
        self._idle.add(name)
        floor = self._floor(waiting)
        for other in [other for other in self._idle if self[other] <= floor]:
            self._served.pop(other, None)
            self._idle.remove(other)

    def take_turn(self, name: str) -> None:
        """Note that something of `name` was chosen."""
        self._last_served = self[name]

    def charge(self, name: str, weight: int) -> None:
        """Note what `name` was served."""
        self._served[name] = self[name] + weight

    def _floor(self, waiting: Collection[str]) -> int:
        return min((self[name] for name in waiting), default=self._last_served)


class FairQueue:
    """Sequences that wait; those of one payer on one adapter in the order of arrival."""

    def __init__(self) -> None:
        self._returned: deque[Sequence] = deque()  # had their turn, and lost their place for want of blocks
        self._lines: dict[str, dict[str, deque[Sequence]]] = {}  # payer → adapter → who waits; no empty ones
        self._payers = TokenCounters()
        self._adapters: dict[str, TokenCounters] = {}  # by payer
        self._num_live: Counter[tuple[str, str]] = Counter()  # by payer and adapter, also those that run

    def __len__(self) -> int:
        return len(self._returned) + sum(len(line) for lines in self._lines.values() for line in lines.values())

    def __iter__(self) -> Iterator[Sequence]:
        yield from self._returned
        for lines in self._lines.values():
            for line in lines.values():
                yield from line

    def add(self, sequence: Sequence) -> None:
        """Queue a sequence behind those of its payer and adapter."""
        payer, adapter = _names(sequence)
        if payer not in self._lines:
            self._payers.enter(payer, self._lines)
        lines = self._lines.setdefault(payer, {})
        if adapter not in lines:
            self._adapters.setdefault(payer, TokenCounters()).enter(adapter, lines)
        lines.setdefault(adapter, deque()).append(sequence)
        self._num_live[payer, adapter] += 1

    def put_back(self, sequence: Sequence) -> None:
        """Queue a sequence before all others: it has had its turn already."""
        self._returned.appendleft(sequence)

    def take(self, sequence: Sequence) -> None:
        """Take out a sequence whose turn it is."""
        if self._remove(sequence):
            payer, adapter = _names(sequence)
            self._payers.take_turn(payer)
            self._adapters[payer].take_turn(adapter)
            self.charge(sequence, WEIGHT_IN * sequence.num_pending)

    def charge(self, sequence: Sequence, weight: int) -> None:
        """Note what a sequence was served."""
        payer, adapter = _names(sequence)
        self._payers.charge(payer, weight)
        self._adapters[payer].charge(adapter, weight)

    def end(self, sequence: Sequence) -> None:
        """Forget a sequence, whether it waits or was taken."""
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
            self._payers = TokenCounters()  # nobody waits for anybody

    def holds(self, sequence: Sequence) -> bool:
        """Whether a sequence waits; quick where it is the first of its line."""
        payer, adapter = _names(sequence)
        return sequence in self._lines.get(payer, {}).get(adapter, ()) or sequence in self._returned

    def find(self, sequence_id: str) -> Sequence | None:
        """The sequence of that id, if it waits."""
        return next((sequence for sequence in self if sequence.sequence_id == sequence_id), None)

    def adapters(self) -> list[AdapterSource]:
        """What those who wait run on, in the order of their turns as they are now."""
        heads = [*self._returned, *self._heads(set())]
        return list({head.adapter.id: head.adapter for head in heads if head.adapter}.values())

    def turns(self) -> Iterator[Sequence]:
        """Yield whose turn it is, then whose it would be if that one can't; the one yielded may be taken out."""
        yield from list(self._returned)
        overdue = [line[0] for lines in self._lines.values() for line in lines.values() if line[0].is_overdue]
        yield from sorted(overdue, key=lambda sequence: -sequence.num_passed_by)
        passed_by: set[tuple[str, str]] = set()
        while heads := self._heads(passed_by):
            for head in heads:
                yield head
                if not self._is_head(head):
                    break  # it was taken, and charged: the order is another now
                passed_by.add(_names(head))  # nor can those behind it join, which want the same

    def _heads(self, passed_by: set[tuple[str, str]]) -> list[Sequence]:
        """The first of each line, in the order of their turns."""
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
        """Take a sequence out; True if it waited in a line."""
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
