"""One request and what comes back: hops 1, 5 and 6 of its way through a node."""

from dataclasses import dataclass
from typing import Literal

from .constants import STOP_STRING_LENGTH_MAX, STOP_STRINGS_MAX, TEMPERATURE_MAX, TOP_K_MAX
from .errors import MalformedError
from .primitives import AdapterId, RequestId, check_text

Role = Literal["system", "user", "assistant"]

FinishReason = Literal["stop", "length", "cancelled"]
"""`stop`: end-of-text token or stop string; `length`: max_tokens reached; `cancelled`: the requester left."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One turn of a conversation."""

    role: Role
    content: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplingParams:
    """How the next token is drawn; with `seed` and position it fixes the token that given logits yield."""

    max_tokens: int
    seed: int  # 64 bits, always set by the requester
    temperature: float = 1.0  # 0 takes the likeliest token
    top_p: float = 1.0
    top_k: int = 0  # 0 keeps every token
    min_p: float = 0.0
    stop: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class InferenceRequest:
    """What a requester asks of a node: a conversation, or a raw text to go on with."""

    request_id: RequestId
    model: str  # a base, an adapter, `name@<8 hex>` or `base:adapter`
    prompt: tuple[Message, ...] | str
    sampling: SamplingParams
    prefix: str = ""  # of the answer, delivered by a node that failed: the answer goes on behind it


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedModel:
    """What a request may name as its model; `parent` is the base of an adapter."""

    name: str
    parent: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenChunk:
    """A piece of the answer that is safe to show: whole characters, no part of a stop string."""

    text: str
    ids: tuple[int, ...]  # generated tokens since the last chunk, also those whose text is held back


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """The finished answer, recorded also when the requester left before its end."""

    request_id: RequestId
    base: str
    adapter_id: AdapterId | None
    text: str
    ids: tuple[int, ...]  # every generated token, the end-of-text token included
    finish_reason: FinishReason
    tokens_in: int  # canonical tokenisation of the rendered prompt
    tokens_out: int  # min(generated, canonical tokenisation of `text`): what may be billed


def check_sampling(params: SamplingParams) -> SamplingParams:
    """Return `params` when every field is within its bounds.

    Raises:
        MalformedError: naming the first field that is not.
    """
    bounds: tuple[tuple[str, bool], ...] = (
        ("max_tokens must be at least 1", params.max_tokens >= 1),
        ("seed must be an unsigned 64-bit integer", 0 <= params.seed < 2**64),
        (f"temperature must be from 0 to {TEMPERATURE_MAX:g}", 0 <= params.temperature <= TEMPERATURE_MAX),
        ("top_p must be over 0 and at most 1", 0 < params.top_p <= 1),
        (f"top_k must be from 0 to {TOP_K_MAX}", 0 <= params.top_k <= TOP_K_MAX),
        ("min_p must be from 0 to 1", 0 <= params.min_p <= 1),
        (f"stop takes at most {STOP_STRINGS_MAX} strings", len(params.stop) <= STOP_STRINGS_MAX),
        (
            f"a stop string has 1 to {STOP_STRING_LENGTH_MAX} characters",
            all(1 <= len(text) <= STOP_STRING_LENGTH_MAX for text in params.stop),
        ),
    )
    for rule, is_kept in bounds:
        if not is_kept:
            raise MalformedError(rule)
    for text in params.stop:
        check_text(text)
    return params
