"""Verdicts over all rows of a Datanet: whose copies they are, and which of them the next version holds.

Withdrawn rows are compared with all others, so a withdrawal changes no verdict. A row that copies a withdrawn row of
another contributor is left out, because its text was withdrawn, until an appeal is upheld.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from openledger_protocol.codec import canonical_digest
from openledger_protocol.datanet import Row
from openledger_protocol.primitives import Digest

from .commitments import Committed, owning_order
from .copies import Copy, find_copies


@dataclass(frozen=True, kw_only=True)
class Verdicts:
    """Rows with their verdicts, in the order in which they own what they say."""

    rows: tuple[Row, ...]
    numbers: tuple[tuple[int, int], ...]  # for each row, the place of its batch as given, and its number, from 1
    copies: tuple[Copy | None, ...]
    withdrawn: frozenset[int]  # places of rows

    @cached_property
    def left_out(self) -> tuple[int, ...]:
        """The places of rows that copy a withdrawn row of another contributor."""
        places = range(len(self.rows)) if self.withdrawn else ()
        return tuple(place for place in places if place not in self.withdrawn and self._has_withdrawn_owner(place))

    @cached_property
    def kept(self) -> tuple[int, ...]:
        """The places of the rows that a version holds."""
        gone = self.withdrawn.union(self.left_out)
        return tuple(place for place in range(len(self.rows)) if place not in gone)

    def clusters(self) -> tuple[int, ...]:
        """For each kept row, the place among them of the row whose contributor is paid.

        Rows that repeat a withdrawn row of their own contributor belong to the first of them.
        """
        heads: dict[int, int] = {}
        firsts = ((place, self.copies[place]) for place in self.kept)
        return tuple(
            heads.setdefault(place if copy is None else copy.first, at) for at, (place, copy) in enumerate(firsts)
        )

    def of_batch(self, batch: int) -> list[int]:
        """The places of a batch's rows, in its order."""
        return [place for place, (of, _) in enumerate(self.numbers) if of == batch]

    def owner_of(self, place: int) -> int | None:
        """The place of another contributor's row that a row copies, or None."""
        copy = self.copies[place]
        if copy is None or self.rows[copy.first].contributor == self.rows[place].contributor:
            return None
        return copy.first

    def _has_withdrawn_owner(self, place: int) -> bool:
        owner = self.owner_of(place)
        return owner is not None and owner in self.withdrawn


def judge(
    batches: Sequence[Mapping[int, Row]],
    *,
    committed: Sequence[Committed | None] | None = None,
    withdrawn: Collection[Digest] = (),
    cleared: Collection[Digest] = (),
) -> Verdicts:
    """Judge the rows of batches, given by their numbers in their batch and in the order of approval.

    `committed`: since when each batch is proven to exist, if it was committed to.
    `cleared`: rows that an appeal has found to be no copies.
    """
    order = owning_order(committed) if committed else range(len(batches))
    found = [(row, (batch, number)) for batch in order for number, row in batches[batch].items()]
    gone = set(withdrawn)
    return Verdicts(
        rows=tuple(row for row, _ in found),
        numbers=tuple(number for _, number in found),
        copies=find_copies([tuple(batches[batch].values()) for batch in order], cleared),
        withdrawn=frozenset(place for place, (row, _) in enumerate(found) if gone and canonical_digest(row) in gone),
    )
