"""Token probabilities in OpenAI's two forms: a list of objects for chat, parallel lists for completions."""

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from openledger_protocol.inference import InferenceRequest, TokenLogprob

from .openai import WriteLogprobs

Spell = Callable[[int], tuple[str, bytes | None]]
"""Maps a token id to the token's text and bytes; the bytes are None for a special token."""


def chat_writer(spell: Spell, request: InferenceRequest) -> WriteLogprobs:
    """A function that writes one chat answer's probabilities, piece by piece; None for a request without them."""
    return partial(chat_logprobs, spell) if request.sampling.logprobs is not None else _nothing


def completion_writer(spell: Spell, request: InferenceRequest) -> WriteLogprobs:
    """The same for the answer of a completion."""
    return CompletionLogprobs(spell).of if request.sampling.logprobs is not None else _nothing


def chat_logprobs(spell: Spell, logprobs: Iterable[TokenLogprob]) -> dict[str, Any]:
    """`logprobs` of a chat choice, without special tokens, which are not content."""
    return {"content": [_entry(spell, each) for each in logprobs if spell(each.id)[1] is not None], "refusal": None}


class CompletionLogprobs:
    """`logprobs` of a completion choice, piece by piece; offsets count from the beginning of the answer."""

    def __init__(self, spell: Spell) -> None:
        self._spell = spell
        self._offset = 0

    def of(self, logprobs: Iterable[TokenLogprob]) -> dict[str, Any]:
        """The `logprobs` of the next piece."""
        spelled = [(self._spell(each.id)[0], each) for each in logprobs if self._spell(each.id)[1] is not None]
        offsets = []
        for name, _ in spelled:
            offsets.append(self._offset)
            self._offset += len(name)
        return {
            "tokens": [name for name, _ in spelled],
            "token_logprobs": [each.logprob for _, each in spelled],
            "top_logprobs": [self._top(each) for _, each in spelled],
            "text_offset": offsets,
        }

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
