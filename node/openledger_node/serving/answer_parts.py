"""The parts of an answer: text, reasoning and tool calls."""

from collections.abc import Callable
from dataclasses import dataclass

from openledger_protocol.inference import TokenChunk


@dataclass(frozen=True, slots=True)
class TextPart:
    """Text that answers."""

    text: str


@dataclass(frozen=True, slots=True)
class ReasoningPart:
    """Text with which the model thinks before it answers."""

    text: str


@dataclass(frozen=True, slots=True)
class ToolCallStart:
    """The beginning of a tool call, once its name is whole."""

    index: int
    id: str
    name: str


@dataclass(frozen=True, slots=True)
class ToolCallArguments:
    """A piece of a tool call's arguments."""

    index: int
    text: str


Part = TextPart | ReasoningPart | ToolCallStart | ToolCallArguments


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerFormat:
    """The form in which a base writes its answers."""


class AnswerParts:
    """Reads one answer."""

    def __init__(self, format: AnswerFormat, *, call_id: Callable[[], str]) -> None:
        self.has_tool_calls = False

    def push(self, chunk: TokenChunk) -> list[Part]:
        """Take a piece of the answer and return the parts that it completes."""
        return [TextPart(chunk.text)] if chunk.text else []

    def end(self) -> list[Part]:
        """Return the parts that were held back."""
        return []
