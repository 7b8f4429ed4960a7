"""Rejected rows and batches: the owner leaves rows out when approving a batch, or rejects the whole batch.

Rejections are part of the record of a batch and are fixed once the batch is approved, so that every version of the
Datanet can be made again. A row of an approved batch can only be withdrawn.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from ..errors import NodeError
from ..text import counted
from .appeals import check_reason


@dataclass(frozen=True, slots=True, kw_only=True)
class RejectedRow:
    """One row that the owner left out of a batch."""

    row: int  # counted from 1 in its batch
    because: str


def reject_rows(rows: Iterable[int], num_rows: int, because: str) -> tuple[RejectedRow, ...]:
    """Check the rows to leave out of a batch of `num_rows` rows, all for one reason.

    Raises:
        NodeError: the batch has no such row, or no row would be left.
        MalformedError: rows are given without a reason, or the reason is too long.
    """
    numbers = sorted(set(rows))
    if not numbers:
        return ()
    if wrong := [number for number in numbers if not 1 <= number <= num_rows]:
        raise NodeError(f"the batch has rows 1 to {num_rows}, not {wrong[0]}")
    if len(numbers) == num_rows:
        raise NodeError(f"this would leave out all of its {counted(num_rows, 'row')}: reject the batch instead")
    words = check_reason(because)
    return tuple(RejectedRow(row=number, because=words) for number in numbers)
