"""Copies among the rows of a Datanet: the first registered row owns what it says, and is paid for its copies.

A later row copies an earlier one if both are equal, if their runs of three words have a Jaccard index of 0.6 or more,
or if the earlier row is of another contributor and its word fingerprint is in the later row. Only integers decide, in
the order of the rows, so every machine finds the same copies. A later batch changes no earlier verdict.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from itertools import islice, pairwise
from typing import Final, Literal

from openledger_protocol.codec import canonical_digest
from openledger_protocol.datanet import Row
from openledger_protocol.primitives import Digest

from .near import NearRows, row_words

Evidence = Literal["equal", "shingles", "words"]
"""The way in which a copy was recognised."""

RARE: Final = 25
"""A word is rare if at most one row in this many has it."""

FAIRLY_RARE: Final = 5
"""The same for words of a completion, which hold what a question asks for, and for rows whose rare words are too few.

Places, colours and numbers of facts are in a tenth of the rows and more, and another one makes another fact.
"""

SCARCE: Final = 6
"""A word that is not rare is scarce if at most one row in this many has it, such as one of ten things that are kept.

Two rows that differ in one scarce word each are about two things.
"""

FEW_ROWS: Final = 2
"""A word in at most this many rows is rare in the smallest Datanets, too."""

FINGERPRINT_WORDS_MIN: Final = 2
CHANCE: Final = 50
"""Words are a fingerprint if chance alone puts them and the answer into one row of this many Datanets, or into fewer.

An answer such as "yes" says little, and "great" and "clean" are in many reviews.
"""

ANSWER_KEPT: Final = (3, 5)
"""Least part of the pairs of neighbouring tokens in the earlier completion that the later one must have."""

SHORT_ANSWER_TOKENS: Final = 2
"""A completion of so few tokens must be the same, because other answers would have half of its pairs by chance."""

PADDING_MAX: Final = 4
"""Fairly rare words that the later row may have for each one of the fingerprint, which counts among them.

A long text has the words of many short rows and copies none of them. Words of both rows and words that are
new to the Datanet are padding for nobody.
"""

COMPARED_MAX: Final = 64
"""Earlier rows that a row has the fingerprint and the answer of, and is compared with; more would take hours."""

SNAPSHOT_ROWS_MIN: Final = 32
"""Rows of earlier batches from which their frequencies alone count, so that a batch can't make its words frequent."""

SNAPSHOT_GROWTH: Final = (5, 4)
"""Words are counted again when the rows are this many times those counted last, which keeps the work linear."""

ANSWER_TOKEN: Final = re.compile("[^\\W\u2e80-\U0010ffff]+|\\S")
EDGE: Final = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Copy:
    """The verdict over a row that copies an earlier one."""

    first: int  # place of the first row, whose contributor is paid
    evidence: Evidence


def find_copies(batches: Iterable[Sequence[Row]], cleared: Collection[Digest] = ()) -> tuple[Copy | None, ...]:
    """For each row of the batches in their order, the first row that it copies, or None.

    `cleared`: digests of the rows that an appeal has found to be no copies.
    """
    held = [tuple(batch) for batch in batches]
    rows = [row for batch in held for row in batch]
    near, words = NearRows(rows), _Fingerprints(rows)
    found: list[Copy | None] = []
    place = 0
    for batch in held:
        words.begin_batch(place, place + len(batch), found)
        for row in batch:
            is_cleared = bool(cleared) and canonical_digest(row) in cleared
            copy = None if is_cleared else _earliest(rows, place, near.find(place), words.find(place))
            if copy is None:
                near.add(place)
                words.add(place)
            found.append(copy)
            place += 1
    return tuple(found)


def clusters_of(copies: Sequence[Copy | None]) -> tuple[int, ...]:
    """For each row, the place of the row whose contributor is paid: its own, unless it is a copy."""
    return tuple(place if copy is None else copy.first for place, copy in enumerate(copies))


def _earliest(rows: Sequence[Row], place: int, near: int | None, worded: int | None) -> Copy | None:
    places = [first for first in (near, worded) if first is not None]
    if not places:
        return None
    first = min(places)
    if first != near:
        return Copy(first=first, evidence="words")
    is_equal = (rows[first].prompt, rows[first].completion) == (rows[place].prompt, rows[place].completion)
    return Copy(first=first, evidence="equal" if is_equal else "shingles")


