"""OpenAI's JSON that several routes share: refusals, token counts, and the heads of answers."""

import json
from collections.abc import Callable, Sequence
from typing import Any

from openledger_protocol.errors import (
    AdapterRefusedError,
    EngineFailedError,
    MalformedError,
    OverloadedError,
    PaymentRequiredError,
    ProtocolError,
    RequestTooLongError,
    UnavailableError,
    UnknownModelError,
)
from openledger_protocol.inference import Completion, InferenceRequest, TokenLogprob
from openledger_protocol.primitives import RequestId, Wei

from .costs import cost_fields

OWN_NAMES = {"json_schema": "response_format"}
"""Protocol names of fields that OpenAI calls differently."""

MESSAGE_MAX = 1_000
"""The most characters of a refusal, which may quote a long request."""

RETRY_AFTER_S = 2
PAYMENT_REQUIRED = 402

DONE = b"data: [DONE]\n\n"
"""The last event of a stream that did not fail."""

MARK = "\0text\0"
"""Stands for the text in a rendered event; no model's name can hold it."""

WriteLogprobs = Callable[[Sequence[TokenLogprob]], dict[str, Any] | None]

HTTP_STATUS: dict[type[ProtocolError], tuple[int, str]] = {
    MalformedError: (400, "invalid_request_error"),
    RequestTooLongError: (400, "context_length_exceeded"),
    PaymentRequiredError: (PAYMENT_REQUIRED, "payment_required"),
    UnknownModelError: (404, "model_not_found"),
    AdapterRefusedError: (422, "adapter_refused"),
    OverloadedError: (429, "rate_limit_exceeded"),
    EngineFailedError: (503, "engine_failed"),
    UnavailableError: (503, "unavailable"),
}


def head(
    request: InferenceRequest, kind: str, created_s: int, *, request_id: RequestId | None = None
) -> dict[str, Any]:
    """The fields with which each answer and each event begins; answers to one request share the first one's id."""
    prefix = "chatcmpl" if kind.startswith("chat") else "cmpl"
    name = f"{prefix}-{(request_id or request.request_id).removeprefix('0x')}"
    return {"id": name, "object": kind, "created": created_s, "model": request.model}


def usage(completions: Sequence[Completion], costs_wei: Sequence[Wei | None]) -> dict[str, Any]:
    """Token counts of a request's answers, as they are billed, and their cost: each answer has read the prompt."""
    tokens_in = sum(completion.tokens_in for completion in completions)
    tokens_out = sum(completion.tokens_out for completion in completions)
    counts = {"prompt_tokens": tokens_in, "completion_tokens": tokens_out, "total_tokens": tokens_in + tokens_out}
    return {**counts, **cost_fields(costs_wei)}


def renderer(whole: bytes) -> Callable[[str], bytes]:
    """A function that renders an event with another text in the place of `MARK`; the rest is rendered once."""
    before, _, after = whole.partition(json.dumps(MARK).encode())
    encode = json.JSONEncoder(ensure_ascii=False).encode
    return lambda text: b"%b%b%b" % (before, encode(text).encode(errors="backslashreplace"), after)


def status_of(error: ProtocolError) -> int:
    """The HTTP status of a refusal."""
    return HTTP_STATUS.get(type(error), (400, ""))[0]


def error_body(error: ProtocolError) -> dict[str, Any]:
    """A refusal in OpenAI's form."""
    status, kind = HTTP_STATUS.get(type(error), (400, "invalid_request_error"))
    group = "invalid_request_error" if status < 500 else "server_error"
    message = sendable(error.message)
    param = error.values.get("param") or ("model" if isinstance(error, UnknownModelError) else None)
    param = OWN_NAMES.get(str(param), param)
    return {"error": {"message": message, "type": group, "param": param and sendable(str(param)), "code": kind}}


def sendable(text: str) -> str:
    """Cut a long text, and write lone surrogates, which are not UTF-8, as escapes."""
    short = text if len(text) <= MESSAGE_MAX else f"{text[:MESSAGE_MAX]} …"
    return short.encode(errors="backslashreplace").decode()
