"""`/v1/chat/completions`: conversations and tools in, answers out, whole or as events."""

from collections.abc import Sequence
from typing import Any

from openledger_protocol.errors import MalformedError, ProtocolError
from openledger_protocol.inference import (
    InferenceRequest,
    Message,
    Role,
    TokenLogprob,
    Tool,
    ToolCall,
    ToolChoice,
    Tooling,
    check_messages,
    check_tooling,
)
from openledger_protocol.primitives import RequestId, Wei, check_text

from ..engine.chat_template import ChatStyle
from ..models.sampling_defaults import SamplingDefaults
from ..serving.answer_parts import Part, ReasoningPart, TextPart, ToolCallArguments, ToolCallStart
from . import openai
from .exchange import Answered, AnswerExchange
from .openai import MARK, WriteLogprobs, head
from .reasoning import thinking_of
from .request_fields import compact_json, json_schema, request_from_fields
from .schemas import ChatBody, ChatMessage, ContentPart, MessageToolCall, ToolSpec
from .stream import event

ROLES: dict[str, Role] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "assistant": "assistant",
    "tool": "tool",
}

NO_PARAMETERS = '{"type":"object","properties":{}}'
"""The schema of a function without arguments."""

CONTINUED = "continue_final_message"

MESSAGE_FIELDS: dict[str, str] = {
    "audio": "answers are text",
    "function_call": "functions are tools now, so send tool_calls",
    "partial": "send continue_final_message",
    "prefix": "send continue_final_message",
}
"""Fields of a message that are refused unless they are null or false, with what to do instead."""

# ---- The request.


def request_from_chat(body: ChatBody, *, seed: int, defaults: SamplingDefaults) -> InferenceRequest:
    """Read a chat request; `seed` and `defaults` apply where the request has nothing.

    Raises:
        MalformedError: a field is out of bounds, or not served.
    """
    messages = check_messages(tuple(_message(index, message) for index, message in enumerate(body.messages)))
    prefix = ""
    if body.continue_final_message:
        *before, last = messages
        messages, prefix = tuple(before), _beginning(last if before else None, body)
    return request_from_fields(
        body,
        messages,
        seed=seed,
        defaults=defaults,
        num_logprobs=body.num_logprobs,
        tooling=_tooling(body),
        thinking=thinking_of(body),
        prefix=prefix,
    )


def _beginning(last: Message | None, body: ChatBody) -> str:
    """The beginning of the answer that is to be continued.

    Raises:
        MalformedError: the last message is no answer's beginning, or a parameter needs the whole answer.
    """
    if last is None or last.role != "assistant" or not last.content or last.tool_calls:
        raise MalformedError(
            f"{CONTINUED} needs a last message with role 'assistant' and text, after another message", param=CONTINUED
        )
    # The beginning counts as prompt, and neither the grammar nor the penalties look at the prompt.
    if json_schema(body) or body.tools or body.frequency_penalty or body.presence_penalty:
        raise MalformedError(f"{CONTINUED} can't be combined with a JSON schema, tools or penalties", param=CONTINUED)
    return last.content


def check_continued(request: InferenceRequest, style: ChatStyle) -> None:
    """Require that an answer's given beginning would not be read as reasoning; `style` is of this request.

    Raises:
        MalformedError: the prompt opens the reasoning.
    """
    if request.prefix and style.starts_reasoning:
        raise MalformedError(
            f"{CONTINUED} needs an answer without reasoning, and this base begins its answers with it: turn it off "
            "by reasoning_effort 'none' if the base has a switch, or leave the beginning out",
            param=CONTINUED,
        )


def _message(index: int, message: ChatMessage) -> Message:
    """Read one message; roles and parts other than text are refused by name."""
    where = f"messages[{index}]"
    if message.role not in ROLES:
        advice = ": send role 'tool' with the call's id as tool_call_id" if message.role == "function" else ""
        raise _refused(f"{where} has the role {message.role!r}, which is not supported{advice}")
    for name, advice in MESSAGE_FIELDS.items():
        if (message.model_extra or {}).get(name):
            raise _refused(f"{where} has {name!r}, which is not supported by this node: {advice}")
    return Message(
        role=ROLES[message.role],
        content=check_text(_content(where, message.content)),
        tool_calls=tuple(_call(where, call) for call in message.tool_calls or ()),
        tool_call_id=message.tool_call_id or "",
    )


