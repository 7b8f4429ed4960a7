"""Requests of OpenAI's Responses API as requests of this node, which keeps no response.

Each request holds its whole conversation, so fields that point to something kept are refused.
"""

from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from openledger_protocol.errors import MalformedError
from openledger_protocol.inference import (
    InferenceRequest,
    Message,
    Role,
    SamplingParams,
    Tool,
    ToolCall,
    Tooling,
    check_messages,
    check_sampling,
    check_tooling,
)
from openledger_protocol.primitives import check_text

from ...models.sampling_defaults import SamplingDefaults
from ..chat import NO_PARAMETERS
from ..exchange import draw_request_id
from ..reasoning import reasoning_wish
from ..request_fields import (
    ANY_OBJECT,
    DEFAULT_MAX_TOKENS,
    UINT64,
    check_writable,
    compact_json,
    given,
    likeliest_if_zero,
)
from ..schemas import Listed
from .namespaces import FlatNames, FunctionName, flatten

Item = dict[str, Any]

KEEPS_NOTHING = "this node keeps no responses: send the whole conversation as input"
OTHER_ROUTE = "/v1/chat/completions has it, and Responses has not"
REFUSED: dict[str, tuple[tuple[object, ...], str]] = {
    "background": ((None, False), "this node answers at once or in a stream"),
    "conversation": ((None,), KEEPS_NOTHING),
    "frequency_penalty": ((None, 0), OTHER_ROUTE),
    "logit_bias": ((None, {}), "this node has no such bias"),
    "min_p": ((None, 0), OTHER_ROUTE),
    "n": ((None, 1), OTHER_ROUTE),
    "presence_penalty": ((None, 0), OTHER_ROUTE),
    "previous_response_id": ((None,), KEEPS_NOTHING),
    "prompt": ((None,), "this node keeps no prompts: send the text as instructions and input"),
    "repetition_penalty": ((None, 1), OTHER_ROUTE),
    "response_format": ((None,), "Responses calls it text.format"),
    "stop": ((None, [], ""), OTHER_ROUTE),
    "top_k": ((None, 0, -1), OTHER_ROUTE),
    "top_logprobs": ((None, 0), OTHER_ROUTE),
}
"""Fields that are not served, with the values that have no effect, and the reason or the remedy."""

REPEATED = ("metadata", "text", "tool_choice", "tools")
"""Fields that the answer repeats."""

DEPTH_MAX = 200
"""Levels of a repeated field; the parser takes more than can be written again within an answer."""

ROLES: dict[str, Role] = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant"}
TEXT_PARTS = ("input_text", "output_text", "text")
LOGPROBS = "message.output_text.logprobs"


class ResponsesBody(BaseModel):
    """`POST /v1/responses`."""

    model_config = ConfigDict(extra="allow")

    model: str
    input: str | Listed[Item] = Field(min_length=1)
    instructions: str | None = None
    ignore_eos: bool | None = None  # vLLM's
    include: Listed[str] | None = None
    max_output_tokens: int | None = Field(default=None, ge=1)
    metadata: dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    reasoning: dict[str, Any] | None = None
    seed: int | None = None  # of this node; OpenAI's has none
    store: bool | None = None  # accepted, but nothing is kept, and the answer says so
    stream: bool | None = None
    temperature: float | None = None
    text: dict[str, Any] | None = None
    tool_choice: str | dict[str, Any] | None = None
    tools: Listed[dict[str, Any]] | None = None
    top_p: float | None = None
    truncation: str | None = None
    user: str | None = None


