"""A tokenizer whose tokens are words and marks, so that runs of tokens are what they are on a real base."""

import re

from openledger_node.engine.chat_template import ChatStyle
from openledger_protocol.inference import Message, Tooling

_PIECE = re.compile(r"\w+|[^\w\s]")


class WordTokenizer:
    """Numbers words as they come: one tokenizer for all that is compared."""

    style = ChatStyle()

    def __init__(self) -> None:
        self._ids: dict[str, int] = {}

    def render(
        self, prompt: tuple[Message, ...] | str, tooling: Tooling | None = None, thinking: bool | None = None
    ) -> tuple[int, ...]:
        """A line a turn."""
        return self.encode(prompt if isinstance(prompt, str) else "\n".join(turn.content for turn in prompt))

    def encode(self, text: str) -> tuple[int, ...]:
        """One id a word."""
        return tuple(self._ids.setdefault(piece, len(self._ids)) for piece in _PIECE.findall(text))

    def decoder(self) -> "WordTokenizer":
        """Words alone know no earlier ones."""
        return self

    def added_id(self, text: str) -> int | None:
        """No token was added."""
        return None

    def push(self, token_id: int) -> str:
        """The word and a blank."""
        return list(self._ids)[token_id] + " "
