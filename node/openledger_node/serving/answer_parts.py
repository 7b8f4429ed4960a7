"""An answer's text in parts: prose, reasoning and tool calls, while it comes.

A call's name is passed on once its arguments begin, and its arguments as they come. Text that only looks like a call
comes out as text. However an answer is cut into chunks, its parts are the same; whitespace beside the tags of
reasoning and calls belongs to none of them.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from openledger_protocol.inference import InferenceRequest, TokenChunk, Tool

from ..engine.chat_template import ChatStyle
from ..engine.tool_formats import THINK_CLOSING, THINK_OPENING
from .call_reader import CallReader, NotACallError, ReadCalls

SPACE_HELD_MAX: Final = 256
"""Whitespace before a tag that is left out; more is text."""

READ_AGAIN_MAX: Final = 256
"""A longer text that turned out to be no call is not searched for another one, so that no text is read many times."""

PIECE_LENGTH: Final = 4096
"""Longer chunks are read in pieces, because what stands behind a tag is copied for each tag."""

_SPACE_AT_END = re.compile(rf"\s{{1,{SPACE_HELD_MAX}}}\Z")


@dataclass(frozen=True, slots=True)
class TextPart:
    """A piece of the answer's prose."""

    text: str


@dataclass(frozen=True, slots=True)
class ReasoningPart:
    """A piece of the model's reasoning."""

    text: str


@dataclass(frozen=True, slots=True)
class ToolCallStart:
    """A call begins."""

    index: int  # from 0, in the order of the answer
    id: str
    name: str


@dataclass(frozen=True, slots=True)
class ToolCallArguments:
    """A piece of a call's arguments, which are JSON text as the model writes it."""

    index: int
    text: str


Part = TextPart | ReasoningPart | ToolCallStart | ToolCallArguments


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerFormat:
    """The kinds of parts that an answer may have beside prose."""

    style: ChatStyle
    tools: tuple[Tool, ...] = ()  # that may be called; none: nothing is read as a call
    has_reasoning: bool = False
    is_json: bool = False  # the answer must fit a schema, so it may come without the reasoning that was begun for it

    @property
    def is_plain(self) -> bool:
        """True if the answer is nothing but text, so that it needs no reading."""
        return not self.tools and not self.has_reasoning


def answer_format(style: ChatStyle, request: InferenceRequest) -> AnswerFormat:
    """The format of a request's answer on a base of this style. A raw text is continued as it is."""
    if isinstance(request.prompt, str):
        return AnswerFormat(style=style)
    tooling, style = request.tooling, style.with_thinking(request.thinking)
    return AnswerFormat(
        style=style,
        tools=tooling.tools if tooling and tooling.choice != "none" else (),
        has_reasoning=style.can_reason,
        is_json=request.sampling.json_schema is not None,
    )


