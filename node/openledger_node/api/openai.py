"""Mapping between OpenAI's JSON and protocol types, without side effects.

Unknown fields are ignored, as OpenAI's own clients expect. Known fields that this node can't honour are refused by
name, since ignoring them would change the answer.
"""

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

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
from openledger_protocol.inference import (
    Completion,
    InferenceRequest,
    Message,
    Role,
    SamplingParams,
    ServedModel,
    WeightedAdapter,
    check_sampling,
)
from openledger_protocol.primitives import RequestId, check_text

from .schemas import ChatBody, ChatMessage, CompletionBody

DEFAULT_MAX_TOKENS = 1024
"""The answer's length if the request names none; less if the prompt leaves less room."""

ANY_OBJECT = '{"type":"object"}'
"""The schema of `response_format: json_object`."""

OWN_NAMES = {"json_schema": "response_format"}
"""Protocol names of fields that OpenAI calls differently."""

MESSAGE_MAX = 1_000
"""The most characters of a refusal, which may quote a long request."""

RETRY_AFTER_S = 2
PAYMENT_REQUIRED = 402
UINT64 = (1 << 64) - 1

UNSUPPORTED: dict[str, tuple[object, ...]] = {
    "audio": (None,),
    "best_of": (None, 1),
    "echo": (None, False),
    "function_call": (None, "none"),
    "functions": (None, []),
    "logit_bias": (None, {}),
    "modalities": (None, ["text"]),
    "n": (None, 1),
    "prediction": (None,),
    "suffix": (None, ""),
    "tool_choice": (None, "none"),
    "tools": (None, []),
    "web_search_options": (None,),
}
"""Fields of the API that are not supported, with the values that have no effect."""

ROLES: dict[str, Role] = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant"}

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


Kind = Literal["chat", "completion"]


def request_from_chat(body: ChatBody, *, request_id: RequestId, seed: int) -> InferenceRequest:
    """Read a chat request; `seed` applies if the request has none.

    Raises:
        MalformedError: a field is out of bounds, or not served.
    """
    messages = tuple(_message(message) for message in body.messages)
    if not body.continue_final_message:
        return _request(body, messages, request_id, seed)
    *before, begun = messages
    request = _request(body, tuple(before), request_id, seed)
    return replace(request, prefix=_checked_beginning(begun, request))


def _checked_beginning(begun: Message, request: InferenceRequest) -> str:
    """The beginning of the answer that is to be continued.

    Raises:
        MalformedError: the last message is no answer's beginning, or a parameter needs the whole answer.
    """
    name, sampling = "continue_final_message", request.sampling
    if begun.role != "assistant" or not begun.content or not request.prompt:
        raise MalformedError(f"{name} needs a last message with role 'assistant' and text", param=name)
    # The beginning counts as prompt, and neither the grammar nor the penalties look at the prompt.
    if sampling.json_schema or sampling.frequency_penalty or sampling.presence_penalty:
        raise MalformedError(f"{name} can't be combined with a JSON schema or penalties", param=name)
    return begun.content


def request_from_completion(body: CompletionBody, *, request_id: RequestId, seed: int) -> InferenceRequest:
    """Read a plain completion request.

    Raises:
        MalformedError: a field is out of bounds, or not served.
    """
    prompts = [body.prompt] if isinstance(body.prompt, str) else body.prompt
    if len(prompts) != 1:
        raise MalformedError("prompt must be one text: send one request per prompt")
    return _request(body, check_text(prompts[0]), request_id, seed)


def chat_response(
    request: InferenceRequest, completion: Completion, logprobs: dict[str, Any] | None, *, created_s: int
) -> dict[str, Any]:
    """The whole answer as a `chat.completion`."""
    message = {"role": "assistant", "content": completion.text}
    choice = {"index": 0, "message": message, "logprobs": logprobs, "finish_reason": _finish(completion)}
    return {**_head(request, "chat.completion", created_s), "choices": [choice], "usage": usage(completion)}


def completion_response(
    request: InferenceRequest, completion: Completion, logprobs: dict[str, Any] | None, *, created_s: int
) -> dict[str, Any]:
    """The whole answer as a `text_completion`."""
    choice = {"index": 0, "text": completion.text, "logprobs": logprobs, "finish_reason": _finish(completion)}
    return {**_head(request, "text_completion", created_s), "choices": [choice], "usage": usage(completion)}


def stream_chunk(
    request: InferenceRequest,
    kind: Kind,
    text: str,
    last: Completion | None,
    *,
    logprobs: dict[str, Any] | None = None,
    created_s: int,
) -> dict[str, Any]:
    """One event of a stream; with `last` the final one, which gives the reason of the end."""
    finish = _finish(last) if last else None
    if kind == "chat":
        delta = {"content": text} if text else {}
        choice: dict[str, Any] = {"index": 0, "delta": delta, "logprobs": logprobs, "finish_reason": finish}
        return {**_head(request, "chat.completion.chunk", created_s), "choices": [choice]}
    choice = {"index": 0, "text": text, "logprobs": logprobs, "finish_reason": finish}
    return {**_head(request, "text_completion", created_s), "choices": [choice]}


