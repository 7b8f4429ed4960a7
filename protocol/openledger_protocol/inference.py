"""One request and its answer: hops 1, 5 and 6 of its way through a node."""

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Literal, get_args

from .codec import to_plain
from .constants import (
    ARGUMENTS_DEPTH_MAX,
    JSON_DEPTH_MAX,
    JSON_SCHEMA_BYTES_MAX,
    LOGPROBS_MAX,
    PENALTY_MAX,
    STOP_STRING_LENGTH_MAX,
    STOP_STRINGS_MAX,
    TEMPERATURE_MAX,
    TOOL_CALL_ID_LENGTH_MAX,
    TOOL_DESCRIPTION_LENGTH_MAX,
    TOOL_NAME_LENGTH_MAX,
    TOOLING_BYTES_MAX,
    TOOLS_MAX,
    TOP_K_MAX,
)
from .errors import MalformedError
from .primitives import AdapterId, Digest, RequestId, check_text

if TYPE_CHECKING:
    from .payments import Terms  # an engine's process reads this module, and needs no hashes and signatures

Role = Literal["system", "user", "assistant", "tool"]

ToolChoice = Literal["auto", "none", "required"]
"""`auto`: the model decides; `none`: it is not shown the tools; `required`: it must call at least one."""

FinishReason = Literal["stop", "length", "cancelled"]
"""`stop`: end-of-text token or stop string; `length`: max_tokens reached; `cancelled`: the requester left."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCall:
    """A call of a tool, as the model wrote it."""

    id: str  # the turn with the tool's result names it
    name: str
    arguments: str  # JSON text of an object


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One turn of a conversation."""

    role: Role
    content: str
    tool_calls: tuple[ToolCall, ...] = ()  # only in the assistant's turns
    tool_call_id: str = ""  # only in a tool's turn: the call whose result `content` is


@dataclass(frozen=True, slots=True, kw_only=True)
class Tool:
    """A function that the model may call. The requester runs it."""

    name: str
    description: str
    parameters: str  # JSON text of the schema of its arguments, which is an object


@dataclass(frozen=True, slots=True, kw_only=True)
class Tooling:
    """The tools of a request, and how the model must use them."""

    tools: tuple[Tool, ...]
    choice: ToolChoice = "auto"
    name: str = ""  # with `required`: the one tool that must be called
    parallel: bool = True  # one answer may hold several calls


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
"""Parameters that are omitted at their defaults in commitments and messages."""

ADDED_MESSAGE = frozenset({"tool_calls", "tool_call_id"})
ADDED_TOOLING = frozenset({"choice", "name", "parallel"})
"""Fields of a turn and of the tools that are omitted at their defaults in the same way."""

TOOL_NAME = re.compile(f"[A-Za-z0-9_-]{{1,{TOOL_NAME_LENGTH_MAX}}}")


@dataclass(frozen=True, slots=True, kw_only=True)
class InferenceRequest:
    """A requester's request to a node: a conversation, or a raw text to continue."""

    request_id: RequestId
    model: str  # a base, an adapter, `name@<8 hex>` or `base:adapter`
    prompt: tuple[Message, ...] | str
    sampling: SamplingParams
    prefix: str = ""  # the part of the answer that is there already; the answer continues after it
    tooling: Tooling | None = None
    thinking: bool | None = (
        None  # whether the base reasons first; None: as its template has it; only in free requests
    )
    prompt_ids: tuple[int, ...] = ()  # instead of `prompt`, which is empty then; only in free requests
    scores_prompt: bool = False  # with `logprobs`: also those of the prompt; only in free requests, without penalties
    ignores_end: bool = False  # the answer goes on to its ceiling; only in free requests, without a schema


TOOLS, CALLS, SCHEMA = "tools", "calls", "schema"
"""Abilities that a bid may name: to show the model tools, to force calls of them, and to follow a JSON schema."""


