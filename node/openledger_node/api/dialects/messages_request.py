"""Requests of Anthropic's Messages API as requests of this node.

What only steers Anthropic's own service (`cache_control`, `metadata`, `service_tier`) is ignored. What would change
the answer and is not served is refused by name.
"""

from dataclasses import replace
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from openledger_protocol.errors import MalformedError
from openledger_protocol.inference import (
    InferenceRequest,
    Message,
    SamplingParams,
    Tool,
    ToolCall,
    Tooling,
    check_messages,
    check_sampling,
    check_tooling,
)
from openledger_protocol.primitives import check_text

from ...engine.chat_template import ChatStyle
from ...models.sampling_defaults import SamplingDefaults
from ..exchange import draw_request_id
from ..reasoning import thinking_wish
from ..request_fields import compact_json, given, likeliest_if_zero
from ..schemas import Listed

Block = dict[str, Any]

CHOICES: dict[str, Any] = {"auto": "auto", "any": "required", "tool": "required", "none": "none"}
"""Anthropic's kinds of `tool_choice` by the protocol's."""

NOT_SERVED = ("container", "mcp_servers")
"""Fields that need a service beside the model; they are refused unless empty."""

FAILED = "Error: "
"""Begins the result of a tool that failed, since chat templates have no field for it."""


class Turn(BaseModel):
    """One message: a text, or a list of blocks."""

    role: str
    content: str | Listed[Block]


class CountBody(BaseModel):
    """`POST /v1/messages/count_tokens`."""

    model_config = ConfigDict(extra="allow")

    model: str
    messages: Listed[Turn] = Field(min_length=1)
    system: str | Listed[Block] | None = None
    tools: Listed[dict[str, Any]] | None = None
    tool_choice: dict[str, Any] | None = None
    thinking: dict[str, Any] | None = None


class MessagesBody(CountBody):
    """`POST /v1/messages`."""

    max_tokens: int = Field(ge=1)
    stream: bool | None = None
    stop_sequences: Listed[str] | None = None
    temperature: float | None = None
    top_k: int | None = None
    top_p: float | None = None
    output_config: dict[str, Any] | None = None
    output_format: dict[str, Any] | None = None  # its earlier name

    @property
    def shows_thinking(self) -> bool:
        """True if the answer may have thinking blocks; like Anthropic's, it has none unless they are asked for."""
        return (self.thinking or {}).get("type") not in (None, "disabled")


def with_wish(request: InferenceRequest, body: CountBody, style: ChatStyle) -> InferenceRequest:
    """The request with a wish for or against reasoning, where it may change what the base does.

    Clients send `thinking` as a habit, so a base that always or never reasons does not refuse it. A wish for what the
    base does by default is left out, because a model of another node would refuse it.

    Raises:
        MalformedError: `thinking` has none of its types.
    """
    wish = thinking_wish(body.thinking)
    has_effect = wish is not None and style.can_switch and wish != style.default_thinking
    return replace(request, thinking=wish) if has_effect else request


def request_from_messages(body: MessagesBody, *, seed: int, defaults: SamplingDefaults) -> InferenceRequest:
    """Read a request for an answer; `defaults` apply where it has nothing.

    Raises:
        MalformedError: a field is out of bounds, or not served.
    """
    sampling = SamplingParams(
        max_tokens=body.max_tokens,
        seed=seed,
        temperature=given(body.temperature, defaults.temperature),
        top_p=given(body.top_p, defaults.top_p),
        top_k=max(given(body.top_k, defaults.top_k), 0),
        min_p=defaults.min_p,
        repetition_penalty=defaults.repetition_penalty,
        stop=tuple(body.stop_sequences or ()),
        json_schema=_json_schema(body.output_format or (body.output_config or {}).get("format")),
    )
    return _request(body, check_sampling(likeliest_if_zero(sampling)))


def request_to_count(body: CountBody) -> InferenceRequest:
    """Read a request whose prompt is only counted.

    Raises:
        MalformedError: as for an answer.
    """
    return _request(body, SamplingParams(max_tokens=1, seed=0))


def _request(body: CountBody, sampling: SamplingParams) -> InferenceRequest:
    for name in NOT_SERVED:
        if (body.model_extra or {}).get(name):
            raise MalformedError(f"{name!r} is not supported by this node", param=name)
    return InferenceRequest(
        request_id=draw_request_id(),
        model=check_text(body.model),
        prompt=check_messages(_conversation(body)),
        sampling=sampling,
        tooling=tooling_of(body.tools or [], body.tool_choice or {}),
    )


