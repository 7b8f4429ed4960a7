"""The places of a llama-server, and whose prompt each still holds.

llama-server reuses the prompt that a slot holds as far as the next one begins alike. The time to the first token
would tell one payer what another asked. So each request names its slot, and may reuse what is there only if the same
payer left it, on the same adapter.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import takewhile

from openledger_protocol.primitives import AdapterId

Owner = tuple[str, AdapterId | None]
"""The payer and the adapter of a prompt."""


@dataclass(slots=True, kw_only=True)
class _Slot:
    number: int
    owner: Owner | None = None
    ids: Sequence[int] = ()  # of the last text here
    is_taken: bool = False
    used_at: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A slot for one stream."""

    slot: int
    may_reuse: bool  # the prompt in it is its owner's
    num_tokens: int  # that the stream may fill


@dataclass(slots=True)
class Slots:
    """All slots of a server, which share the room for `num_tokens` tokens."""

    num_slots: int
    num_tokens: int
    _slots: list[_Slot] = field(init=False)
    _num_taken_tokens: int = 0
    _clock: int = 0

    def __post_init__(self) -> None:
        self._slots = [_Slot(number=number) for number in range(self.num_slots)]

    def take(self, owner: Owner, ids: Sequence[int], num_tokens: int) -> Place | None:
        """Take a slot for a text of `ids` that may grow to `num_tokens`; None if there is no slot or room."""
        free = [slot for slot in self._slots if not slot.is_taken]
        if not free or self._num_taken_tokens + num_tokens > self.num_tokens:
            return None
        own = [slot for slot in free if slot.owner == owner]
        best = max(own, key=lambda slot: _num_shared(slot.ids, ids), default=None)
        if best is None or not _num_shared(best.ids, ids):
            best = min(free, key=lambda slot: slot.used_at)
        place = Place(slot=best.number, may_reuse=best.owner == owner, num_tokens=num_tokens)
        best.owner, best.ids, best.is_taken = owner, ids, True
        self._num_taken_tokens += num_tokens
        return place

    def free(self, place: Place) -> None:
        """Give a slot back; what it holds stays its owner's."""
        slot = self._slots[place.slot]
        self._clock += 1
        slot.is_taken, slot.used_at = False, self._clock
        self._num_taken_tokens -= place.num_tokens


def _num_shared(one: Sequence[int], other: Sequence[int]) -> int:
    pairs = zip(one, other, strict=False)
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