def request_from_responses(body: ResponsesBody, *, seed: int, defaults: SamplingDefaults) -> InferenceRequest:
    """Read a request; `seed` and `defaults` apply where it has nothing.

    Raises:
        MalformedError: a field is out of bounds, or not served.
    """
    _refuse_unserved(body.model_extra or {}, body.include or [])
    for name in REPEATED:
        _check_repeatable(getattr(body, name), name)
    sampling = SamplingParams(
        max_tokens=body.max_output_tokens or DEFAULT_MAX_TOKENS,
        seed=(seed if body.seed is None else body.seed) & UINT64,
        temperature=given(body.temperature, defaults.temperature),
        top_p=given(body.top_p, defaults.top_p),
        top_k=defaults.top_k,
        min_p=defaults.min_p,
        repetition_penalty=defaults.repetition_penalty,
        json_schema=_json_schema((body.text or {}).get("format")),
    )
    return InferenceRequest(
        request_id=draw_request_id(),
        model=check_text(body.model),
        prompt=check_messages(conversation(body)),
        sampling=check_sampling(likeliest_if_zero(sampling)),
        tooling=tooling_of(body),
        thinking=reasoning_wish(body.reasoning),
        ignores_end=bool(body.ignore_eos),
    )


def _refuse_unserved(extra: dict[str, Any], include: list[str]) -> None:
    if LOGPROBS in include:
        raise MalformedError(f"{LOGPROBS!r} is not supported, because {OTHER_ROUTE} as logprobs", param="include")
    for name, (harmless, remedy) in REFUSED.items():
        if extra.get(name) not in harmless:
            raise MalformedError(f"{name!r} is not supported, because {remedy}", param=name)


def _check_repeatable(value: Any, name: str) -> None:
    """Require that the answer can repeat a field: the parser takes JSON that can't be written again."""
    if is_deeper(value, DEPTH_MAX):
        raise MalformedError(f"{name} is nested more than {DEPTH_MAX} levels deep: send it flatter", param=name)
    try:
        check_writable(value)
    except ValueError as error:
        raise MalformedError(
            f"{name} has a number that is not finite or a text that is not Unicode, which JSON can't hold: "
            "leave it out",
            param=name,
        ) from error


def is_deeper(value: Any, levels: int) -> bool:
    """Return True if JSON has lists or objects within each other in more levels."""
    layer = [value]
    for _ in range(levels + 1):
        inner = (each.values() if isinstance(each, dict) else each for each in layer if isinstance(each, dict | list))
        layer = [item for items in inner for item in items]
        if not layer:
            return False
    return True


# ---- The conversation.


def conversation(body: ResponsesBody) -> tuple[Message, ...]:
    """The turns of a request: its instructions and all system messages at the start become one turn.

    Raises:
        MalformedError: an item is of a kind that is not served.
    """
    _, names = flatten(body.tools or [])
    found: list[Message] = [Message(role="system", content=body.instructions)] if body.instructions else []
    items: list[Item] = [{"role": "user", "content": body.input}] if isinstance(body.input, str) else body.input
    for number, item in enumerate(items):
        turn = _turn(item, f"input[{number}]", names)
        if turn is None:
            continue
        if found and _belong_together(found[-1], turn):
            turn = _joined(found.pop(), turn)
        found.append(turn)
    if not found:
        raise MalformedError("input has no message", param="input")
    return tuple(found)


def _turn(item: Item, where: str, names: FlatNames) -> Message | None:
    """The turn of one item; None for reasoning, which chat templates leave out of earlier turns."""
    kind = item.get("type") or "message"
    match {**item, "type": kind}:
        case {"type": "message", "role": str(role), "content": content} if role in ROLES:
            return Message(role=ROLES[role], content=_text(content, where))
        case {"type": "function_call", "call_id": str(call_id), "name": str(name), "arguments": str(arguments)}:
            function = FunctionName(str(item.get("namespace") or ""), name)
            call = ToolCall(id=call_id, name=names.to_model(function), arguments=arguments)
            return Message(role="assistant", content="", tool_calls=(call,))
        case {"type": "function_call_output", "call_id": str(call_id), "output": output}:
            return Message(role="tool", content=_text(output, where), tool_call_id=call_id)
        case {"type": "reasoning"}:
            return None
        case {"type": "item_reference"}:
            raise MalformedError(
                f"{where}: an item_reference is not supported, because {KEEPS_NOTHING}", param="input"
            )
        case {"type": "message" | "function_call" | "function_call_output"}:
            raise MalformedError(f"{where}: a field of this {kind} is missing or has a wrong type", param="input")
    raise MalformedError(f"{where}: items of type {kind!r} are not supported", param="input")


