"""Rows as the model sees them: chat template, prompt, and the completion that the loss is taken on."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from openledger_protocol.datanet import Row
from openledger_protocol.errors import MalformedError
from openledger_protocol.inference import Message

from ..engine.tokenizer import ByteTokenizer, Tokenizer, open_tokenizer, special_tokens
from ..errors import ModelError
from .estimate import RowTokens

ROWS_TOLD = 1_000
"""Rows between two reports of progress."""

Tell = Callable[[int, int], None]
"""Takes the rows that are measured and the rows that there are."""

Kind = Literal["template", "text", "learned", "learned_template"]
"""Kind of a piece: the base's template, the row's prompt, the learned completion, or the learned end token."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """A run of a row's tokens as text."""

    kind: Kind
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One row with its token counts: the prompt in its template, and the completion with its end token."""

    row: Row
    num_prompt: int
    num_completion: int

    @property
    def num_tokens(self) -> int:
        """All tokens that the model reads."""
        return self.num_prompt + self.num_completion


class RowReader:
    """Reads rows with the same code that serves and trains."""

    def __init__(self, base_folder: Path | None) -> None:
        self._tokenizer: Tokenizer = open_tokenizer(base_folder)
        self._end = special_tokens(base_folder).get("eos_token", "") if base_folder else ""
        self._num_end = len(self._tokenizer.encode(self._end)) if self._end else 1

    def measure(self, row: Row) -> Measured:
        """Count a row's tokens.

        Raises:
            ModelError: the base has no chat template, or the template refuses the row.
        """
        return Measured(
            row=row,
            num_prompt=len(self._render(row)),
            num_completion=len(self._tokenizer.encode(row.completion)) + self._num_end,
        )

    def measure_all(self, rows: Sequence[Row], tell: Tell = lambda *_: None) -> list[Measured]:
        """Count the tokens of rows, and tell how far it is.

        Raises:
            ModelError: as `measure`.
        """
        measured = []
        for done, row in enumerate(rows):
            if done % ROWS_TOLD == 0:
                tell(done, len(rows))
            measured.append(self.measure(row))
        return measured

    def pieces(self, row: Row) -> tuple[Piece, ...]:
        """Split a row into pieces; a template that changes the prompt is one piece."""
        text = self._spell(self._render(row))
        before, found, after = text.partition(row.prompt)
        end = self._end or self._tokenizer.spell(ByteTokenizer.end_id)[0]
        shown = (
            Piece(kind="template", text=before),
            Piece(kind="text", text=found),
            Piece(kind="template", text=after),
            Piece(kind="learned", text=row.completion),
            Piece(kind="learned_template", text=end),
        )
        return tuple(piece for piece in shown if piece.text)

    def _render(self, row: Row) -> tuple[int, ...]:
        try:
            return self._tokenizer.render((Message(role="user", content=row.prompt),))
        except MalformedError as error:
            raise ModelError(f"rows are learned as conversations, and the base cannot render one: {error}") from error

    def _spell(self, ids: Sequence[int]) -> str:
        """Spell ids as text, special tokens by name. Bytes are joined first, since a character may span tokens."""
        spelled = (self._tokenizer.spell(id) for id in ids)
        return b"".join(name.encode() if content is None else content for name, content in spelled).decode(
            errors="replace"
        )


def fitting(measured: Sequence[Measured], tokens_max: int) -> tuple[list[Measured], list[Measured]]:
    """Split rows into those that fit within `tokens_max` and those that are too long."""
    used = [each for each in measured if each.num_tokens <= tokens_max]
    return used, [each for each in measured if each.num_tokens > tokens_max]


def row_tokens(measured: Sequence[Measured]) -> RowTokens:
    """Sum up the token counts that an estimate needs."""
    return RowTokens(
        num_rows=len(measured),
        total=sum(each.num_tokens for each in measured),
        longest=max((each.num_tokens for each in measured), default=0),
        longest_completion=max((each.num_completion for each in measured), default=0),
    )