class AnswerParts:
    """Reads one answer."""

    def __init__(self, format: AnswerFormat, *, call_id: Callable[[], str]) -> None:
        self._format = format
        self._call_id = call_id
        self._family = format.style.family
        self._pending = ""  # text that may still become a tag
        self._read: Callable[[bool], bool] = self._read_start if format.has_reasoning else self._read_text
        self._parts: list[Part] = []
        self._reader: CallReader | None = None
        self._num_calls = 0
        self._has_text = False

    @property
    def has_tool_calls(self) -> bool:
        """True once a call has begun."""
        return self._num_calls > 0

    def push(self, chunk: TokenChunk) -> list[Part]:
        """Take a chunk and return the parts that are certain now."""
        parts: list[Part] = []
        for start in range(0, len(chunk.text), PIECE_LENGTH):
            self._pending += chunk.text[start : start + PIECE_LENGTH]
            parts += self._run(is_end=False)
        return parts

    def end(self) -> list[Part]:
        """Return what was held back; the answer has no more text."""
        return self._run(is_end=True)

    def _run(self, *, is_end: bool) -> list[Part]:
        while self._read(is_end):
            pass
        parts, self._parts = self._parts, []
        return parts

    # ---- each reads what it can of the pending text, and returns True if another can go on

    def _read_start(self, is_end: bool) -> bool:
        """Find out whether the answer begins with reasoning."""
        text = self._pending.lstrip()
        if len(self._pending) - len(text) > SPACE_HELD_MAX:
            return self._go_on(self._read_text, self._pending)
        if self._format.style.starts_reasoning:
            if not text:
                return False
            is_bare = self._format.is_json and text[0] in '{["'
            return self._go_on(self._read_text if is_bare else self._read_reasoning, text)
        if text.startswith(THINK_OPENING):
            return self._go_on(self._read_opened, text[len(THINK_OPENING) :])
        if THINK_OPENING.startswith(text) and not is_end:
            return False
        return self._go_on(self._read_text, self._pending)

    def _read_opened(self, is_end: bool) -> bool:
        self._pending = self._pending.lstrip()
        return self._go_on(self._read_reasoning, self._pending) if self._pending else False

    def _read_reasoning(self, is_end: bool) -> bool:
        place = self._pending.find(THINK_CLOSING)
        shown = self._showable(THINK_CLOSING, place, is_end=is_end)
        if shown:
            self._parts.append(ReasoningPart(self._pending[:shown]))
        if place < 0:
            self._pending = self._pending[shown:]
            return False
        return self._go_on(self._read_after_tag, self._pending[place + len(THINK_CLOSING) :])

    def _read_after_tag(self, is_end: bool) -> bool:
        """Leave out the whitespace after a tag."""
        self._pending = self._pending.lstrip()
        return self._go_on(self._read_text, self._pending) if self._pending else False

    def _read_text(self, is_end: bool) -> bool:
        if not self._format.tools:
            self._show(len(self._pending))
            return False
        if self._family.body == "bare" and not self._has_text:
            space = len(self._pending) - len(self._pending.lstrip())
            if space <= SPACE_HELD_MAX and self._pending[space : space + 1] in ("", "{"):
                is_call = len(self._pending) > space
                return self._start_call(space, opening="") if is_call else self._show_at(is_end)
        opening = self._family.opening
        place = self._pending.find(opening)
        shown = self._showable(opening, place, is_end=is_end)
        self._show(shown)
        if place < 0:
            return False
        return self._start_call(place - shown, opening=opening)

    def _start_call(self, place: int, *, opening: str) -> bool:
        """Begin to read a call; what stands before `place` is whitespace, which is text only if there is no call."""
        raw, rest = self._pending[: place + len(opening)], self._pending[place + len(opening) :]
        self._reader = CallReader(self._family, self._format.tools, raw, num_before=self._num_calls)
        return self._go_on(self._read_call, rest)

    def _read_call(self, is_end: bool) -> bool:
        reader = self._reader
        assert reader, "a call was begun"
        try:
            read = reader.take(self._pending, is_end=is_end)
        except NotACallError as error:
            self._pass_on(error.read)
            return self._take_back(error.raw, error.rest, is_end=is_end)
        self._pass_on(read)
        self._pending = read.rest
        if not read.is_over:
            return False
        self._reader = None
        return self._go_on(self._read_after_tag, self._pending)

    def _take_back(self, raw: str, rest: str, *, is_end: bool) -> bool:
        """Show as text what was no call."""
        self._reader = None
        opening = self._family.opening
        skipped = raw.find(opening) + len(opening) if opening in raw else len(raw) - len(raw.lstrip()) + 1
        if len(raw) > READ_AGAIN_MAX or is_end:
            skipped = len(raw)
        self._pending = raw
        self._show(skipped)
        return self._go_on(self._read_text, self._pending + rest)

    def _pass_on(self, read: ReadCalls) -> None:
        for event in read.events:
            if event.name:
                self._parts.append(ToolCallStart(self._num_calls, self._call_id(), event.name))
                self._num_calls += 1
            if event.arguments:
                self._parts.append(ToolCallArguments(self._num_calls - 1, event.arguments))

    # ---- helpers

    def _go_on(self, read: Callable[[bool], bool], pending: str) -> bool:
        self._read, self._pending = read, pending
        return True

    def _show_at(self, is_end: bool) -> bool:
        """Show whitespace only when the answer ends; until then it may stand before a call."""
        self._show(len(self._pending) if is_end else 0)
        return False

    def _show(self, count: int) -> None:
        if count:
            text = self._pending[:count]
            if self._parts and isinstance(last := self._parts[-1], TextPart):
                self._parts[-1] = TextPart(last.text + text)
            else:
                self._parts.append(TextPart(text))
            self._has_text = True
        self._pending = self._pending[count:]

    def _showable(self, tag: str, place: int, *, is_end: bool) -> int:
        """The number of pending characters that surely stand before a tag and the whitespace beside it."""
        end = len(self._pending)
        if place >= 0:
            end = place
        elif is_end:
            return end
        else:
            end -= next((size for size in range(min(len(tag) - 1, end), 0, -1) if self._ends_with(tag[:size])), 0)
        space = _SPACE_AT_END.search(self._pending, max(0, end - SPACE_HELD_MAX), end)
        return space.start() if space else end

    def _ends_with(self, text: str) -> bool:
        return self._pending.endswith(text)