def role_chunk(request: InferenceRequest, *, created_s: int) -> dict[str, Any]:
    """A chat stream's first event."""
    choice = {"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": None}
    return {**_head(request, "chat.completion.chunk", created_s), "choices": [choice]}


def usage_chunk(request: InferenceRequest, kind: Kind, last: Completion, *, created_s: int) -> dict[str, Any]:
    """A stream's usage event, for clients that request it."""
    name = "chat.completion.chunk" if kind == "chat" else "text_completion"
    return {**_head(request, name, created_s), "choices": [], "usage": usage(last)}


def usage(completion: Completion) -> dict[str, int]:
    """Token counts of a request, as they are billed."""
    return {
        "prompt_tokens": completion.tokens_in,
        "completion_tokens": completion.tokens_out,
        "total_tokens": completion.tokens_in + completion.tokens_out,
    }


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


def models_response(models: Sequence[ServedModel]) -> dict[str, Any]:
    """The body of `GET /v1/models`, where each name is unique."""
    return {"object": "list", "data": [model_response(model) for model in models]}


def model_response(model: ServedModel) -> dict[str, Any]:
    """One entry of the list of models."""
    return {
        "id": model.name,
        "object": "model",
        "created": 0,
        "owned_by": "openledger-node",
        "parent": model.parent,
    }


def _request(
    body: ChatBody | CompletionBody, prompt: tuple[Message, ...] | str, request_id: RequestId, seed: int
) -> InferenceRequest:
    _refuse_unsupported(body.model_extra or {})
    stop = (body.stop,) if isinstance(body.stop, str) else tuple(body.stop or ())
    sampling = SamplingParams(
        max_tokens=body.max_completion_tokens or body.max_tokens or DEFAULT_MAX_TOKENS,
        seed=(seed if body.seed is None else body.seed) & UINT64,
        temperature=1.0 if body.temperature is None else body.temperature,
        top_p=1.0 if body.top_p is None else body.top_p,
        top_k=max(body.top_k or 0, 0),  # -1 is a common way to say "off"
        min_p=body.min_p or 0.0,
        stop=stop,
        frequency_penalty=body.frequency_penalty or 0.0,
        presence_penalty=body.presence_penalty or 0.0,
        repetition_penalty=1.0 if body.repetition_penalty is None else body.repetition_penalty,
        logprobs=body.num_logprobs,
        json_schema=_json_schema(body.response_format),
    )
    weighted = body.openledger.adapters if body.openledger else []
    return InferenceRequest(
        request_id=request_id,
        model=check_text(body.model),
        prompt=prompt,
        sampling=check_sampling(sampling),
        adapters=tuple(WeightedAdapter(name=check_text(each.name), weight=each.weight) for each in weighted),
    )


def _json_schema(response_format: dict[str, Any] | None) -> str | None:
    """The schema of a response format, with the order of its keys kept.

    Raises:
        MalformedError: it has none of OpenAI's forms.
    """
    match response_format:
        case None | {"type": "text"}:
            return None
        case {"type": "json_object"}:
            return ANY_OBJECT
        case {"type": "json_schema", "json_schema": {"schema": dict(schema)}}:
            return json.dumps(schema, ensure_ascii=False, separators=(",", ":"))
    raise MalformedError(
        "response_format must be text, json_object, or json_schema with a schema in it", param="response_format"
    )


def _refuse_unsupported(extra: dict[str, Any]) -> None:
    for name, value in extra.items():
        if value not in UNSUPPORTED.get(name, (value,)):
            raise MalformedError(f"{name!r} is not supported by this node", param=name)


def _message(message: ChatMessage) -> Message:
    """Read one message; roles and parts other than text are refused by name."""
    if message.role not in ROLES:
        raise MalformedError(f"a message with role {message.role!r} is not supported", param="messages")
    return Message(role=ROLES[message.role], content=check_text(_content(message.content)))


def _content(content: str | list[dict[str, Any]] | None) -> str:
    if isinstance(content, str):
        return content
    texts = []
    for part in content or []:
        if part.get("type") != "text" or not isinstance(part.get("text"), str):
            raise MalformedError(f"message parts of type {part.get('type')!r} are not supported", param="messages")
        texts.append(part["text"])
    return "\n".join(texts)


def _finish(completion: Completion) -> str:
    """OpenAI has no `cancelled`; a client sees it only if a stopping node cuts an answer short."""
    return "length" if completion.finish_reason == "cancelled" else completion.finish_reason


def _head(request: InferenceRequest, kind: str, created_s: int) -> dict[str, Any]:
    prefix = "chatcmpl" if kind.startswith("chat") else "cmpl"
    name = f"{prefix}-{request.request_id.removeprefix('0x')}"
    return {"id": name, "object": kind, "created": created_s, "model": request.model}
