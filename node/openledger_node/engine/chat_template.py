"""A base's chat template: renders conversations and tools, and shows by probes how it takes them.

Both sides of a sale render, so a rendering depends on nothing but the request and the base.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Literal

from jinja2 import TemplateError
from jinja2.ext import loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment

from openledger_protocol.codec import DATA_FRAME_BYTES_MAX
from openledger_protocol.errors import MalformedError, RequestTooLongError
from openledger_protocol.inference import Message, Tool, ToolCall, Tooling

from .tool_formats import (
    HERMES,
    PHI_LIST,
    PROBE,
    THINK_CLOSING,
    THINK_OPENING,
    CallFamily,
    family_of,
    instructions_for,
    plain_tool,
    write_calls,
)

Turn = dict[str, Any]
"""A message as templates take it: role and content, and in conversations with tools what these need."""

ALWAYS_REASONS = (
    "this base reasons before each answer, and its template has no switch for that: leave out what turns it off"
)

RENDERED_LENGTH_MAX = 4 * DATA_FRAME_BYTES_MAX
"""The longest rendering, and the longest JSON in it: a frame holds the request, and a template may indent it."""

TOOL_ID_LENGTH = 9
"""Mistral's templates refuse ids of any other length."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatStyle:
    """The ways in which a base's template takes tools, and its models write calls and reasoning."""

    family: CallFamily = HERMES
    shows_tools: Literal["template", "system", "text"] = "text"
    """`template`: it takes `tools`; `system`: in the system message; `text`: as a text in the system message."""

    writes_calls: bool = False  # it renders calls and their results; otherwise they are written into the turns' texts
    has_text_arguments: bool = False  # it takes a call's arguments as JSON text, not as an object
    is_parallel: bool = True  # a turn may have several calls
    can_reason: bool = False
    starts_reasoning: bool = False  # the prompt ends with the tag that opens the reasoning
    can_switch: bool = False  # the template takes a wish for or against reasoning
    starts_if_wished: bool = False  # `starts_reasoning` of a prompt with a wish for it
    default_thinking: bool | None = None  # the wish that changes nothing where `can_switch`; None: unknown

    def hears(self, thinking: bool | None) -> bool:
        """True if a wish for or against reasoning makes a difference, or can't be fulfilled."""
        return thinking is not None and (self.can_switch or (self.can_reason and not thinking))

    def with_thinking(self, thinking: bool | None) -> "ChatStyle":
        """The style of an answer with a wish for or against reasoning."""
        if thinking is None or not self.can_switch:
            return self
        return replace(self, can_reason=thinking, starts_reasoning=thinking and self.starts_if_wished)


