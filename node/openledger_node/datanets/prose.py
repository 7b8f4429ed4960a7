"""Prose cut into rows: passages of bounded length under their headings, and questions with their answers.

A row needs a prompt. A passage's prompt is the trail of its headings, and without one its first sentence. Text that
is written as `Q: … A: …` becomes rows of question and answer.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from openledger_protocol.datanet import ROW_TEXT_LENGTH_MAX

from .forms import Pair
from .reader import TextBlock

PASSAGE_CHARACTERS_MAX: Final = 1_200
"""About 300 tokens of English: short enough for a small base to learn, long enough for a whole thought."""

PASSAGE_CHARACTERS_MIN: Final = 20
HEADING_CHARACTERS_MAX: Final = 200
SENTENCE_END: Final = re.compile(r"(?<=[.!?。！？])\s+|(?<=[。！？])")
MARKED: Final = re.compile(
    r"^[ \t*_#>-]{0,8}(question|frage|answer|antwort|q|a)[*_]{0,2}[ \t]{0,4}:[*_]{0,2}[ \t]{0,8}",
    re.IGNORECASE | re.MULTILINE,
)
QUESTIONS: Final = ("q", "question", "frage")
TOO_SHORT: Final = "it is too short to learn from: a passage needs a heading above it, or two sentences"


@dataclass(frozen=True, slots=True, kw_only=True)
class Passage:
    """A row that was cut from prose; without a pair it is too short."""

    place: int
    pair: Pair | None
    is_question: bool = False


class Passages:
    """Cuts blocks into passages, one block at a time."""

    def __init__(self) -> None:
        self._trail: list[tuple[int, str]] = []  # level and text of each heading above
        self._paragraphs: list[str] = []
        self._begin = 1
        self._part = 0  # of the passages under the same heading
        self._question: str | None = None
        self._answer: list[str] = []

    def feed(self, block: TextBlock) -> Iterator[Passage]:
        """Add a block, and yield the passages that it completes."""
        if block.level:
            yield from self.finish()
            kept = [each for each in self._trail if each[0] < block.level]
            self._trail = [*kept, (block.level, block.text[:HEADING_CHARACTERS_MAX])]
            self._part = 0
            return
        before, *marked = MARKED.split(block.text)
        if self._question is not None and self._answer and self._has_room(before):
            self._answer.append(before.strip())
        elif before.strip():
            if self._answer:
                yield from self.finish()
            yield from self._add(block.place, before.strip())
        for mark, text in zip(marked[::2], marked[1::2], strict=True):
            if mark.casefold() in QUESTIONS:
                yield from self.finish()
                self._question, self._begin = text.strip(), block.place
            elif self._question is not None:
                self._answer.append(text.strip())
            else:
                yield from self._add(block.place, text.strip())

    def finish(self) -> Iterator[Passage]:
        """Yield what is left over at a heading or at the end of the file."""
        if self._question is not None:
            answer = "\n\n".join(each for each in self._answer if each)
            pair = Pair(prompt=self._question, completion=answer) if answer else None
            yield Passage(place=self._begin, pair=pair, is_question=True)
            self._question, self._answer = None, []
        if self._paragraphs:
            yield self._passage()

    def _has_room(self, more: str) -> bool:
        """Return True if a paragraph can belong to the answer; the one after a full answer is prose again."""
        return sum(len(each) + 2 for each in self._answer) + len(more) <= ROW_TEXT_LENGTH_MAX

    def _add(self, place: int, text: str) -> Iterator[Passage]:
        for piece in _pieces(text):
            size = sum(len(each) + 2 for each in self._paragraphs)
            if self._paragraphs and size + len(piece) > PASSAGE_CHARACTERS_MAX:
                yield self._passage()
            self._begin = self._begin if self._paragraphs else place
            self._paragraphs.append(piece)

    def _passage(self) -> Passage:
        text = "\n\n".join(self._paragraphs)
        self._paragraphs = []
        self._part += 1
        return Passage(place=self._begin, pair=self._pair(text))

    def _pair(self, text: str) -> Pair | None:
        if self._trail:
            headings = [heading for _, heading in self._trail]
            prompt = headings[-1] if headings[-1].endswith("?") else " › ".join(headings)
            return Pair(prompt=prompt if self._part == 1 else f"{prompt} (part {self._part})", completion=text)
        first, *rest = SENTENCE_END.split(text, maxsplit=1)
        if len(text) < PASSAGE_CHARACTERS_MIN or not rest or not rest[0].strip():
            return None
        return Pair(prompt=first, completion=rest[0])


def _pieces(text: str) -> Iterator[str]:
    """Cut a paragraph that is too long at its sentences, and a sentence that is too long at its words."""
    if len(text) <= PASSAGE_CHARACTERS_MAX:
        yield text
        return
    kept = ""
    for sentence in SENTENCE_END.split(text):
        while len(sentence) > PASSAGE_CHARACTERS_MAX:
            cut = sentence.rfind(" ", PASSAGE_CHARACTERS_MAX // 2, PASSAGE_CHARACTERS_MAX)
            cut = cut if cut > 0 else PASSAGE_CHARACTERS_MAX
            if kept:
                yield kept
                kept = ""
            yield sentence[:cut]
            sentence = sentence[cut:].lstrip()
        if kept and len(kept) + 1 + len(sentence) > PASSAGE_CHARACTERS_MAX:
            yield kept
            kept = sentence
        else:
            kept = f"{kept} {sentence}" if kept else sentence
    if kept:
        yield kept
