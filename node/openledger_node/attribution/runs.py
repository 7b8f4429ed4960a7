"""Runs: stretches of a text that occur word for word in a Datanet's rows, for display.

They do not decide payment: the attributor scores the rows.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from ..engine.tokenizer import Tokenizer
from .index import DatanetIndex
from .suffix_array import Positions, find_patterns

RUN_TOKENS_MIN = 6
"""Shorter runs occur everywhere and prove nothing."""

PLACES_MAX = 4096
"""Occurrences of one run that are examined; a run in so many rows tells a reader nothing more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A run of a text's tokens that rows contain, too, as long as any row matches."""

    begin: int
    length: int
    rows: tuple[int, ...]  # of the index, ascending

    @property
    def end(self) -> int:
        """The place after its last token."""
        return self.begin + self.length


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """A part of a text that is shown as one run."""

    begin: int
    end: int
    run: int  # its place among the runs


def find_runs(index: DatanetIndex, text: Sequence[int]) -> list[Run]:
    """Find the runs of at least six tokens that no longer run contains, from left to right."""
    if len(text) < RUN_TOKENS_MIN:
        return []
    tokens: Positions = np.array(text, np.int64)
    first, count = find_patterns(index.tokens, index.suffixes, tokens)
    level, reached = RUN_TOKENS_MIN - 1, 0
    runs = []
    for end in np.flatnonzero(count[level]).tolist():
        begin, low = end - level, int(first[level, end])
        places = index.suffixes[low : low + min(int(count[level, end]), PLACES_MAX)].astype(np.int64)
        length, places = _extend(index, places, tokens[begin:])
        if begin + length > reached:
            rows = np.unique(np.searchsorted(index.starts, places, side="right") - 1)
            runs.append(Run(begin=begin, length=length, rows=tuple(rows.tolist())))
            reached = begin + length
    return runs


def choose_spans(runs: Sequence[Run], weights: Sequence[int]) -> list[Span]:
    """Divide a text among its runs: an overlap goes to the longer run, then to the one with more weight.

    The rest of the other run is shown as its own if it is still long enough.
    """
    taken = [False] * max((run.end for run in runs), default=0)
    spans = []
    for place in sorted(range(len(runs)), key=lambda at: (-runs[at].length, -weights[at], runs[at].begin)):
        for begin, end in _free(taken, runs[place].begin, runs[place].end):
            if end - begin >= RUN_TOKENS_MIN:
                spans.append(Span(begin=begin, end=end, run=place))
                taken[begin:end] = [True] * (end - begin)
    return sorted(spans, key=lambda span: span.begin)


def num_covered(runs: Sequence[Run]) -> int:
    """The number of a text's tokens that are in any run."""
    return len({token for run in runs for token in range(run.begin, run.end)})


def find_offsets(tokens: Sequence[int], text: str, tokenizer: Tokenizer) -> list[int] | None:
    """The start of each token in characters, and the end of the last; None if they do not spell the text."""
    decoder, offsets, spelled = tokenizer.decoder(), [0], ""
    for token in tokens:
        spelled += decoder.push(token)
        offsets.append(len(spelled))
    if spelled == text:
        return offsets
    skipped = len(text) - len(spelled)  # some tokenizers drop a leading space
    if skipped > 0 and spelled and text.endswith(spelled) and not text[:skipped].strip():
        return [0, *(offset + skipped for offset in offsets[1:])]
    return None


def whole_words(text: str, begin: int, end: int) -> tuple[int, int] | None:
    """The range of the whole words between two places of a text; None if there are none.

    A cut word is left out, so that every marked word did match.
    """
    begin, end = max(0, begin), min(end, len(text))
    if 0 < begin < end and _is_letter(text[begin - 1]):
        while begin < end and _is_letter(text[begin]):
            begin += 1
    if begin < end < len(text) and _is_letter(text[end]):
        while begin < end and _is_letter(text[end - 1]):
            end -= 1
    while begin < end and not _is_letter(text[begin]):
        begin += 1
    while begin < end and not _is_letter(text[end - 1]):
        end -= 1
    return (begin, end) if begin < end else None


def find_in(row: Sequence[int], part: Sequence[int]) -> int | None:
    """The first place in a row's tokens at which a run begins."""
    run = tuple(part)
    places = range(len(row) - len(run) + 1)
    return next((place for place in places if tuple(row[place : place + len(run)]) == run), None)


def _extend(index: DatanetIndex, places: Positions, tokens: Positions) -> tuple[int, Positions]:
    """Extend matches as far as any place allows: the length and the places left. No text has a separator."""
    length, last = RUN_TOKENS_MIN, len(index.tokens) - 1
    while length < len(tokens):
        fits = index.tokens[np.minimum(places + length, last)] == tokens[length]
        if not fits.any():
            break
        places, length = places[fits], length + 1
    return length, places


def _free(taken: Sequence[bool], begin: int, end: int) -> Iterator[tuple[int, int]]:
    """The stretches that no span has taken yet."""
    start: int | None = None
    for place in range(begin, end + 1):
        is_free = place < end and not taken[place]
        if is_free and start is None:
            start = place
        elif not is_free and start is not None:
            yield start, place
            start = None


def _is_letter(character: str) -> bool:
    return character.isalnum() or character in "_'’-"
