"""Answers that fit a JSON schema or a grammar: llguidance's parser tells which tokens may come next.

The library is imported only when the first request brings one.
"""

import json
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from openledger_protocol.errors import MalformedError

from ..models.decoder_config import end_ids
from .closed_schema import closed
from .tokenizer import ByteTokenizer
from .tool_grammar import JSON_OPTIONS, part_of

if TYPE_CHECKING:
    from llguidance import LLMatcher, LLTokenizer

WORD_BITS = 32

LEXER_STATES_MAX = 50_000
"""About 100 MB of the engine's memory; the schema may come from a stranger."""

REFUSAL_LENGTH_MAX = 300

REASONS = {
    "coerce_one_of": "the branches of a oneOf may overlap: write anyOf",
    "NoExtension": "a $ref leads to itself without an end",
    "TooComplex": "it is too complex",
}
"""Reasons in place of llguidance's messages with these terms."""

_PLACE = re.compile(r"at ([0-9]+)\([0-9]+\): (?:failed to compile JSON schema: )?(.*?)(?: [0-9]+ \| .*)?")
"""A message about a line of a Lark grammar, with the lines around it."""


class Grammar:
    """The place of one answer in its schema or grammar."""

    def __init__(self, matcher: "LLMatcher", tokenizer: "LLTokenizer", vocab_size: int) -> None:
        self._matcher = matcher
        self._tokenizer = tokenizer
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

    def push(self, token_id: int) -> bool:
        """Advance past a token, and return False if the grammar does not allow it."""
        return bool(self._matcher.consume_token(token_id))

    def push_first(self, token_id: int) -> bool:
        """Advance past the first token of a text, without the space that some tokenizers put before a text."""
        if self._matcher.validate_tokens([token_id]) == 1:
            return self.push(token_id)
        content = self._tokenizer.decode_bytes([token_id])
        return content.startswith(b" ") and all(map(self.push, self._tokenizer.tokenize_bytes(content[1:])))


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
        from llguidance import LLMatcher

        schema = json.dumps(closed(json.loads(json_schema)), ensure_ascii=False)
        compile_it = partial(LLMatcher.grammar_from_json_schema, schema, overrides=JSON_OPTIONS)
        return self._start(compile_it, "json_schema")

    def start_lark(self, lark: str) -> Grammar:
        """Start an answer that must fit a grammar made of the request's tools and schema.

        Raises:
            MalformedError: names the part of a tool's schema that is not supported, or why this base serves none.
        """
        from llguidance import LLMatcher

        return self._start(partial(LLMatcher.grammar_from_lark, lark), "a grammar", lark)

    def _start(self, compile_it: Callable[[], str], what: str, lark: str = "") -> Grammar:
        from llguidance import LLMatcher, LLParserLimits

        if self._tokenizer is None:
            self._tokenizer = _open_tokenizer(self._folder, self._vocab_size)
        limits = LLParserLimits(max_lexer_states=LEXER_STATES_MAX, verbose_errors=False)
        try:
            matcher = LLMatcher(self._tokenizer, compile_it(), log_level=0, limits=limits)
        except ValueError as error:
            raise MalformedError(f"{what} is not supported: {error}") from error
        if matcher.is_error():
            reason = _reason(matcher)
            if place := _PLACE.fullmatch(reason):
                what, reason = part_of(lark, int(place[1])), place[2]
            raise MalformedError(f"{what} is not supported: {reason}")
        return Grammar(matcher, self._tokenizer, self._vocab_size)


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


def _reason(matcher: "LLMatcher") -> str:
    """The reason of a refusal, in one line, without llguidance's own terms where we know better ones."""
    said = " ".join(matcher.get_error().replace("<non-verbose/>", "").split())[:REFUSAL_LENGTH_MAX]
    return next((reason for term, reason in REASONS.items() if term in said), said)
