"""Token probabilities in OpenAI's two forms: a list of objects for chat, parallel lists for completions."""

import sys
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

from openledger_protocol.inference import InferenceRequest, TokenLogprob

from .openai import WriteLogprobs

Spell = Callable[[int], tuple[str, bytes | None]]
"""Maps a token id to the token's text and bytes; the bytes are None for a special token."""

Row = tuple[str, float | None, dict[str, float] | None]
"""A token's name, its log probability and the likeliest tokens; None for the first token of all."""


def chat_writer(spell: Spell, request: InferenceRequest) -> WriteLogprobs:
    """A function that writes one chat answer's probabilities, piece by piece; None for a request without them."""
    return partial(chat_logprobs, spell) if request.sampling.logprobs is not None else _nothing


def completion_writer(
    spell: Spell, request: InferenceRequest, scored_ids: Sequence[int] = (), *, is_all: bool = False
) -> WriteLogprobs:
    """The same for the answer of a completion; `scored_ids`: its prompt, which is listed first, or `is_all`."""
    if request.sampling.logprobs is None:
        return _nothing
    return CompletionLogprobs(spell, scored_ids, is_all=is_all).of


def chat_logprobs(spell: Spell, logprobs: Iterable[TokenLogprob]) -> dict[str, Any]:
    """`logprobs` of a chat choice, without special tokens, which are not content."""
    return {"content": [_entry(spell, each) for each in logprobs if spell(each.id)[1] is not None], "refusal": None}


class CompletionLogprobs:
    """`logprobs` of a completion choice, piece by piece; offsets count from the beginning of its text.

    Special tokens are no text and left out. With a scored prompt they are listed too, because harnesses find the
    tokens of a prompt by their number.
    """

    def __init__(self, spell: Spell, scored_ids: Sequence[int] = (), *, is_all: bool = False) -> None:
        self._spell = spell
        self._offset = 0
        self._has_specials = bool(scored_ids)
        self._rows: list[Row] = [(spell(scored_ids[0])[0], None, None)] if scored_ids else []  # still to be listed
        self._num_left = len(scored_ids) if is_all else sys.maxsize

    def of(self, logprobs: Iterable[TokenLogprob]) -> dict[str, Any]:
        """The `logprobs` of the next piece."""
        self._rows += [
            (self._spell(each.id)[0], each.logprob, self._top(each)) for each in logprobs if self._is_listed(each.id)
        ]
        rows, self._rows = self._rows[: self._num_left], []
        self._num_left -= len(rows)
        offsets = []
        for name, _, _ in rows:
            offsets.append(self._offset)
            self._offset += len(name)
        return {
            "tokens": [name for name, _, _ in rows],
            "token_logprobs": [chance for _, chance, _ in rows],
            "top_logprobs": [top for _, _, top in rows],
            "text_offset": offsets,
        }

    def _is_listed(self, token_id: int) -> bool:
        return self._has_specials or self._spell(token_id)[1] is not None

    def _top(self, logprob: TokenLogprob) -> dict[str, float]:
        """The likeliest tokens by name, and the token itself; of tokens with the same name the likeliest counts."""
        named: dict[str, float] = {}
        for token_id, chance in (*logprob.top, (logprob.id, logprob.logprob)):
            named.setdefault(self._spell(token_id)[0], chance)
        return named


def _entry(spell: Spell, logprob: TokenLogprob) -> dict[str, Any]:
    top = [_named(spell, token_id, chance) for token_id, chance in logprob.top]
    return {**_named(spell, logprob.id, logprob.logprob), "top_logprobs": top}


def _named(spell: Spell, token_id: int, chance: float) -> dict[str, Any]:
    name, spelled = spell(token_id)
    return {"token": name, "logprob": chance, "bytes": None if spelled is None else list(spelled)}


def _nothing(_: Iterable[TokenLogprob]) -> None:
    return None