def _content(where: str, content: str | list[ContentPart] | None) -> str:
    """The text of a message; several parts are lines."""
    if isinstance(content, str):
        return content
    return "\n".join(_text(where, part) for part in content or ())


def _text(where: str, part: ContentPart) -> str:
    text = part.text if part.type == "text" else part.refusal if part.type == "refusal" else None
    if text is not None:
        return text
    if part.type in ("text", "refusal"):
        raise _refused(f"{where} has a part of type {part.type!r} without a {part.type!r}")
    raise _refused(f"{where} has a part of type {part.type!r}, which is not supported: this node's bases read text")


def _call(where: str, call: MessageToolCall) -> ToolCall:
    if call.type != "function" or call.function is None:
        raise _refused(f"{where} has a tool call of type {call.type!r}: it must be a 'function', and have one")
    return ToolCall(id=call.id, name=call.function.name, arguments=call.function.arguments)


def _refused(message: str) -> MalformedError:
    return MalformedError(message, param="messages")


# ---- Tools.


def _tooling(body: ChatBody) -> Tooling | None:
    """The tools of a request, and the choice among them."""
    tools = tuple(_tool(index, tool) for index, tool in enumerate(body.tools or ()))
    choice, name, allowed = _choice(body.tool_choice)
    if not tools:
        if choice == "required":
            raise MalformedError("tool_choice needs tools: send them, or leave it out", param="tool_choice")
        return None
    if allowed is not None:
        if missing := allowed - {tool.name for tool in tools}:
            raise MalformedError(f"tool_choice allows {min(missing)!r}, which is not in tools", param="tool_choice")
        tools = tuple(tool for tool in tools if tool.name in allowed)
    parallel = body.parallel_tool_calls is not False
    return check_tooling(Tooling(tools=tools, choice=choice, name=name, parallel=parallel))


def _tool(index: int, tool: ToolSpec) -> Tool:
    if tool.type != "function":
        raise MalformedError(
            f"tools[{index}] has the type {tool.type!r}, which is not supported: offer a 'function'", param="tools"
        )
    if tool.function is None:
        raise MalformedError(f"tools[{index}] has no function: a tool of type 'function' needs one", param="tools")
    parameters = tool.function.parameters
    return Tool(
        name=tool.function.name,
        description=tool.function.description or "",
        parameters=compact_json(parameters) if parameters else NO_PARAMETERS,
    )


def _choice(given: str | dict[str, Any] | None) -> tuple[ToolChoice, str, set[str] | None]:
    """The choice, the one tool that must be called, and the tools that may be; None for all of them.

    Raises:
        MalformedError: it has none of OpenAI's forms.
    """
    match given:
        case None | "auto":
            return "auto", "", None
        case "none":
            return "none", "", None
        case "required" | "any":  # Mistral's word
            return "required", "", None
        case {"type": "function", "function": {"name": str(name)}}:
            return "required", name, None
        case {"type": "allowed_tools", "allowed_tools": {"mode": "auto" | "required" as mode, "tools": list(listed)}}:
            return mode, "", {_allowed_name(each) for each in listed}
    raise MalformedError(
        'tool_choice must be "auto", "none", "required", allowed_tools, or {"type": "function", "function": '
        '{"name": …}}',
        param="tool_choice",
    )


def _allowed_name(tool: object) -> str:
    match tool:
        case {"type": "function", "function": {"name": str(name)}}:
            return name
    raise MalformedError("allowed_tools names functions only", param="tool_choice")


# ---- The answer, whole.


