"""The bodies of OpenAI's two endpoints, as far as their fields are served here."""

from collections.abc import Callable, Iterable
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from openledger_protocol.errors import MalformedError
from openledger_protocol.inference import TokenLogprob


class StreamOptions(BaseModel):
    """What a stream carries beside text."""

    include_usage: bool = False


class AdapterWeight(BaseModel):
    """One adapter of a set that adds up."""

    name: str
    weight: float = 1.0


class OwnFields(BaseModel):
    """What this node has beyond OpenAI's API."""

    adapters: list[AdapterWeight] = []


class RequestBody(BaseModel):
    """What both endpoints share."""

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
    """One turn; content is a text, or parts that are all texts."""

    role: str
    content: str | list[dict[str, Any]] | None = None


class ChatBody(RequestBody):
    """`POST /v1/chat/completions`."""

    messages: list[ChatMessage] = Field(min_length=1)
    logprobs: bool | None = None
    top_logprobs: int | None = None

    @property
    def num_logprobs(self) -> int | None:
        """How many likeliest tokens to name beside each; None: no probabilities."""
        if self.top_logprobs and not self.logprobs:
            raise MalformedError("top_logprobs needs logprobs to be true", param="top_logprobs")
        return self.top_logprobs or 0 if self.logprobs else None


class CompletionBody(RequestBody):
    """`POST /v1/completions`."""

    prompt: str | list[str]
    logprobs: int | bool | None = None

    @property
    def num_logprobs(self) -> int | None:
        """How many likeliest tokens to name beside each; None: no probabilities."""
        return None if self.logprobs is None or self.logprobs is False else int(self.logprobs)


# ---- Probabilities of tokens in OpenAI's two forms: a list of objects for chat, lists side by side for completions.

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