class ChatTemplate:
    """One compiled template."""

    def __init__(self, source: str, special: dict[str, str]) -> None:
        """Compile and probe a template.

        Raises:
            TemplateError: it is not a template.
        """
        self._template = _environment().from_string(source)
        self._special = special
        self.style = self._find_style(source)

    def render(
        self, messages: Sequence[Message], tooling: Tooling | None = None, thinking: bool | None = None
    ) -> str:
        """Render a conversation up to the start of the assistant's turn.

        Some templates, such as Gemma's, refuse a system message. It then begins the first user's turn.

        Raises:
            MalformedError: the template refuses the conversation, or a base that always reasons should not.
            RequestTooLongError: the rendering is longer than `RENDERED_LENGTH_MAX`.
        """
        if thinking is False and self.style.can_reason and not self.style.can_switch:
            raise MalformedError(ALWAYS_REASONS, param="reasoning_effort")
        tools = tooling.tools if tooling and tooling.choice != "none" else ()
        turns, more = turns_of(messages, tools, self.style)
        more |= _wish(thinking)
        try:
            return self._fill(turns, more)
        except MalformedError:
            if (folded := _without_system(turns)) is None:
                raise
            with suppress(MalformedError):
                return self._fill(folded, more)
            raise

    def _fill(self, turns: list[Turn], more: dict[str, Any]) -> str:
        values = {"messages": turns, "add_generation_prompt": True, **more, **self._special}
        try:
            return _joined(self._template.generate(values))
        except RequestTooLongError:
            raise
        except Exception as error:  # a template is a stranger's program, so any error is its refusal
            raise MalformedError(f"the base's chat template refuses this conversation: {error}") from error

    # ---- probes: conversations whose renderings show how the template takes tools

    def _find_style(self, source: str) -> ChatStyle:
        plain, wished, unwished = (self._plain(thinking) for thinking in (None, True, False))
        style = ChatStyle(
            can_reason=THINK_CLOSING in source or _opens_reasoning(plain),
            starts_reasoning=_opens_reasoning(plain),
            can_switch=wished != unwished,
            starts_if_wished=wished != unwished and _opens_reasoning(wished),
            default_thinking={wished: True, unwished: False}.get(plain) if wished != unwished else None,
        )
        if found := self._native(style):
            return found
        listed = replace(style, shows_tools="system", family=PHI_LIST)
        if "<|tool|>" in source and self._shows(listed):
            return listed
        return style

    def _plain(self, thinking: bool | None) -> str:
        """A question without tools."""
        with suppress(MalformedError, RequestTooLongError):
            return self._fill([{"role": "user", "content": _PROBE[0].content}], _wish(thinking))
        return ""

    def _native(self, style: ChatStyle) -> ChatStyle | None:
        """The style of a template that takes tools, renders calls in a known form, and takes results; None if not."""
        for has_text in (False, True):
            taken = replace(style, shows_tools="template", writes_calls=True, has_text_arguments=has_text)
            rendered = self._try(taken, _PROBE, _TOOL)
            if rendered is None or _RESULT not in rendered or not self._shows(taken):
                continue
            if family := family_of(rendered):
                several = self._try(taken, _SEVERAL, _TOOL)
                return replace(taken, family=family, is_parallel=several is not None)
        return None

    def _shows(self, style: ChatStyle) -> bool:
        """True if a tool changes the rendering as this style passes it."""
        rendered = self._try(style, _PROBE[:1], _TOOL)
        return rendered is not None and _TOOL.description in rendered

    def _try(self, style: ChatStyle, messages: Sequence[Message], *tools: Tool) -> str | None:
        turns, more = turns_of(messages, tools, style)
        with suppress(MalformedError, RequestTooLongError):
            return self._fill(turns, more)
        return None


def _wish(thinking: bool | None) -> dict[str, Any]:
    """A wish for or against reasoning, under the names that templates have for it."""
    return {} if thinking is None else {"enable_thinking": thinking, "thinking": thinking}


def _opens_reasoning(rendered: str) -> bool:
    return rendered.rstrip().endswith(THINK_OPENING)


# ---- Turns as templates take them.


def turns_of(
    messages: Sequence[Message], tools: Sequence[Tool], style: ChatStyle
) -> tuple[list[Turn], dict[str, Any]]:
    """A conversation's turns, and what else the template is given."""
    names = {call.id: call.name for message in messages for call in message.tool_calls}
    if not style.writes_calls:
        turns = list(_written_turns(messages, style))
    else:
        ordered = messages if style.is_parallel else _one_call_a_turn(messages)
        turns = [_native_turn(message, names, style) for message in ordered]
    if not tools:
        return turns, {}
    shown = [plain_tool(tool) for tool in tools]
    if style.shows_tools == "template":
        return turns, {"tools": shown}
    if not turns or turns[0]["role"] != "system":
        turns.insert(0, {"role": "system", "content": ""})
    if style.shows_tools == "system":
        turns[0]["tools"] = json.dumps([each["function"] for each in shown], ensure_ascii=False)
    else:
        turns[0]["content"] = "\n\n".join(filter(None, (turns[0]["content"], instructions_for(tools))))
    return turns, {}


def _native_turn(message: Message, names: dict[str, str], style: ChatStyle) -> Turn:
    turn: Turn = {"role": message.role, "content": message.content}
    if message.tool_calls:
        turn["tool_calls"] = [_native_call(call, style) for call in message.tool_calls]
    if message.role == "tool":
        turn |= {"tool_call_id": _short_id(message.tool_call_id), "name": names.get(message.tool_call_id, "")}
    return turn


def _native_call(call: ToolCall, style: ChatStyle) -> dict[str, Any]:
    arguments = call.arguments or "{}"
    return {
        "id": _short_id(call.id),
        "type": "function",
        "function": {
            "name": call.name,
            "arguments": arguments if style.has_text_arguments else json.loads(arguments),
        },
    }