def chat_response(
    requests: Sequence[InferenceRequest],
    answers: Sequence[Answered],
    write_logprobs: Sequence[WriteLogprobs],
    *,
    created_s: int,
) -> dict[str, Any]:
    """The answers as a `chat.completion`, each a choice."""
    choices = [
        {
            "index": index,
            "message": _answer_message(answered),
            "logprobs": write(answered.logprobs),
            "finish_reason": answered.finish_reason,
        }
        for index, (answered, write) in enumerate(zip(answers, write_logprobs, strict=True))
    ]
    details = [(answered.completion, answered.reasoning_tokens, answered.cost_wei) for answered in answers]
    return {**head(requests[0], "chat.completion", created_s), "choices": choices, "usage": _usage(details)}


def _answer_message(answered: Answered) -> dict[str, Any]:
    content = answered.text if answered.text or not answered.tool_calls else None
    message: dict[str, Any] = {"role": "assistant", "content": content}
    if answered.reasoning:
        message["reasoning_content"] = answered.reasoning
    if answered.tool_calls:
        message["tool_calls"] = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
            for call in answered.tool_calls
        ]
    return message


def _usage(answers: Sequence[tuple[Any, int | None, Wei | None]]) -> dict[str, Any]:
    """Token counts, with those of the reasoning where they are known, and the cost."""
    counted = openai.usage([completion for completion, _, _ in answers], [cost_wei for _, _, cost_wei in answers])
    if any(tokens is None for _, tokens, _ in answers):
        return counted
    reasoning = sum(tokens or 0 for _, tokens, _ in answers)
    return {**counted, "completion_tokens_details": {"reasoning_tokens": reasoning}}


# ---- The answer, as events.


class ChatWriter:
    """Writes one choice of a streamed chat."""

    def __init__(
        self,
        exchange: AnswerExchange,
        write_logprobs: WriteLogprobs,
        *,
        created_s: int,
        index: int = 0,
        request_id: RequestId | None = None,
    ) -> None:
        self._exchange = exchange
        self._write_logprobs = write_logprobs
        self._head = head(exchange.request, "chat.completion.chunk", created_s, request_id=request_id)
        self._index = index
        self._render = openai.renderer(self._event({"content": MARK}))

    def begin(self) -> bytes:
        """The role."""
        return self._event({"role": "assistant", "content": ""})

    def write(self, parts: Sequence[Part], logprobs: Sequence[TokenLogprob]) -> bytes:
        """One event per part; the first has the probabilities."""
        if not logprobs:
            return b"".join(map(self._write, parts))
        first, *others = parts or (None,)
        delta = _delta(first) if first else {}
        return b"".join([self._event(delta, logprobs=self._write_logprobs(logprobs)), *map(self._write, others)])

    def _write(self, part: Part) -> bytes:
        return self._render(part.text) if isinstance(part, TextPart) else self._event(_delta(part))

    def end(self) -> bytes:
        """The reason of the end."""
        return self._event({}, finish_reason=self._exchange.finish_reason)

    def fail(self, error: ProtocolError) -> bytes:
        """The refusal."""
        return event(openai.error_body(error))

    def _event(
        self, delta: dict[str, Any], *, logprobs: dict[str, Any] | None = None, finish_reason: str | None = None
    ) -> bytes:
        choice = {"index": self._index, "delta": delta, "logprobs": logprobs, "finish_reason": finish_reason}
        return event({**self._head, "choices": [choice]})


def chat_ending(exchanges: Sequence[AnswerExchange], *, created_s: int, has_usage: bool) -> bytes:
    """The events after the last choice: the usage, for clients that request it, and the end."""
    if not has_usage:
        return openai.DONE
    details = [(exchange.completion, exchange.reasoning_tokens, exchange.cost_wei) for exchange in exchanges]
    begun = head(exchanges[0].request, "chat.completion.chunk", created_s)
    return event({**begun, "choices": [], "usage": _usage(details)}) + openai.DONE


def _delta(part: Part) -> dict[str, Any]:
    match part:
        case TextPart():
            return {"content": part.text}
        case ReasoningPart():
            return {"reasoning_content": part.text}
        case ToolCallStart():
            function = {"name": part.name, "arguments": ""}
            return {"tool_calls": [{"index": part.index, "id": part.id, "type": "function", "function": function}]}
        case ToolCallArguments():
            return {"tool_calls": [{"index": part.index, "function": {"arguments": part.text}}]}
