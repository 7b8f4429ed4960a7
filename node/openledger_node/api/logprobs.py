"""Probabilities of tokens in OpenAI's two forms: a list of objects for chat, lists side by side for completions."""

from collections.abc import Callable, Iterable
from typing import Any

from openledger_protocol.inference import TokenLogprob

Spell = Callable[[int], tuple[str, bytes | None]]
"""A token's name, and the bytes that it stands for; None: it is no text."""


def chat_logprobs(spell: Spell, logprobs: Iterable[TokenLogprob]) -> dict[str, Any]:
    """`logprobs` of a chat's choice; tokens that end an answer are left out, as they are no content."""
    return {"content": [_entry(spell, each) for each in logprobs if spell(each.id)[1] is not None], "refusal": None}


class CompletionLogprobs:
    """`logprobs` of a plain completion's choice, of one piece after another: offsets count from its beginning."""

    def __init__(self, spell: Spell) -> None:
        self._spell = spell
        self._offset = 0

    def of(self, logprobs: Iterable[TokenLogprob]) -> dict[str, Any]:
        """The next piece's."""
        said = [(self._spell(each.id)[0], each) for each in logprobs if self._spell(each.id)[1] is not None]
        offsets = []
        for name, _ in said:
            offsets.append(self._offset)
            self._offset += len(name)
        return {
            "tokens": [name for name, _ in said],
            "token_logprobs": [each.logprob for _, each in said],
            "top_logprobs": [self._top(each) for _, each in said],
            "text_offset": offsets,
        }

    def _top(self, logprob: TokenLogprob) -> dict[str, float]:
        """The likeliest by name, and the token itself; of parts of characters that have one name the likelier."""
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
