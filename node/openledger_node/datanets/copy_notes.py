"""Notes of a batch's copies: which row copies which earlier one, with the beginnings of both, for people to read."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from openledger_protocol.datanet import Row
from openledger_protocol.primitives import Digest

from .copies import Copy, Evidence

BEGINNING_CHARACTERS: Final = 80
NOTES_MAX: Final = 1_000
"""Notes that a batch keeps; its counts are of all copies."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CopyNote:
    """One row that copies a row of another contributor. Rows are counted from 1 in their batch."""

    row: int
    begins: str
    of_batch: Digest
    of_row: int
    of_begins: str
    contributor: str  # of the earlier row, who is paid
    evidence: Evidence


def note_copies(
    batches: Sequence[tuple[Digest, Mapping[int, Row]]], copies: Sequence[Copy | None]
) -> tuple[CopyNote, ...]:
    """Describe the rows of the last batch that copy another contributor's.

    `batches` hold rows by their numbers, and `copies` are the verdicts of all these rows.
    """
    begins, total = [], 0
    for _, rows in batches:
        begins.append(total)
        total += len(rows)
    numbered = [list(rows.items()) for _, rows in batches]
    notes: list[CopyNote] = []
    for (number, row), copy in zip(numbered[-1], copies[begins[-1] :], strict=True):
        if copy is None or len(notes) == NOTES_MAX:
            continue
        at = max(place for place, begin in enumerate(begins) if begin <= copy.first)
        of_row, first = numbered[at][copy.first - begins[at]]
        if first.contributor != row.contributor:
            notes.append(
                CopyNote(
                    row=number,
                    begins=beginning(row),
                    of_batch=batches[at][0],
                    of_row=of_row,
                    of_begins=beginning(first),
                    contributor=first.contributor,
                    evidence=copy.evidence,
                )
            )
    return tuple(notes)


def beginning(row: Row) -> str:
    """The beginnings of a row's texts on one line."""
    text = " ".join(f"{row.prompt} → {row.completion}".split())
    if len(text) <= BEGINNING_CHARACTERS:
        return text
    half = BEGINNING_CHARACTERS // 2
    prompt, completion = (" ".join(each.split()) for each in (row.prompt, row.completion))
    return f"{_cut(prompt, half)} → {_cut(completion, half)}"


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[:length]}…"