def _text(content: Any, where: str) -> str:
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise MalformedError(f"{where}: its content must be a text or a list of parts", param="input")
    return "\n".join(_part_texts(content, where))


def _part_texts(parts: list[Any], where: str) -> Iterator[str]:
    for part in parts:
        match part:
            case {"type": kind, "text": str(text)} if kind in TEXT_PARTS:
                yield text
            case {"type": "refusal", "refusal": str(text)}:
                yield text
            case _:
                kind = part.get("type") if isinstance(part, dict) else None
                raise MalformedError(f"{where}: parts of type {kind!r} are not supported", param="input")


def _belong_together(last: Message, turn: Message) -> bool:
    """Return True for a call that follows the text or the calls of the same turn, and for system texts in a row."""
    if turn.role == "system":
        return last.role == "system"
    return last.role == "assistant" and bool(turn.tool_calls)


def _joined(last: Message, turn: Message) -> Message:
    content = "\n\n".join(each for each in (last.content, turn.content) if each)
    return Message(role=turn.role, content=content, tool_calls=last.tool_calls + turn.tool_calls)


# ---- Tools and the form of the answer.


def tooling_of(body: ResponsesBody) -> Tooling | None:
    """The functions that a request offers, and how they must be used.

    Raises:
        MalformedError: a tool is one that OpenAI's own servers run, or out of bounds.
    """
    tools, names = flatten(body.tools or [])
    choice, name = _choice(body.tool_choice)
    if not tools:
        if choice == "required":
            raise MalformedError("tool_choice needs tools", param="tool_choice")
        return None
    return check_tooling(
        Tooling(
            tools=tuple(map(_tool, tools)),
            choice=choice,
            name=_model_name(name, tools, names),
            parallel=body.parallel_tool_calls is not False,
        )
    )


def _choice(choice: str | dict[str, Any] | None) -> tuple[Any, str]:
    match choice:
        case None:
            return "auto", ""
        case "auto" | "none" | "required":
            return choice, ""
        case {"type": "function", "name": str(name)}:
            return "required", name
    raise MalformedError("tool_choice must be auto, none, required or a function of tools", param="tool_choice")


def _model_name(name: str, tools: list[dict[str, Any]], names: FlatNames) -> str:
    """The model's name of a chosen function: one outside of namespaces, or the only one of that name within them."""
    found = names.find(name)
    if not found or any(tool.get("name") == name for tool in tools):
        return name
    if len(found) > 1:
        raise MalformedError(
            f"tool_choice names {name[:80]!r}, and {len(found)} namespaces have a function of that name: "
            "offer only the namespace that is meant",
            param="tool_choice",
        )
    return found[0]


def _tool(tool: dict[str, Any]) -> Tool:
    match tool:
        case {"type": "function", "name": str(name)}:
            return Tool(
                name=name,
                description=str(tool.get("description") or ""),
                parameters=compact_json(tool["parameters"]) if tool.get("parameters") else NO_PARAMETERS,
            )
    raise MalformedError(
        f"tools of type {tool.get('type')!r} are not supported: this node runs no tools, so offer functions",
        param="tools",
    )


def _json_schema(form: dict[str, Any] | None) -> str | None:
    match form:
        case None | {"type": "text"}:
            return None
        case {"type": "json_object"}:
            return ANY_OBJECT
        case {"type": "json_schema", "schema": dict(schema)}:
            return compact_json(schema)
    raise MalformedError("text.format must be text, json_object, or json_schema with a schema in it", param="text")
