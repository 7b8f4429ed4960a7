"""Bodies of OpenAI's two endpoints, with the fields that this node supports."""

from collections.abc import Callable, Iterable
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from openledger_protocol.errors import MalformedError
from openledger_protocol.inference import TokenLogprob


class StreamOptions(BaseModel):
    """Options of a stream."""

    include_usage: bool = False


class AdapterWeight(BaseModel):
    """One adapter of a weighted sum."""

    name: str
    weight: float = 1.0


class OwnFields(BaseModel):
    """Fields beyond OpenAI's API."""

    adapters: list[AdapterWeight] = []


class RequestBody(BaseModel):
    """Fields that both endpoints share."""

    model_config = ConfigDict(extra="allow")

    model: str
    max_tokens: int | None = Field(default=None, ge=1)
    max_completion_tokens: int | None = Field(default=None, ge=1)
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    repetition_penalty: float | None = None
    response_format: dict[str, Any] | None = None
    seed: int | None = None
    stop: str | list[str] | None = None
    stream: bool = False
    stream_options: StreamOptions | None = None
    openledger: OwnFields | None = None


class ChatMessage(BaseModel):
    """One message; its content is a text, or a list of text parts."""

    role: str
    content: str | list[dict[str, Any]] | None = None


class ChatBody(RequestBody):
    """`POST /v1/chat/completions`."""

    messages: list[ChatMessage] = Field(min_length=1)
    continue_final_message: bool = False  # vLLM's name: the answer goes on after the last message, the assistant's
    logprobs: bool | None = None
    top_logprobs: int | None = None

    @property
    def num_logprobs(self) -> int | None:
        """Number of likeliest tokens to list beside each; None for no probabilities."""
        if self.top_logprobs and not self.logprobs:
            raise MalformedError("top_logprobs needs logprobs to be true", param="top_logprobs")
        return self.top_logprobs or 0 if self.logprobs else None


class CompletionBody(RequestBody):
    """`POST /v1/completions`."""

    prompt: str | list[str]
    logprobs: int | bool | None = None

    @property
    def num_logprobs(self) -> int | None:
        """Number of likeliest tokens to list beside each; None for no probabilities."""
        return None if self.logprobs is None or self.logprobs is False else int(self.logprobs)


# ---- Token probabilities in OpenAI's two forms: a list of objects for chat, parallel lists for completions.

Spell = Callable[[int], tuple[str, bytes | None]]
"""Maps a token id to the token's text and bytes; the bytes are None for a special token."""


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
