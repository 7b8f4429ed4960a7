"""Anthropic's Messages: what its blocks become, and the events that an answer is written as."""

import json
import sys
from typing import Any

import pytest
from support.answered import FakeExchange, completion, request

from openledger_node.api.dialects.messages_answer import MessageWriter, met_stop
from openledger_node.api.dialects.messages_request import MessagesBody, request_from_messages, with_wish
from openledger_node.engine.chat_template import ChatStyle
from openledger_node.engine.tokenizer import ByteTokenizer
from openledger_node.models.sampling_defaults import NEUTRAL
from openledger_node.serving.answer_parts import Part, ReasoningPart, TextPart, ToolCallArguments, ToolCallStart
from openledger_protocol.errors import MalformedError, UnavailableError
from openledger_protocol.inference import InferenceRequest, Message, Tool, ToolCall, Tooling

SPELL = ByteTokenizer().spell
WEATHER: dict[str, Any] = {
    "name": "weather",
    "description": "The weather of a place.",
    "input_schema": {"type": "object", "properties": {"place": {"type": "string"}}},
    "cache_control": {"type": "ephemeral"},
}
PARAMETERS = '{"type":"object","properties":{"place":{"type":"string"}}}'
USER: list[Any] = [{"role": "user", "content": "Hello"}]


def body_of(**fields: Any) -> MessagesBody:
    return MessagesBody.model_validate({"model": "fake", "max_tokens": 9, "messages": USER, **fields})


def read(**fields: Any) -> InferenceRequest:
    return request_from_messages(body_of(**fields), seed=7, defaults=NEUTRAL)


def test_a_conversation_with_tools_keeps_its_turns() -> None:
    said = read(
        system=[{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}],
        metadata={"user_id": "x"},
        messages=[
            {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
            {
                "role": "assistant",
                "content": [
                    {"type": "thinking", "thinking": "hm", "signature": ""},
                    {"type": "text", "text": "I look."},
                    {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {"place": "Øst"}},
                    {"type": "tool_use", "id": "toolu_2", "name": "weather", "input": {}},
                ],
            },
            {
                "role": "user",
                "content": [
                    {"type": "tool_result", "tool_use_id": "toolu_1", "content": [{"type": "text", "text": "rain"}]},
                    {"type": "tool_result", "tool_use_id": "toolu_2", "content": "no place", "is_error": True},
                    {"type": "text", "text": "And now?"},
                ],
            },
        ],
    )
    assert said.prompt == (
        Message(role="system", content="Be brief."),
        Message(role="user", content="a\nb"),
        Message(
            role="assistant",
            content="I look.",
            tool_calls=(
                ToolCall(id="toolu_1", name="weather", arguments='{"place":"Øst"}'),
                ToolCall(id="toolu_2", name="weather", arguments="{}"),
            ),
        ),
        Message(role="tool", content="rain", tool_call_id="toolu_1"),
        Message(role="tool", content="Error: no place", tool_call_id="toolu_2"),
        Message(role="user", content="And now?"),
    )


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        (None, {}),
        ({"type": "auto", "disable_parallel_tool_use": True}, {"parallel": False}),
        ({"type": "any"}, {"choice": "required"}),
        ({"type": "tool", "name": "weather"}, {"choice": "required", "name": "weather"}),
        ({"type": "none"}, {"choice": "none"}),
    ],
)
def test_tools_and_their_choice(choice: Any, expected: dict[str, Any]) -> None:
    tool = Tool(name="weather", description="The weather of a place.", parameters=PARAMETERS)
    assert read(tools=[WEATHER], tool_choice=choice).tooling == Tooling(tools=(tool,), **expected)


