"""Answers that fit a JSON schema: llguidance's parser over the base's vocabulary tells which tokens may come next.

The library is imported only when the first request brings a schema.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Final

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
"""Allow at most one space between parts, because models that may write more sometimes never stop."""

LEXER_STATES_MAX = 50_000
"""About 100 MB of the engine's memory; the schema may come from a stranger."""

REFUSAL_LENGTH_MAX = 300


class Grammar:
    """The place of one answer in its schema."""

    def __init__(self, matcher: "LLMatcher", vocab_size: int) -> None:
        self._matcher = matcher
        self._num_words = -(-vocab_size // WORD_BITS)

    def allowed(self) -> NDArray[np.uint32] | None:
        """The tokens that may come next; an end token is among them exactly when the answer fits as it is.

        Returns:
            (⌈vocabulary / 32⌉,) words with one bit a token id, at least one of them set.

        Raises:
            MalformedError: the schema is too complex at this point, or does not allow a token that was pushed.
        """
        mask = np.frombuffer(self._matcher.compute_bitmask(), dtype="<u4")[: self._num_words]
        if self._matcher.is_error():
            raise MalformedError(f"this answer can't continue within its schema: {_reason(self._matcher)}")
        return mask

    def push(self, token_id: int) -> None:
        """Advance past a token; a resumed answer pushes the tokens that were already sent first."""
        self._matcher.consume_token(token_id)


class Grammars:
    """Starts grammars over one base's vocabulary."""

    def __init__(self, folder: Path | None, vocab_size: int) -> None:
        self._folder = folder
        self._vocab_size = vocab_size
        self._tokenizer: LLTokenizer | None = None

    def start(self, json_schema: str) -> Grammar:
        """Start an answer that must fit a schema.

        Raises:
            MalformedError: names the part of the schema that is not supported, or why this base serves no schema.
        """
        from llguidance import LLMatcher, LLParserLimits

        if self._tokenizer is None:
            self._tokenizer = _open_tokenizer(self._folder, self._vocab_size)
        limits = LLParserLimits(max_lexer_states=LEXER_STATES_MAX, verbose_errors=False)
        try:
            rules = LLMatcher.grammar_from_json_schema(json_schema, overrides=JSON_OPTIONS)
            matcher = LLMatcher(self._tokenizer, rules, log_level=0, limits=limits)
        except ValueError as error:
            raise MalformedError(f"json_schema is not supported: {_plain(str(error))}") from error
        if matcher.is_error():
            raise MalformedError(f"json_schema is not supported: {_reason(matcher)}")
        return Grammar(matcher, self._vocab_size)


def open_grammars(folder: Path | None, vocab_size: int) -> Grammars:
    """Prepare grammars for the base in `folder`; None is the fake base."""
    return Grammars(folder, vocab_size)


class _ByteVocabulary:
    """The fake base's vocabulary in llguidance's interface."""

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


PLAIN_WORDS: Final = (
    ("coerce_one_of", "its oneOf has alternatives that may both be true: use anyOf"),
    ("NoExtension", "it allows no text at this place, as a schema that only refers to itself"),
    ("TooComplex", "it is too complex"),
    ("LexerTooComplex", "it is too complex"),
    ("ParserTooComplex", "it is too complex"),
)
"""Words of llguidance's messages, and what they mean for the writer of a schema."""


def _reason(matcher: "LLMatcher") -> str:
    """The meaning of llguidance's message, or the message itself in one line."""
    return _plain(matcher.get_error())


def _plain(message: str) -> str:
    known = next((plain for word, plain in PLAIN_WORDS if word in message), None)
    return known or " ".join(message.replace("<non-verbose/>", "").split())[:REFUSAL_LENGTH_MAX]