def _conversation(body: CountBody) -> tuple[Message, ...]:
    system = _texts(body.system or "", "system")
    found = [Message(role="system", content=system)] if system else []
    for number, turn in enumerate(body.messages):
        where = f"messages[{number}]"
        if turn.role == "assistant":
            found.append(_assistant(turn.content, where))
        elif turn.role in ("user", "system"):
            found = _with_user(found, _user(turn.content, where))
        else:
            raise MalformedError(
                f"{where}: role must be user, assistant or system, not {turn.role!r}", param="messages"
            )
    if found[-1].role == "assistant":
        raise MalformedError(
            "the last message is the assistant's, and this node can't continue a given answer: end with a user's "
            "message",
            param="messages",
        )
    return tuple(found)


def _with_user(found: list[Message], turns: list[Message]) -> list[Message]:
    """Add the turns of a user or system message; texts in a row become one turn.

    Claude Code sends system messages between the turns. Most chat templates take a system message at the start only,
    and some take no two user turns in a row, so such a text becomes a part of the user's turn.
    """
    first, *others = turns
    if found and found[-1].role == first.role == "user":
        *found, last = found
        first = Message(role="user", content=f"{last.content}\n\n{first.content}")
    return [*found, first, *others]


def _user(content: str | list[Block], where: str) -> list[Message]:
    """The turns of one user message: results of tools are turns of their own."""
    if isinstance(content, str):
        return [Message(role="user", content=content)]
    found: list[Message] = []
    texts: list[str] = []
    for block in content:
        match block:
            case {"type": "text", "text": str(text)}:
                texts.append(text)
            case {"type": "tool_result", "tool_use_id": str(call_id)}:
                if texts:
                    found.append(Message(role="user", content="\n".join(texts)))
                    texts = []
                found.append(Message(role="tool", content=_result(block, where), tool_call_id=call_id))
            case _:
                raise _refused(block, where)
    if texts or not found:
        found.append(Message(role="user", content="\n".join(texts)))
    return found


def _result(block: Block, where: str) -> str:
    text = _texts(block.get("content") or "", f"{where}: tool_result")
    return FAILED + text if block.get("is_error") else text


def _assistant(content: str | list[Block], where: str) -> Message:
    """An earlier answer; its thinking is left out, as chat templates leave it out of earlier turns."""
    if isinstance(content, str):
        return Message(role="assistant", content=content)
    texts: list[str] = []
    calls: list[ToolCall] = []
    for block in content:
        match block:
            case {"type": "text", "text": str(text)}:
                texts.append(text)
            case {"type": "tool_use", "id": str(call_id), "name": str(name)}:
                arguments = compact_json(block.get("input") or {})
                calls.append(ToolCall(id=call_id, name=name, arguments=arguments))
            case {"type": "thinking" | "redacted_thinking"}:
                continue
            case _:
                raise _refused(block, where)
    return Message(role="assistant", content="\n".join(texts), tool_calls=tuple(calls))


def _texts(content: Any, where: str) -> str:
    """The text of a field that holds a text or a list of text blocks."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise MalformedError(f"{where}: content must be a text or a list of blocks", param=where.split("[")[0])
    texts = []
    for block in content:
        match block:
            case {"type": "text", "text": str(text)}:
                texts.append(text)
            case _:
                raise _refused(block, where)
    return "\n".join(texts)


def _refused(block: Any, where: str) -> MalformedError:
    kind = block.get("type") if isinstance(block, dict) else None
    return MalformedError(f"{where}: blocks of type {kind!r} are not supported", param=where.split("[")[0])


def tooling_of(tools: list[dict[str, Any]], choice: dict[str, Any]) -> Tooling | None:
    """The tools of a request, and how they must be used.

    Raises:
        MalformedError: a tool is one that Anthropic's own servers run, or out of bounds.
    """
    if not tools:
        if choice.get("type", "auto") in ("any", "tool"):
            raise MalformedError("tool_choice needs tools", param="tool_choice")
        return None
    kind = choice.get("type", "auto")
    if not isinstance(kind, str) or kind not in CHOICES:
        raise MalformedError("tool_choice must be auto, any, tool or none", param="tool_choice")
    return check_tooling(
        Tooling(
            tools=tuple(_tool(tool) for tool in tools),
            choice=CHOICES[kind],
            name=str(choice.get("name", "")) if kind == "tool" else "",
            parallel=not choice.get("disable_parallel_tool_use"),
        )
    )


def _tool(tool: dict[str, Any]) -> Tool:
    match tool:
        case {"name": str(name), "input_schema": dict(schema)} if tool.get("type") in (None, "custom"):
            return Tool(
                name=name,
                description=str(tool.get("description") or ""),
                parameters=compact_json(schema),
            )
    raise MalformedError(
        f"tools of type {tool.get('type')!r} are not supported: a tool needs a name and an input_schema",
        param="tools",
    )


def _json_schema(form: dict[str, Any] | None) -> str | None:
    match form:
        case None:
            return None
        case {"type": "json_schema", "schema": dict(schema)}:
            return compact_json(schema)
    raise MalformedError("output_config.format must be a json_schema with a schema", param="output_config")
