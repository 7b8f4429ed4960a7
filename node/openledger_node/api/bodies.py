"""The bodies of OpenAI's two endpoints, as far as their fields are served here."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from openledger_protocol.errors import MalformedError


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
