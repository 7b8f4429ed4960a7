"""OpenAI's Responses: what its items become, and events that OpenAI's own client and its types accept."""

import re
from typing import Any

import pytest
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter
from support.answered import FakeExchange

from openledger_node.api.dialects.responses_answer import ResponseWriter
from openledger_node.api.dialects.responses_request import ResponsesBody, is_deeper, request_from_responses
from openledger_node.models.sampling_defaults import NEUTRAL
from openledger_node.serving.answer_parts import Part, ReasoningPart, TextPart, ToolCallArguments, ToolCallStart
from openledger_protocol.constants import TOOL_NAME_LENGTH_MAX
from openledger_protocol.errors import MalformedError, OverloadedError, ProtocolError, UnavailableError
from openledger_protocol.inference import InferenceRequest, Message, Tool, ToolCall, Tooling

WEATHER: dict[str, Any] = {
    "type": "function",
    "name": "weather",
    "description": "The weather of a place.",
    "parameters": {"type": "object", "properties": {"place": {"type": "string"}}},
    "strict": True,
}
PARAMETERS = '{"type":"object","properties":{"place":{"type":"string"}}}'
EVENT: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)


def body(**fields: Any) -> ResponsesBody:
    return ResponsesBody.model_validate({"model": "fake", "input": "Hello", **fields})


def read(**fields: Any) -> InferenceRequest:
    return request_from_responses(body(**fields), seed=7, defaults=NEUTRAL)


def test_items_become_turns() -> None:
    said = read(
        instructions="Be brief.",
        input=[
            {"role": "developer", "content": "In French."},
            {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "a"}]},
            {"type": "reasoning", "id": "rs_1", "summary": []},
            {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "I look."}]},
            {"type": "function_call", "call_id": "c1", "name": "weather", "arguments": '{"place":"Øst"}'},
            {"type": "function_call", "call_id": "c2", "name": "weather", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "c1", "output": "rain"},
            {"type": "function_call_output", "call_id": "c2", "output": [{"type": "input_text", "text": "sun"}]},
            {"role": "user", "content": "And now?"},
        ],
    )
    assert said.prompt == (
        Message(role="system", content="Be brief.\n\nIn French."),
        Message(role="user", content="a"),
        Message(
            role="assistant",
            content="I look.",
            tool_calls=(
                ToolCall(id="c1", name="weather", arguments='{"place":"Øst"}'),
                ToolCall(id="c2", name="weather", arguments="{}"),
            ),
        ),
        Message(role="tool", content="rain", tool_call_id="c1"),
        Message(role="tool", content="sun", tool_call_id="c2"),
        Message(role="user", content="And now?"),
    )


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        (None, {}),
        ("none", {"choice": "none"}),
        ("required", {"choice": "required"}),
        ({"type": "function", "name": "weather"}, {"choice": "required", "name": "weather"}),
    ],
)
def test_functions_and_their_choice(choice: Any, expected: dict[str, Any]) -> None:
    tool = Tool(name="weather", description="The weather of a place.", parameters=PARAMETERS)
    assert read(tools=[WEATHER], tool_choice=choice).tooling == Tooling(tools=(tool,), **expected)
    assert read(tools=[WEATHER], parallel_tool_calls=False).tooling == Tooling(tools=(tool,), parallel=False)


def test_the_form_of_the_answer_is_a_schema() -> None:
    form = {"type": "json_schema", "name": "n", "schema": {"type": "object"}, "strict": True}
    assert read(text={"format": form}).sampling.json_schema == '{"type":"object"}'
    assert read(text={"format": {"type": "text"}, "verbosity": "low"}).sampling.json_schema is None
    assert (read(reasoning={"effort": "none"}).thinking, read(reasoning={"effort": "high"}).thinking) == (False, None)
    assert read(include=["reasoning.encrypted_content"], top_logprobs=0, stop=None, top_k=-1).prompt
    assert (read(ignore_eos=True).ignores_end, read(ignore_eos=None).ignores_end) == (True, False)
    assert read(max_output_tokens=5).sampling.max_tokens == 5
    assert read(top_p=0, stream=None).sampling.top_k == 1


def door(*functions: str, namespace: str = "door", **fields: Any) -> dict[str, Any]:
    """A namespace of functions without descriptions and arguments."""
    tools = [{"type": "function", "name": name} for name in functions]
    return {"type": "namespace", "name": namespace, "description": "Of a door.", "tools": tools, **fields}


def offered(*tools: dict[str, Any], **fields: Any) -> list[tuple[str, str]]:
    """Name and description of each function that the model sees."""
    tooling = read(tools=list(tools), **fields).tooling
    assert tooling is not None
    return [(tool.name, tool.description) for tool in tooling.tools]


def test_functions_of_a_namespace_have_its_name_before_theirs() -> None:
    described = door("open", "shut")
    described["tools"][0]["description"] = "Open it."
    assert offered(described, WEATHER) == [
        ("door__open", "Of a door.\n\nOpen it."),
        ("door__shut", ""),
        ("weather", "The weather of a place."),
    ]


