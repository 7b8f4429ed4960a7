"""Near-duplicates: rows whose shingles (runs of three words) have a Jaccard index of 0.6 or more.

Only integers decide, in the order of the rows, so that every node finds the same ones. `copies` says who is paid for
them, and an index leaves out what one contributor repeats.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from typing import Final

from openledger_protocol.datanet import Row

SHINGLE_WORDS: Final = 3
ALIKE: Final = (3, 5)
"""The lowest Jaccard index of rows that resemble each other, as a fraction."""

_WORD: Final = re.compile("[^\\W\u2e80-\U0010ffff]+|[\u2e80-\U0010ffff]")
"""Runs of letters and digits; in scripts without spaces each character is a word."""

_INVISIBLE: Final = re.compile("[\u00ad\u200b-\u200d\u2060\ufeff]")
"""Characters without width: in a word, they would make another word of it."""

Shingle = tuple[str, ...]


class NearRows:
    """First rows by the rarest of their shingles. Rows are asked for and added in their order.

    Rows are compared with first rows only, so a copy of a copy may have changed enough to count as its own row.
    """

    def __init__(self, rows: Sequence[Row]) -> None:
        self._shingles = _number_shingles([row_shingles(row) for row in rows])
        self._firsts: dict[int, list[int]] = {}  # shingle → first rows that have it among their probes
        self._found: dict[frozenset[int], int] = {}  # of equal shingles, the first row

    def find(self, place: int) -> int | None:
        """Find the earliest first row that resembles this row."""
        ours = self._shingles[place]
        if ours in self._found:
            return self._found[ours]
        candidates = sorted({first for shingle in _probes_of(ours) for first in self._firsts.get(shingle, ())})
        first = next((first for first in candidates if _are_alike(ours, self._shingles[first])), None)
        if first is not None:
            self._found[ours] = first
        return first

    def add(self, place: int) -> None:
        """Add a first row."""
        ours = self._shingles[place]
        self._found.setdefault(ours, place)
        for shingle in _probes_of(ours):
            self._firsts.setdefault(shingle, []).append(place)


def distinct_rows(rows: Sequence[Row]) -> tuple[Row, ...]:
    """The rows to index: only the first of one contributor's near-duplicates, so that repetition pays nothing."""
    near = NearRows(rows)
    kept: dict[tuple[int, str], Row] = {}
    for place, row in enumerate(rows):
        first = near.find(place)
        if first is None:
            near.add(place)
        kept.setdefault((place if first is None else first, row.contributor), row)
    return tuple(kept.values())


def row_shingles(row: Row) -> frozenset[Shingle]:
    """The runs of three words in prompt and completion as one text, without case and punctuation."""
    words = row_words(row)
    ends = range(SHINGLE_WORDS, max(len(words), SHINGLE_WORDS) + 1)
    return frozenset(tuple(words[end - SHINGLE_WORDS : end]) for end in ends)


def row_words(row: Row, *, of_prompt: bool = True) -> list[str]:
    """The words of prompt and completion, or of the completion alone, without case and punctuation."""
    text = f"{row.prompt}\n{row.completion}" if of_prompt else row.completion
    folded = unicodedata.normalize("NFKC", _INVISIBLE.sub("", text)).casefold()
    return _WORD.findall(folded) or [folded]


def _number_shingles(shingles: Sequence[frozenset[Shingle]]) -> list[frozenset[int]]:
    """Number the shingles, the rarest lowest, because numbers are compared faster than words."""
    frequency = Counter(shingle for of_row in shingles for shingle in of_row)
    numbers = {shingle: number for number, shingle in enumerate(sorted(frequency, key=frequency.__getitem__))}
    return [frozenset(map(numbers.__getitem__, of_row)) for of_row in shingles]


def _probes_of(shingles: frozenset[int]) -> list[int]:
    """The rarest shingles of a row, enough that every similar row has one of them among its own probes.

    Source: Chaudhuri, Ganti and Kaushik, prefix filtering.
    """
    least, of = ALIKE
    num_common_min = -(-len(shingles) * least // of)
    return sorted(shingles)[: len(shingles) - num_common_min + 1]


def _are_alike(ours: frozenset[int], theirs: frozenset[int]) -> bool:
    """Return True if the Jaccard index of two rows' shingles is high enough."""
    least, of = ALIKE
    common = len(ours & theirs)
    return common * of >= least * (len(ours) + len(theirs) - common)