def abilities_for(request: InferenceRequest) -> frozenset[str]:
    """The abilities that a node needs to answer a request."""
    tooling, has_schema = request.tooling, request.sampling.json_schema is not None
    needed = {SCHEMA} if has_schema else set()
    turns = () if isinstance(request.prompt, str) else request.prompt
    if tooling or any(turn.role == "tool" or turn.tool_calls for turn in turns):
        needed.add(TOOLS)
    if tooling and (tooling.choice == "required" or (has_schema and tooling.choice == "auto")):
        needed.add(CALLS)
    return frozenset(needed)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedModel:
    """A model that requests may name; `parent` is the base of an adapter."""

    name: str
    parent: str | None
    created_s: int = 0  # when it came to this machine; 0: it is elsewhere, or has no files
    context_max: int | None = None  # tokens of prompt and answer together; None: not known yet
    terms: "Terms | None" = None  # the cheapest offer on the network; None: it is on this machine, and free


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
    logprobs: tuple[TokenLogprob, ...] = ()  # of `ids`, if requested; those of a scored prompt's tokens come before


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
    signals: tuple[tuple[Digest, bytes], ...] = ()  # by root of a Datanet's rows, if its attribution needs them


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
    """The parameters as committed to: those added later are omitted at their defaults."""
    return _without_defaults(params, optional=ADDED_SAMPLING)


def check_messages(messages: tuple[Message, ...]) -> tuple[Message, ...]:
    """Return `messages` when each has only what its role may have.

    Raises:
        MalformedError: it names the first message that breaks a rule.
    """
    for index, message in enumerate(messages):
        try:
            _check_message(message)
        except MalformedError as error:
            raise MalformedError(f"messages[{index}]: {error.message}", param="messages") from error
    return messages


def check_tooling(tooling: Tooling) -> Tooling:
    """Return `tooling` when its tools and its choice are within their bounds.

    Raises:
        MalformedError: it names the field that is not, by OpenAI's names.
    """
    if not 1 <= len(tooling.tools) <= TOOLS_MAX:
        raise MalformedError(f"tools takes 1 to {TOOLS_MAX} tools", param="tools")
    for index, tool in enumerate(tooling.tools):
        try:
            _check_tool(tool)
        except MalformedError as error:
            raise MalformedError(f"tools[{index}]: {error.message}", param="tools") from error
    names = [tool.name for tool in tooling.tools]
    if len({*names}) < len(names):
        raise MalformedError("tools has two tools of one name", param="tools")
    size_bytes = sum(len(tool.description.encode()) + len(tool.parameters.encode()) for tool in tooling.tools)
    if size_bytes > TOOLING_BYTES_MAX:
        raise MalformedError(
            f"tools has {size_bytes} bytes, and {TOOLING_BYTES_MAX} is the maximum: offer fewer tools", param="tools"
        )
    if tooling.choice not in get_args(ToolChoice):
        raise MalformedError("tool_choice must be auto, none, required or a tool", param="tool_choice")
    if tooling.name and tooling.name not in names:
        raise MalformedError(f"tool_choice names {tooling.name[:80]!r}, which is not in tools", param="tool_choice")
    if tooling.name and tooling.choice != "required":
        raise MalformedError("tool_choice names a tool, so the choice must be required", param="tool_choice")
    return tooling


def plain_message(message: Message) -> dict[str, object]:
    """A turn as committed to: what only turns with tools have is omitted from the others."""
    return _without_defaults(message, optional=ADDED_MESSAGE)


def plain_tooling(tooling: Tooling) -> dict[str, object]:
    """The tools as committed to, without the fields that have their defaults."""
    return _without_defaults(tooling, optional=ADDED_TOOLING)


def _without_defaults(value: Message | Tooling | SamplingParams, *, optional: frozenset[str]) -> dict[str, object]:
    return {
        field.name: to_plain(content)
        for field in fields(value)
        if (content := getattr(value, field.name)) != field.default or field.name not in optional
    }


