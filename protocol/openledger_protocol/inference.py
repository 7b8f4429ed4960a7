"""One request and its answer: hops 1, 5 and 6 of its way through a node."""

import json
from dataclasses import dataclass, fields
from typing import Literal

from .codec import to_plain
from .constants import (
    JSON_SCHEMA_BYTES_MAX,
    LOGPROBS_MAX,
    PENALTY_MAX,
    STOP_STRING_LENGTH_MAX,
    STOP_STRINGS_MAX,
    TEMPERATURE_MAX,
    TOP_K_MAX,
)
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
    """Sampling parameters. Given the logits, they fix each token by `seed` and position."""

    max_tokens: int
    seed: int  # 64 bits, always set by the requester
    temperature: float = 1.0  # 0 always takes the likeliest token
    top_p: float = 1.0
    top_k: int = 0  # 0 keeps all tokens
    min_p: float = 0.0
    stop: tuple[str, ...] = ()
    frequency_penalty: float = 0.0  # subtracted from a token's logit for each time it is in the answer
    presence_penalty: float = 0.0  # subtracted once from a token's logit if it is in the answer
    repetition_penalty: float = 1.0  # divides (or multiplies, under 0) the logits of prompt's and answer's tokens
    logprobs: int | None = None  # this many alternatives are listed per token; None: no probabilities
    json_schema: str | None = None  # the answer's schema, as JSON text; its key order is the answer's


ADDED_SAMPLING = frozenset(
    {"frequency_penalty", "presence_penalty", "repetition_penalty", "logprobs", "json_schema"},
)
"""Parameters that are omitted at their defaults in commitments and messages, because earlier versions lacked them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightedAdapter:
    """One adapter of a weighted set, and its weight."""

    name: str  # as in a request's `model`
    weight: float


@dataclass(frozen=True, slots=True, kw_only=True)
class InferenceRequest:
    """A requester's request to a node: a conversation, or a raw text to continue."""

    request_id: RequestId
    model: str  # a base, an adapter, `name@<8 hex>` or `base:adapter`
    prompt: tuple[Message, ...] | str
    sampling: SamplingParams
    prefix: str = ""  # the part of the answer that is there already; the answer continues after it
    adapters: tuple[WeightedAdapter, ...] = ()  # on the base that `model` names; only in free requests


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedModel:
    """A model that requests may name; `parent` is the base of an adapter."""

    name: str
    parent: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenLogprob:
    """The log probability of an answer's token, by the model's own softmax before penalties and temperature."""

    id: int
    logprob: float
    top: tuple[tuple[int, float], ...] = ()  # the likeliest ids with theirs, likeliest first


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenChunk:
    """A piece of the answer that is safe to show: whole characters, no part of a stop string."""

    text: str
    ids: tuple[int, ...]  # tokens generated since the last chunk, also those with text held back
    logprobs: tuple[TokenLogprob, ...] = ()  # of `ids`, if requested


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """The finished answer, also recorded if the requester left before its end."""

    request_id: RequestId
    base: str
    adapter_id: AdapterId | None
    text: str
    ids: tuple[int, ...]  # all generated tokens, including the end-of-text token
    finish_reason: FinishReason
    tokens_in: int  # canonical tokenisation of the rendered prompt
    tokens_out: int  # by `payments.billed_tokens`


def check_sampling(params: SamplingParams) -> SamplingParams:
    """Return `params` when every field is within its bounds.

    Raises:
        MalformedError: it names the first field that is not.
    """
    bounds: tuple[tuple[str, bool], ...] = (
        ("max_tokens must be at least 1", params.max_tokens >= 1),
        ("seed must be an unsigned 64-bit integer", 0 <= params.seed < 2**64),
        (f"temperature must be from 0 to {TEMPERATURE_MAX:g}", 0 <= params.temperature <= TEMPERATURE_MAX),
        ("top_p must be over 0 and at most 1", 0 < params.top_p <= 1),
        (f"top_k must be from 0 to {TOP_K_MAX}", 0 <= params.top_k <= TOP_K_MAX),
        ("min_p must be from 0 to 1", 0 <= params.min_p <= 1),
        (f"stop takes at most {STOP_STRINGS_MAX} strings", len(params.stop) <= STOP_STRINGS_MAX),
        _is_penalty("frequency_penalty", params.frequency_penalty),
        _is_penalty("presence_penalty", params.presence_penalty),
        (
            f"repetition_penalty must be over 0 and at most {PENALTY_MAX:g}",
            0 < params.repetition_penalty <= PENALTY_MAX,
        ),
        (
            f"logprobs must be from 0 to {LOGPROBS_MAX}",
            params.logprobs is None or 0 <= params.logprobs <= LOGPROBS_MAX,
        ),
        (
            f"stop takes strings of 1 to {STOP_STRING_LENGTH_MAX} characters",
            all(1 <= len(text) <= STOP_STRING_LENGTH_MAX for text in params.stop),
        ),
    )
    for rule, is_kept in bounds:
        if not is_kept:
            raise MalformedError(rule, param=rule.split()[0])  # each rule begins with its field's name
    for text in params.stop:
        check_text(text)
    if params.json_schema is not None:
        _check_schema_text(params.json_schema)
    return params


def plain_sampling(params: SamplingParams) -> dict[str, object]:
    """The parameters as committed to and sent: those added later are omitted at their defaults."""
    return {
        field.name: to_plain(value)
        for field in fields(params)
        if (value := getattr(params, field.name)) != field.default or field.name not in ADDED_SAMPLING
    }


def _is_penalty(name: str, value: float) -> tuple[str, bool]:
    return f"{name} must be from {-PENALTY_MAX:g} to {PENALTY_MAX:g}", -PENALTY_MAX <= value <= PENALTY_MAX


def _check_schema_text(text: str) -> None:
    """Require one JSON object of bounded size; the grammar checks its meaning."""
    if len(check_text(text).encode()) > JSON_SCHEMA_BYTES_MAX:
        raise MalformedError(f"json_schema must be at most {JSON_SCHEMA_BYTES_MAX} bytes long", param="json_schema")
    try:
        schema = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise MalformedError("json_schema must be JSON text", param="json_schema") from error
    if not isinstance(schema, dict):
        raise MalformedError("json_schema must be a JSON object", param="json_schema")
