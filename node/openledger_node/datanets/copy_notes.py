"""Notes of a batch's copies: which row copies which other one, with the beginnings of both, for people to read."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Final

from openledger_protocol.datanet import Row
from openledger_protocol.errors import MalformedError
from openledger_protocol.primitives import Digest

from .copies import Evidence
from .screening import mask_private
from .verdicts import Verdicts

BEGINNING_CHARACTERS: Final = 80
MASKED_CHARACTERS: Final = 1_000
"""Personal data is masked in so many characters of a text before its beginning is cut, so that none is cut in two."""

NOTES_MAX: Final = 1_000
"""Notes that a batch keeps; its counts are of all copies."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CopyNote:
    """One row of a batch, and the row of another contributor that it copies or that copies it.

    Rows are counted from 1 in their batch.
    """

    row: int
    begins: str
    of_batch: Digest
    of_row: int
    of_begins: str
    contributor: str  # of the other row
    evidence: Evidence
    is_withdrawn: bool = False  # the other row was withdrawn, so its copy is left out of later versions


def note_copies(verdicts: Verdicts, batches: Sequence[Digest], batch: int) -> tuple[CopyNote, ...]:
    """Describe the rows of a batch that copy another contributor's; `batches` names all batches of the verdicts."""
    pairs = ((place, verdicts.owner_of(place), place) for place in verdicts.of_batch(batch))
    return _notes(verdicts, batches, [(ours, theirs, copy) for ours, theirs, copy in pairs if theirs is not None])


def note_taken(verdicts: Verdicts, batches: Sequence[Digest], batch: int) -> tuple[CopyNote, ...]:
    """Describe the rows of batches approved earlier that copy this batch, which is proven to be older."""
    pairs = [
        (owner, place, place)
        for place, (of, _) in enumerate(verdicts.numbers)
        if of < batch and (owner := verdicts.owner_of(place)) is not None and verdicts.numbers[owner][0] == batch
    ]
    return _notes(verdicts, batches, pairs)


def note_from_json(content: object) -> CopyNote:
    """Read a note from `datanet.json`.

    Raises:
        MalformedError: it is not as `store` writes it.
    """
    found = {"is_withdrawn": False, **content} if isinstance(content, dict) else {}  # earlier notes lack it
    names = {field.name for field in fields(CopyNote)}
    if set(found) != names:
        raise MalformedError(f"a note of a copy must have the fields {', '.join(sorted(names))}")
    return CopyNote(**found)


def beginning(row: Row) -> str:
    """The beginnings of a row's texts on one line, with personal data and secrets masked."""
    texts = (mask_private(each[:MASKED_CHARACTERS]) for each in (row.prompt, row.completion))
    prompt, completion = (" ".join(each.split()) for each in texts)
    text = f"{prompt} → {completion}"
    if len(text) <= BEGINNING_CHARACTERS:
        return text
    half = BEGINNING_CHARACTERS // 2
    return f"{_cut(prompt, half)} → {_cut(completion, half)}"


def _notes(
    verdicts: Verdicts, batches: Sequence[Digest], pairs: Sequence[tuple[int, int, int]]
) -> tuple[CopyNote, ...]:
    """Notes of the first pairs of our row and theirs; the third of a pair is the one that is a copy."""
    notes = []
    for ours, theirs, place in pairs[:NOTES_MAX]:
        copy, (of, of_row) = verdicts.copies[place], verdicts.numbers[theirs]
        assert copy is not None, "a row with an owner is a copy"
        notes.append(
            CopyNote(
                row=verdicts.numbers[ours][1],
                begins=beginning(verdicts.rows[ours]),
                of_batch=batches[of],
                of_row=of_row,
                of_begins=beginning(verdicts.rows[theirs]),
                contributor=verdicts.rows[theirs].contributor,
                evidence=copy.evidence,
                is_withdrawn=copy.first in verdicts.withdrawn,
            )
        )
    return tuple(notes)


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[:length]}…"