class _Fingerprints:
    """First rows by the two rarest words of their fingerprints."""

    def __init__(self, rows: Sequence[Row]) -> None:
        self._rows = rows
        numbers: dict[str, int] = {}
        # Numbers follow the order in which words appear, so that ties are broken alike everywhere.
        self._words = [_numbered(row_words(row), numbers) for row in rows]
        answers = [_numbered(row_words(row, of_prompt=False), numbers) for row in rows]
        self._answers = [answer & words for answer, words in zip(answers, self._words, strict=True)]
        self._frequency = Counter[int]()
        self._completions = Counter[str]()
        self._counted = 0  # rows whose words are counted
        self._firsts: dict[int, dict[int, list[int]]] = {}
        self._prints: dict[int, frozenset[int]] = {}
        self._scarce_words: dict[int, set[int]] = {}
        self._pairs: dict[int, tuple[tuple[str, ...], frozenset[tuple[str, str]]]] = {}

    def begin_batch(self, begin: int, end: int, verdicts: Sequence[Copy | None]) -> None:
        """Count the words again if the rows have grown enough; a small Datanet counts the batch itself, too."""
        counted = begin if begin >= SNAPSHOT_ROWS_MIN else end
        times, of = SNAPSHOT_GROWTH
        if self._counted and counted * of < self._counted * times:
            return
        for place in range(self._counted, counted):
            self._frequency.update(self._words[place])
            self._completions[self._rows[place].completion] += 1
        self._counted = counted
        self._firsts.clear()
        self._prints.clear()
        self._scarce_words.clear()
        for place, copy in enumerate(verdicts):
            if copy is None:
                self.add(place)

    def add(self, place: int) -> None:
        """Add a first row, unless it has no fingerprint."""
        fingerprint = sorted(self._fingerprint(place), key=lambda word: (self._frequency[word], word))
        if not fingerprint:
            return
        rarest, second = fingerprint[:2]
        self._firsts.setdefault(rarest, {}).setdefault(second, []).append(place)
        self._prints[place] = frozenset(fingerprint)

    def find(self, place: int) -> int | None:
        """Find the earliest first row of another contributor whose fingerprint is in this row."""
        ours = self._words[place]
        candidates: list[int] = []
        for word in ours:
            by_second = self._firsts.get(word)
            if by_second is None:
                continue
            seconds = (other for other in by_second if other in ours)
            if len(by_second) > len(ours):
                seconds = (other for other in ours if other in by_second)
            for second in seconds:
                candidates += by_second[second]
        if not candidates:
            return None
        known = {word for word in self._in_few(ours, FAIRLY_RARE) if self._frequency[word]}
        kept = (
            first for first in sorted(candidates) if self._is_in(place, first) and not self._is_padded(known, first)
        )
        compared = islice(kept, COMPARED_MAX)
        return next((first for first in compared if not self._are_of_two_things(place, first)), None)

    def _is_padded(self, known: set[int], first: int) -> bool:
        """True if a row has too many known words beside those of an earlier one."""
        theirs = self._prints[first]
        return len(known - self._words[first]) + len(theirs) > PADDING_MAX * len(theirs)

    def _is_in(self, place: int, first: int) -> bool:
        """True if another contributor's fingerprint and answer are in a row."""
        return (
            self._rows[place].contributor != self._rows[first].contributor
            and self._prints[first] <= self._words[place]
            and self._is_answer_kept(place, first)
        )

    def _are_of_two_things(self, place: int, first: int) -> bool:
        """True if each row has exactly one scarce word that the other lacks."""
        ours, theirs = self._scarce(place) - self._words[first], self._scarce(first) - self._words[place]
        return len(ours) == len(theirs) == 1

    def _scarce(self, place: int) -> set[int]:
        if place not in self._scarce_words:
            words = self._words[place]
            self._scarce_words[place] = self._in_few(words, SCARCE) - self._in_few(words, RARE)
        return self._scarce_words[place]

    def _fingerprint(self, place: int) -> set[int]:
        """The words by which copies of a row are known: the rare ones, else the fairly rare ones, else none."""
        for words in (self._rare(place), self._in_few(self._words[place], FAIRLY_RARE)):
            if len(words) >= FINGERPRINT_WORDS_MIN and not self._are_together_by_chance(words, place):
                return words
        return set()

    def _rare(self, place: int) -> set[int]:
        return self._in_few(self._words[place], RARE) | self._in_few(self._answers[place], FAIRLY_RARE)

    def _are_together_by_chance(self, words: Iterable[int], place: int) -> bool:
        """True if the counted rows, with words and answers drawn each by itself, would bring forth such a row."""
        ways, draws = CHANCE * max(self._completions[self._rows[place].completion], 1), 1
        for word in words:
            ways *= max(self._frequency[word], 1)
            draws *= self._counted
            if ways <= draws:
                return False
        return True

    def _in_few(self, words: Iterable[int], part: int) -> set[int]:
        """The words that at most one row in `part` has."""
        times = max(self._counted // part, FEW_ROWS)
        return {word for word in words if self._frequency[word] <= times}

    def _is_answer_kept(self, place: int, first: int) -> bool:
        (ours, our_pairs), (theirs, their_pairs) = self._answer_pairs(place), self._answer_pairs(first)
        if len(theirs) <= SHORT_ANSWER_TOKENS:
            return ours == theirs
        least, of = ANSWER_KEPT
        return len(our_pairs & their_pairs) * of >= least * len(their_pairs)

    def _answer_pairs(self, place: int) -> tuple[tuple[str, ...], frozenset[tuple[str, str]]]:
        """The tokens of a completion with their case, because a row may teach nothing but its letters."""
        if place not in self._pairs:
            text = unicodedata.normalize("NFKC", self._rows[place].completion)
            tokens = tuple(ANSWER_TOKEN.findall(text))
            self._pairs[place] = (tokens, frozenset(pairwise((EDGE, *tokens, EDGE))))
        return self._pairs[place]


def _numbered(words: Iterable[str], numbers: dict[str, int]) -> frozenset[int]:
    return frozenset([numbers.setdefault(word, len(numbers)) for word in words])