def _short_id(call_id: str) -> str:
    """An id that every template takes; the same for the call and for its result."""
    if len(call_id) == TOOL_ID_LENGTH and call_id.isascii() and call_id.isalnum():
        return call_id
    return hashlib.sha256(call_id.encode()).hexdigest()[:TOOL_ID_LENGTH]


def _one_call_a_turn(messages: Sequence[Message]) -> Iterator[Message]:
    """Give each call a turn of its own, with its result after it."""
    left = list(messages)
    while left:
        message = left.pop(0)
        if len(message.tool_calls) < 2:
            yield message
            continue
        results = []
        while left and left[0].role == "tool":
            results.append(left.pop(0))
        for number, call in enumerate(message.tool_calls):
            yield replace(message, content="" if number else message.content, tool_calls=(call,))
            yield from (result for result in results if result.tool_call_id == call.id)
        ids = {call.id for call in message.tool_calls}
        yield from (result for result in results if result.tool_call_id not in ids)


def _written_turns(messages: Sequence[Message], style: ChatStyle) -> Iterator[Turn]:
    """Write calls into the assistant's texts, and results into turns of the user, one turn for those in a row.

    What the user writes after results joins their turn, because many templates want the roles to alternate.
    """
    pending: list[str] = []
    for message in messages:
        if message.role == "tool":
            pending.append(f"<tool_response>\n{message.content}\n</tool_response>")
            continue
        if pending and message.role == "user":
            pending.append(message.content)
        if pending:
            yield {"role": "user", "content": "\n".join(pending)}
        if not (pending and message.role == "user"):
            yield {"role": message.role, "content": _with_calls(message, style)}
        pending.clear()
    if pending:
        yield {"role": "user", "content": "\n".join(pending)}


def _with_calls(message: Message, style: ChatStyle) -> str:
    if not message.tool_calls:
        return message.content
    return "\n".join(filter(None, (message.content, write_calls(style.family, message.tool_calls))))


def _without_system(turns: list[Turn]) -> list[Turn] | None:
    """The same conversation with its system message at the start of the user's; None if there are not both."""
    if [each["role"] for each in turns[:2]] != ["system", "user"]:
        return None
    content = f"{turns[0]['content']}\n\n{turns[1]['content']}"
    return [{"role": "user", "content": content}, *turns[2:]]


_RESULT = "probe result"
_TOOL = Tool(
    name=PROBE.name,
    description="probe description",
    parameters='{"type":"object","properties":{"probe_key":{"type":"string"}}}',
)
_PROBE = (
    Message(role="user", content="probe question"),
    Message(role="assistant", content="", tool_calls=(PROBE,)),
    Message(role="tool", content=_RESULT, tool_call_id=PROBE.id),
)
_SECOND = replace(PROBE, id="probe0002")
_SEVERAL = (
    _PROBE[0],
    replace(_PROBE[1], tool_calls=(PROBE, _SECOND)),
    _PROBE[2],
    replace(_PROBE[2], tool_call_id=_SECOND.id),
)


# ---- Jinja as in transformers.


def _environment() -> ImmutableSandboxedEnvironment:
    """Jinja with the same extensions, filters and functions as in transformers, so that templates render alike.

    Seller and buyer must render alike too: the date is UTC's, and what draws at random is missing.
    """
    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols])
    environment.filters["tojson"] = _to_json
    del environment.filters["random"], environment.globals["lipsum"]
    environment.globals["raise_exception"] = _raise_exception
    environment.globals["strftime_now"] = lambda form: datetime.now(UTC).strftime(form)
    return environment


def _to_json(
    value: object,
    ensure_ascii: bool = False,
    indent: int | str | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """Replace Jinja's `tojson`, which escapes for HTML."""
    encoder = json.JSONEncoder(ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)
    return encoder.encode(value) if indent is None else _joined(encoder.iterencode(value))


def _joined(pieces: Iterable[str]) -> str:
    """Join the pieces of a text that may grow too long.

    Raises:
        RequestTooLongError: it is longer than `RENDERED_LENGTH_MAX`.
    """
    joined, length = [], 0
    for piece in pieces:
        joined.append(piece)
        length += len(piece)
        if length > RENDERED_LENGTH_MAX:
            raise RequestTooLongError(f"the rendered prompt is longer than {RENDERED_LENGTH_MAX} characters")
    return "".join(joined)


def _raise_exception(message: str) -> None:
    raise TemplateError(message)
