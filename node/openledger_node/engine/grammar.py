"""Answers that fit a JSON schema: which tokens may come next, by llguidance's parser over the base's own vocabulary.

Nothing of it is imported or built before the first request that brings a schema.
"""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from openledger_protocol.errors import MalformedError

from ..models.decoder_config import end_ids
from .tokenizer import ByteTokenizer

if TYPE_CHECKING:
    from llguidance import LLMatcher, LLTokenizer
    from llguidance._lib import JsonCompileOptions

WORD_BITS = 32

JSON_OPTIONS: "JsonCompileOptions" = {"whitespace_flexible": False, "whitespace_pattern": " ?"}
"""At most one space between parts: models that may write more of them sometimes never stop."""

LEXER_STATES_MAX = 50_000
"""About 100 MB of the engine's memory: a stranger may have written the schema."""

REFUSAL_LENGTH_MAX = 300


class Grammar:
    """Where one answer stands in its schema."""

    def __init__(self, matcher: "LLMatcher", vocab_size: int) -> None:
        self._matcher = matcher
        self._num_words = -(-vocab_size // WORD_BITS)

    def allowed(self) -> NDArray[np.uint32] | None:
        """Which tokens may come next, a bit a token id: an end token exactly when the answer fits as it is.

        Returns:
            At least one bit, (⌈vocabulary / 32⌉,).

        Raises:
            MalformedError: the schema is too much work at this place, or a token came that it did not allow.
        """
        mask = np.frombuffer(self._matcher.compute_bitmask(), dtype="<u4")[: self._num_words]
        if self._matcher.is_error():
            raise MalformedError(f"this answer can't go on within its schema: {_reason(self._matcher)}")
        return mask

    def push(self, token_id: int) -> None:
        """Go on behind a token; those that an engine before this one gave out come first, in their order."""
        self._matcher.consume_token(token_id)


class Grammars:
    """Starts grammars over one base's vocabulary."""

    def __init__(self, folder: Path | None, vocab_size: int) -> None:
        self._folder = folder
        self._vocab_size = vocab_size
        self._tokenizer: LLTokenizer | None = None

    def start(self, json_schema: str) -> Grammar:
        """Begin an answer that is to fit a schema.

        Raises:
            MalformedError: naming what of the schema is not supported, or why this base serves none.
        """
        from llguidance import LLMatcher, LLParserLimits

        if self._tokenizer is None:
            self._tokenizer = _open_tokenizer(self._folder, self._vocab_size)
        limits = LLParserLimits(max_lexer_states=LEXER_STATES_MAX, verbose_errors=False)
        try:
            rules = LLMatcher.grammar_from_json_schema(json_schema, overrides=JSON_OPTIONS)
            matcher = LLMatcher(self._tokenizer, rules, log_level=0, limits=limits)
        except ValueError as error:
            raise MalformedError(f"json_schema is not supported: {error}") from error
        if matcher.is_error():
            raise MalformedError(f"json_schema is not supported: {_reason(matcher)}")
        return Grammar(matcher, self._vocab_size)


def open_grammars(folder: Path | None, vocab_size: int) -> Grammars:
    """Prepare grammars for the base in `folder`; None is the fake base."""
    return Grammars(folder, vocab_size)


class _ByteVocabulary:
    """The fake base's tokens, as llguidance asks for them."""

    eos_token_id = ByteTokenizer.end_id
    bos_token_id = None
    tokens = (*(bytes([byte]) for byte in range(ByteTokenizer.end_id)), b"<end>")
    special_token_ids = (ByteTokenizer.end_id,)

    def __call__(self, text: bytes) -> list[int]:
        return list(text)


def _open_tokenizer(folder: Path | None, vocab_size: int) -> "LLTokenizer":
    from llguidance import LLTokenizer, TokenizerWrapper

    if folder is None:
        return LLTokenizer(TokenizerWrapper(_ByteVocabulary()), n_vocab=vocab_size)
    ends = end_ids(folder)
    if not ends:
        raise MalformedError("json_schema is not supported by this base: it has no token that ends an answer")
    try:
        return LLTokenizer(str(folder / "tokenizer.json"), n_vocab=vocab_size, eos_token=list(ends))
    except ValueError as error:
        raise MalformedError(f"json_schema is not supported by this base's tokenizer: {error}") from error


def _reason(matcher: "LLMatcher") -> str:
    """What llguidance says, in one line."""
    return " ".join(matcher.get_error().split())[:REFUSAL_LENGTH_MAX]