def _check_message(message: Message) -> None:
    check_text(message.content)
    if message.tool_calls and message.role != "assistant":
        raise MalformedError(f"tool_calls are the assistant's, and its role is {message.role}")
    if len(message.tool_calls) > TOOLS_MAX:
        raise MalformedError(f"tool_calls takes at most {TOOLS_MAX} calls")
    if len({call.id for call in message.tool_calls}) < len(message.tool_calls):
        raise MalformedError("tool_calls has two calls of one id")
    for call in message.tool_calls:
        _check_call_id("id", call.id)
        _check_tool_name(call.name)
        if call.arguments:  # some clients send an empty text for no arguments
            _check_object("arguments", call.arguments, ARGUMENTS_DEPTH_MAX)
    if message.role == "tool":
        _check_call_id("tool_call_id", message.tool_call_id)
    elif message.tool_call_id:
        raise MalformedError(f"tool_call_id is a tool's, and its role is {message.role}")


def _check_tool(tool: Tool) -> None:
    _check_tool_name(tool.name)
    if len(check_text(tool.description)) > TOOL_DESCRIPTION_LENGTH_MAX:
        raise MalformedError(f"description must be at most {TOOL_DESCRIPTION_LENGTH_MAX} characters long")
    if len(check_text(tool.parameters).encode()) > JSON_SCHEMA_BYTES_MAX:
        raise MalformedError(f"parameters must be at most {JSON_SCHEMA_BYTES_MAX} bytes long")
    _check_object("parameters", tool.parameters)


def _check_tool_name(name: str) -> None:
    if not TOOL_NAME.fullmatch(name):
        raise MalformedError(f"name must be 1 to {TOOL_NAME_LENGTH_MAX} letters, digits, _ and -, not {name[:80]!r}")


def _check_call_id(field: str, call_id: str) -> None:
    if not 1 <= len(check_text(call_id)) <= TOOL_CALL_ID_LENGTH_MAX:
        raise MalformedError(f"{field} must be 1 to {TOOL_CALL_ID_LENGTH_MAX} characters long")


def _check_object(field: str, text: str, depth_max: int = JSON_DEPTH_MAX) -> None:
    """Require JSON text of an object, which every node can write again.

    Raises:
        MalformedError: it is none, or nested too deeply; it names `field`.
    """
    try:
        value = json.loads(check_text(text))
    except (ValueError, RecursionError) as error:
        raise MalformedError(f"{field} must be JSON text", param=field) from error
    if not isinstance(value, dict):
        raise MalformedError(f"{field} must be a JSON object", param=field)
    if _is_deeper(value, depth_max):
        raise MalformedError(f"{field} must be nested at most {depth_max} levels deep", param=field)
    try:
        check_text(json.dumps(value, ensure_ascii=False))  # escapes may hide half a surrogate pair
    except MalformedError as error:
        raise MalformedError(f"{field}: {error.message}", param=field) from error


def _is_deeper(value: object, levels: int) -> bool:
    """True if objects and lists are nested more than `levels` deep."""
    level = [value]
    for _ in range(levels):
        level = [each for one in level for each in _values_of(one)]
    return any(isinstance(each, dict | list) for each in level)


def _values_of(value: object) -> Iterable[object]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


def _is_penalty(name: str, value: float) -> tuple[str, bool]:
    return f"{name} must be from {-PENALTY_MAX:g} to {PENALTY_MAX:g}", -PENALTY_MAX <= value <= PENALTY_MAX


def _check_schema_text(text: str) -> None:
    """Require one JSON object of bounded size; the grammar checks its meaning."""
    if len(check_text(text).encode()) > JSON_SCHEMA_BYTES_MAX:
        raise MalformedError(f"json_schema must be at most {JSON_SCHEMA_BYTES_MAX} bytes long", param="json_schema")
    _check_object("json_schema", text)