def test_names_that_would_collide_or_be_too_long_end_with_a_digest() -> None:
    taken = {"type": "function", "name": "door__open"}
    long = "x" * 100
    split = door("b__c", namespace="a"), door("c", namespace="a__b")
    names = [name for name, _ in offered(door("open"), taken, *split, door(long, namespace=long))]
    assert names[1:3] == ["door__open", "a__b__c"]
    assert re.fullmatch(r"door__open_[0-9a-f]{8}", names[0])
    assert re.fullmatch(r"a__b__c_[0-9a-f]{8}", names[3])
    assert len(names[4]) == TOOL_NAME_LENGTH_MAX
    assert len({*names}) == len(names)


def test_a_call_of_a_namespace_has_the_models_name_in_a_later_turn() -> None:
    call = {"type": "function_call", "call_id": "c1", "name": "open", "namespace": "door", "arguments": "{}"}
    conversation = [
        {"role": "user", "content": "Open."},
        call,
        {"type": "function_call_output", "call_id": "c1", "output": "done", "namespace": "door"},
    ]
    for tools in ([door("open")], []):  # also if the namespace is not offered any more
        turns: Any = read(input=conversation, tools=tools).prompt
        assert turns[1].tool_calls[0].name == "door__open"


def test_a_function_of_a_namespace_can_be_chosen_by_its_own_name() -> None:
    choice = outside = {"type": "function", "name": "open"}

    def chosen(*tools: dict[str, Any]) -> str:
        tooling = read(tools=list(tools), tool_choice=choice).tooling
        assert tooling is not None
        return tooling.name

    assert chosen(door("open", "shut")) == "door__open"
    assert chosen(door("open"), outside) == "open"
    with pytest.raises(MalformedError, match="2 namespaces have a function of that name"):
        chosen(door("open"), door("open", namespace="gate"))


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"previous_response_id": "resp_1"}, "'previous_response_id'.*send the whole conversation"),
        ({"conversation": "conv_1"}, "'conversation'"),
        ({"background": True}, "'background'"),
        ({"prompt": {"id": "pmpt_1"}}, "'prompt'"),
        ({"include": ["message.output_text.logprobs"]}, "chat/completions has it"),
        ({"top_logprobs": 3}, "'top_logprobs'"),
        ({"stop": ["x"]}, "'stop'.*chat/completions has it"),
        ({"top_k": 5}, "'top_k'"),
        ({"response_format": {"type": "json_object"}}, "text.format"),
        ({"input": [{"type": "item_reference", "id": "msg_1"}]}, "item_reference"),
        ({"input": [{"type": "web_search_call", "id": "ws_1"}]}, "'web_search_call'"),
        ({"input": [{"role": "user", "content": [{"type": "input_image", "image_url": "x"}]}]}, "'input_image'"),
        ({"input": [{"role": "tool", "content": "x"}]}, "of this message"),
        ({"input": [{"type": "reasoning", "id": "rs_1", "summary": []}]}, "input has no message"),
        ({"tools": [{"type": "web_search"}]}, "'web_search'.*offer functions"),
        ({"tools": [door("open"), {"type": "tool_search"}]}, "'tool_search'.*offer functions"),
        ({"tools": [door(tools=[{"type": "custom", "name": "patch"}])]}, "'custom'.*offer functions"),
        ({"tools": [door(tools="open")]}, "a namespace needs a name and a list of tools"),
        ({"tools": [door(namespace="")]}, "a namespace needs a name and a list of tools"),
        ({"tools": [door("open", "open")]}, "'door' has two tools named 'open'"),
        ({"tools": [door("open", namespace="a door")]}, "name must be 1 to .* 'a door__open'"),
        ({"tools": [WEATHER], "tool_choice": {"type": "file_search"}}, "tool_choice must be"),
        ({"tool_choice": "required"}, "tool_choice needs tools"),
        ({"text": {"format": {"type": "grammar"}}}, "text.format"),
        ({"temperature": 9}, "temperature"),
        ({"reasoning": {"effort": "some"}}, "reasoning must be one of"),
    ],
    ids=str,
)
def test_what_is_not_served_is_refused_by_name(fields: dict[str, Any], named: str) -> None:
    with pytest.raises(MalformedError, match=named):
        read(**fields)


@pytest.mark.parametrize(
    ("name", "field"),
    [
        ("metadata", {"k": "\ud800"}),
        ("text", {"verbosity": float("nan")}),
        ("tool_choice", {"type": "function", "name": "weather", "k": float("inf")}),
        ("tools", [{**WEATHER, "k": "\ud800"}]),
    ],
    ids=ascii,
)
def test_what_the_answer_could_not_repeat_is_refused(name: str, field: Any) -> None:
    with pytest.raises(MalformedError, match=f"{name} has a number") as raised:
        read(**{"tools": [WEATHER], name: field})
    assert raised.value.values["param"] == name