def test_a_system_message_between_the_turns_becomes_a_part_of_the_users() -> None:
    """Claude Code sends one behind its first message, and behind the results of tools."""
    call = {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {}}
    said = read(
        system="Be brief.",
        messages=[
            {"role": "user", "content": "Hello"},
            {"role": "system", "content": "Agents: none."},
            {"role": "assistant", "content": [call]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_1", "content": "rain"}]},
            {"role": "system", "content": [{"type": "text", "text": "Hurry."}]},
        ],
    )
    turns = [(turn.role, turn.content) for turn in said.prompt]
    assert turns == [
        ("system", "Be brief."),
        ("user", "Hello\n\nAgents: none."),
        ("assistant", ""),
        ("tool", "rain"),
        ("user", "Hurry."),
    ]


def test_sampling_has_anthropics_names_and_null_is_not_given() -> None:
    assert read(top_p=0, stream=None).sampling.top_k == 1
    sampling = read(stop_sequences=["END"], temperature=0.5, top_k=3, top_p=0.9).sampling
    assert (sampling.max_tokens, sampling.seed, sampling.stop) == (9, 7, ("END",))
    assert (sampling.temperature, sampling.top_k, sampling.top_p) == (0.5, 3, 0.9)
    form = {"type": "json_schema", "schema": {"type": "object"}}
    assert read(output_config={"format": form}).sampling.json_schema == '{"type":"object"}'
    assert read(output_format=form).sampling.json_schema == '{"type":"object"}'


@pytest.mark.parametrize("field", ["tool_choice", "thinking"])
def test_a_type_of_another_form_is_refused(field: str) -> None:
    body = body_of(**{"tools": [WEATHER], field: {"type": []}})
    with pytest.raises(MalformedError) as raised:
        with_wish(request_from_messages(body, seed=7, defaults=NEUTRAL), body, ChatStyle())
    assert raised.value.values["param"] == field


SWITCH = ChatStyle(can_reason=True, can_switch=True, default_thinking=True)
ON_REQUEST = ChatStyle(can_reason=True, can_switch=True, default_thinking=False)


@pytest.mark.parametrize(
    ("kind", "style", "expected"),
    [
        ("disabled", SWITCH, False),
        ("enabled", SWITCH, None),  # it reasons anyway
        ("enabled", ON_REQUEST, True),
        ("disabled", ON_REQUEST, None),  # a model of another node would refuse the wish
        ("disabled", ChatStyle(can_reason=True, can_switch=True), False),  # the default is unknown
        ("disabled", ChatStyle(can_reason=True), None),  # it always reasons, and the client sees none of it
    ],
)
def test_thinking_is_a_wish_where_the_base_takes_one(kind: str, style: ChatStyle, expected: bool | None) -> None:
    body = body_of(thinking={"type": kind})
    assert with_wish(request_from_messages(body, seed=7, defaults=NEUTRAL), body, style).thinking is expected


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ({"messages": [{"role": "user", "content": [{"type": "image", "source": {}}]}]}, "'image'"),
        ({"messages": [{"role": "user", "content": [{"type": "document"}]}]}, "'document'"),
        ({"messages": [{"role": "assistant", "content": [{"type": "server_tool_use"}]}, *USER]}, "'server_tool_use'"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "role must be user, assistant or system"),
        ({"messages": [*USER, {"role": "assistant", "content": "{"}]}, "end with a user's message"),
        ({"system": [{"type": "image"}]}, "system: blocks of type 'image'"),
        ({"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, "'web_search_20250305'"),
        ({"tools": [{"name": "weather"}]}, "input_schema"),
        ({"tools": [WEATHER], "tool_choice": {"type": "some"}}, "tool_choice must be"),
        ({"tools": [WEATHER], "tool_choice": {"type": "tool", "name": "other"}}, "'other'"),
        ({"tool_choice": {"type": "any"}}, "tool_choice needs tools"),
        ({"mcp_servers": [{"url": "x"}]}, "'mcp_servers'"),
        ({"output_config": {"format": {"type": "xml"}}}, "json_schema"),
        ({"temperature": 9}, "temperature"),
    ],
    ids=str,
)
def test_what_is_not_served_is_refused_by_name(body: dict[str, Any], named: str) -> None:
    with pytest.raises(MalformedError, match=named):
        read(**body)


# ---- The answer.

CALL: list[Part] = [
    ToolCallStart(index=0, id="call_1", name="weather"),
    ToolCallArguments(index=0, text='{"place":'),
    ToolCallArguments(index=0, text='"Øst"}'),
]


def written(parts: list[Part], exchange: FakeExchange, *, shows_thinking: bool = True) -> tuple[list[Any], Any]:
    """The events and the whole message of an answer."""
    writer = MessageWriter(exchange, tokens_in=11, shows_thinking=shows_thinking, spell=SPELL)  # type: ignore[arg-type]
    stream = writer.begin() + b"".join(writer.write([part], ()) for part in parts) + writer.end()
    return events_of(stream), writer.whole


def events_of(stream: bytes) -> list[Any]:
    events = []
    for lines in stream.decode().strip().split("\n\n"):
        name, data = lines.split("\n")
        events.append(json.loads(data.removeprefix("data: ")))
        assert name == f"event: {events[-1]['type']}"
    return events


def test_an_answer_is_written_as_anthropics_events() -> None:
    parts: list[Part] = [ReasoningPart("hm"), TextPart("I "), TextPart("look."), *CALL]
    events, message = written(parts, FakeExchange("tool_calls"))
    assert [(event["type"], event.get("index")) for event in events] == [
        ("message_start", None),
        ("ping", None),
        *[("content_block_start", 0), ("content_block_delta", 0), ("content_block_stop", 0)],
        *[("content_block_start", 1), *[("content_block_delta", 1)] * 2, ("content_block_stop", 1)],
        *[("content_block_start", 2), *[("content_block_delta", 2)] * 2, ("content_block_stop", 2)],
        ("message_delta", None),
        ("message_stop", None),
    ]
    started = events[0]["message"]
    assert (started["content"], started["stop_reason"], started["usage"]["input_tokens"]) == ([], None, 11)
    blocks = [event["content_block"] for event in events if event["type"] == "content_block_start"]
    assert blocks == [
        {"type": "thinking", "thinking": "", "signature": ""},
        {"type": "text", "text": ""},
        {"type": "tool_use", "id": "call_1", "name": "weather", "input": {}},
    ]
    deltas = [event["delta"] for event in events if event["type"] == "content_block_delta"]
    assert deltas[0] == {"type": "thinking_delta", "thinking": "hm"}
    assert deltas[1] == {"type": "text_delta", "text": "I "}
    assert deltas[3] == {"type": "input_json_delta", "partial_json": '{"place":'}
    assert events[-2]["delta"] == {"stop_reason": "tool_use", "stop_sequence": None}
    assert events[-2]["usage"]["output_tokens"] == 5
    assert message["content"] == [
        {"type": "thinking", "thinking": "hm", "signature": ""},
        {"type": "text", "text": "I look."},
        {"type": "tool_use", "id": "call_1", "name": "weather", "input": {"place": "Øst"}},
    ]
    assert (message["stop_reason"], message["usage"]["output_tokens"]) == ("tool_use", 5)


def test_thinking_comes_only_to_those_who_ask_for_it() -> None:
    _, message = written([ReasoningPart("hm"), TextPart("Yes.")], FakeExchange(), shows_thinking=False)
    assert message["content"] == [{"type": "text", "text": "Yes."}]
    shown = [body_of(thinking={"type": kind}).shows_thinking for kind in ("adaptive", "disabled")]
    assert [body_of().shows_thinking, *shown] == [False, True, False]


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (r'"\ud83d","\udc00":1', {"x": "?", "?": 1}),
        ("1e999", {"x": sys.float_info.max}),
        ("-1e999", {"x": -sys.float_info.max}),
        ("NaN", {}),
        ("", {}),  # it was cut off
    ],
)
def test_a_call_with_what_json_cannot_hold_can_be_written(value: str, found: dict[str, Any]) -> None:
    arguments: list[Part] = [CALL[0], ToolCallArguments(index=0, text=f'{{"x":{value}}}')]
    _, message = written(arguments, FakeExchange("length"))
    assert (message["content"][0]["input"], message["stop_reason"]) == (found, "max_tokens")
    json.dumps(message, ensure_ascii=False, allow_nan=False).encode()


def test_the_stop_sequence_is_named() -> None:
    exchange = FakeExchange(request=request(stop=("ND", "END")), completion=completion("The END"))
    _, message = written([TextPart("The ")], exchange)
    assert (message["stop_reason"], message["stop_sequence"]) == ("stop_sequence", "END")


@pytest.mark.parametrize(
    ("ids", "stops", "expected"),
    [
        (b"a.b", (".", "b"), "."),
        ((*b"a.", ByteTokenizer.end_id), (".",), None),  # the model ended it; a dot in the text would have cut it
        ((), (".",), None),  # bought
    ],
)
def test_the_stop_that_was_met_first(ids: Any, stops: Any, expected: str | None) -> None:
    assert met_stop(tuple(ids), stops, SPELL) == expected


def test_an_answer_that_fails_ends_with_anthropics_error() -> None:
    writer = MessageWriter(FakeExchange(), tokens_in=1, shows_thinking=False, spell=SPELL)  # type: ignore[arg-type]
    writer.begin()
    assert events_of(writer.fail(UnavailableError("gone"))) == [
        {"type": "error", "error": {"type": "overloaded_error", "message": "gone"}}
    ]