@pytest.mark.parametrize(("levels", "expected"), [(3, False), (2, True), (0, True)])
def test_depth_counts_lists_and_objects(levels: int, expected: bool) -> None:
    assert is_deeper({"a": [1, {"b": 2}]}, levels) is expected
    assert not is_deeper("text", levels)


# ---- The answer.

CALLS: list[Part] = [
    ToolCallStart(index=0, id="call_1", name="weather"),
    ToolCallArguments(index=0, text='{"place":'),
    ToolCallArguments(index=0, text='"Øst"}'),
    ToolCallStart(index=1, id="call_2", name="weather"),
    ToolCallArguments(index=1, text="{}"),
]
TEXT: list[Part] = [TextPart("I "), TextPart("look.")]


def written(parts: list[Part], exchange: FakeExchange, **fields: Any) -> tuple[list[Any], dict[str, Any]]:
    """The events, each of which OpenAI's own types accept, and the whole response."""
    writer = ResponseWriter(exchange, body(**fields), created_s=1)  # type: ignore[arg-type]
    stream = writer.begin() + b"".join(writer.write([part], ()) for part in parts) + writer.end()
    return events_of(stream), writer.whole


def events_of(stream: bytes) -> list[Any]:
    events = []
    for number, lines in enumerate(stream.decode().strip().split("\n\n")):
        name, data = lines.split("\n")
        event = EVENT.validate_json(data.removeprefix("data: "), strict=True)
        assert name == f"event: {event.type}"
        assert event.sequence_number == number
        events.append(event)
    return events


def test_events_come_in_openais_order_and_add_up_to_the_response() -> None:
    parts = [ReasoningPart("hm"), *TEXT, *CALLS]
    events, whole = written(parts, FakeExchange("tool_calls"), tools=[WEATHER], store=True)
    call = ["function_call_arguments.delta", "function_call_arguments.done", "output_item.done"]
    assert [event.type.removeprefix("response.") for event in events] == [
        *["created", "in_progress"],
        *["output_item.added", "content_part.added", "reasoning_text.delta"],
        *["reasoning_text.done", "content_part.done", "output_item.done"],
        *["output_item.added", "content_part.added", "output_text.delta", "output_text.delta"],
        *["output_text.done", "content_part.done", "output_item.done"],
        *["output_item.added", "function_call_arguments.delta", *call, "output_item.added", *call],
        "completed",
    ]
    response = Response.model_validate(whole, strict=True)
    assert events[-1].response.to_dict() == response.to_dict()
    assert (response.output_text, whole["store"]) == ("I look.", False)
    assert [item.type for item in response.output] == ["reasoning", "message", *["function_call"] * 2]
    assert [item.arguments for item in response.output if item.type == "function_call"] == ['{"place":"Øst"}', "{}"]
    assert len({item.id for item in response.output}) == 4
    assert response.usage is not None
    assert (response.usage.input_tokens, response.usage.output_tokens, response.usage.total_tokens) == (11, 5, 16)
    assert response.usage.output_tokens_details.reasoning_tokens == 2
    done = [event.item for event in events if event.type == "response.output_item.done"]
    assert [item.to_dict() for item in done] == [item.to_dict() for item in response.output]
    for exchange, last in ((FakeExchange(), "completed"), (FakeExchange("length"), "incomplete")):
        assert written([], exchange)[0][-1].type == f"response.{last}"


def test_a_call_of_a_namespace_comes_back_with_both_names() -> None:
    calls: list[Part] = [
        ToolCallStart(index=0, id="call_1", name="door__open"),
        ToolCallArguments(index=0, text="{}"),
        ToolCallStart(index=1, id="call_2", name="weather"),
        ToolCallArguments(index=1, text="{}"),
    ]
    events, whole = written(calls, FakeExchange("tool_calls"), tools=[door("open"), WEATHER])
    items: list[Any] = list(Response.model_validate(whole, strict=True).output)
    added: list[Any] = [event.item for event in events if event.type == "response.output_item.added"]
    for seen in (items, added):
        assert [(item.name, item.namespace) for item in seen] == [("open", "door"), ("weather", None)]
    done = [event for event in events if event.type == "response.function_call_arguments.done"]
    assert [event.name for event in done] == ["open", "weather"]


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (UnavailableError("the seller went offline"), "server_error"),
        (OverloadedError("full"), "rate_limit_exceeded"),
        (MalformedError("odd \ud800"), "invalid_prompt"),
    ],
    ids=["unavailable", "overloaded", "malformed"],
)
def test_a_failed_answer_ends_with_openais_code_and_valid_text(error: ProtocolError, code: str) -> None:
    writer = ResponseWriter(FakeExchange(), body(), created_s=1)  # type: ignore[arg-type]
    stream = writer.begin() + writer.write(TEXT, ()) + writer.fail(error)
    last = events_of(stream)[-1]
    assert (last.type, last.response.status, last.response.error.code) == ("response.failed", "failed", code)
    assert last.response.output[0].status == "incomplete"
