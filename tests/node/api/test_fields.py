"""Fields of a request: what each becomes, and which are refused by name. No engine runs here."""

import json
import re
from typing import Any

import pytest
from node.api.scripted_door import ScriptedDoor
from pydantic import BaseModel, ValidationError
from support.apis import open_api

from openledger_node.api import request_fields
from openledger_node.api.chat import request_from_chat
from openledger_node.api.completions import prompts_of
from openledger_node.api.dialects.messages_request import MessagesBody
from openledger_node.api.dialects.responses_request import ResponsesBody
from openledger_node.api.request_fields import DEFAULT_MAX_TOKENS, HARMLESS, UNSUPPORTED
from openledger_node.api.schemas import ChatBody, CompletionBody
from openledger_node.models.sampling_defaults import NEUTRAL
from openledger_protocol.errors import MalformedError
from openledger_protocol.inference import InferenceRequest

MESSAGES: Any = [{"role": "user", "content": "Hi"}]
SHIP = {"type": "object", "properties": {"name": {"type": "string"}, "age": {"type": "integer"}}}
SHIP_TEXT = json.dumps(SHIP, separators=(",", ":"))
TOOL: Any = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}


def request_of(**body: Any) -> InferenceRequest:
    return request_from_chat(
        ChatBody.model_validate({"model": "fake", "messages": MESSAGES, **body}), seed=1, defaults=NEUTRAL
    )


@pytest.mark.parametrize(
    ("fields", "name", "value"),
    [
        ({}, "max_tokens", DEFAULT_MAX_TOKENS),
        ({"max_tokens": 0}, "max_tokens", DEFAULT_MAX_TOKENS),
        ({"max_tokens": 7, "max_completion_tokens": -1}, "max_tokens", 7),
        ({"max_tokens": 7, "max_completion_tokens": 5}, "max_tokens", 5),
        ({"stop": ""}, "stop", ()),
        ({"stop": ["", "a"]}, "stop", ("a",)),
        ({"temperature": None, "top_p": None}, "temperature", 1.0),
        ({"top_k": -1}, "top_k", 0),
        ({"top_p": 0}, "top_k", 1),
        ({"seed": -1}, "seed", (1 << 64) - 1),
        ({"repeat_penalty": 1.1}, "repetition_penalty", 1.1),
        ({"repeat_penalty": 1.1, "repetition_penalty": 1.2}, "repetition_penalty", 1.2),
        ({"logprobs": True, "top_logprobs": 3}, "logprobs", 3),
        ({"response_format": {"type": "json_object"}}, "json_schema", '{"type":"object"}'),
        ({"response_format": {"type": "json_object", "schema": SHIP}}, "json_schema", SHIP_TEXT),
        ({"response_format": {"type": "json_schema", "schema": SHIP}}, "json_schema", SHIP_TEXT),
        ({"response_format": {"type": "json_schema", "json_schema": {"schema": SHIP}}}, "json_schema", SHIP_TEXT),
        ({"guided_json": SHIP}, "json_schema", SHIP_TEXT),
        ({"json_schema": SHIP}, "json_schema", SHIP_TEXT),
        ({"structured_outputs": {"json": SHIP}}, "json_schema", SHIP_TEXT),
        ({"structured_outputs": {"json": json.dumps(SHIP), "regex": None}}, "json_schema", SHIP_TEXT),
        ({"structured_outputs": {"json_object": True}}, "json_schema", '{"type":"object"}'),
    ],
    ids=str,
)
def test_a_field_becomes_a_parameter(fields: Any, name: str, value: object) -> None:
    assert getattr(request_of(**fields).sampling, name) == value


REFUSED: list[tuple[dict[str, Any], str, str]] = [
    ({"messages": []}, "messages", "must not be empty"),
    ({"model": 5}, "model", "must be a string"),
    ({"temperature": "hot"}, "temperature", "must be a number"),
    ({"temperature": 3}, "temperature", "from 0 to 2"),
    ({"max_tokens": -5}, "max_tokens", "at least -1"),
    ({"n": 0}, "n", "at least 1"),
    ({"n": 17}, "n", "at most 16"),
    ({"logprobs": True, "top_logprobs": 21}, "logprobs", "logprobs"),
    ({"top_logprobs": 2}, "top_logprobs", "top_logprobs"),
    ({"frequency_penalty": 2.1}, "frequency_penalty", "frequency_penalty"),
    ({"repetition_penalty": 0}, "repetition_penalty", "repetition_penalty"),
    ({"response_format": {"type": "xml"}}, "response_format", "response_format"),
    ({"stop": 5}, "stop", "a string or a list"),
    ({"stop": ["a", 5]}, "stop[1]", "must be a string"),
    ({"temprature": 1}, "temprature", "did you mean 'temperature'?"),
    ({"functions": [{"name": "look"}]}, "functions", "send tools"),
    ({"guided_regex": "a+"}, "guided_regex", "response_format"),
    ({"structured_outputs": {"regex": "a+"}}, "structured_outputs", "'regex'"),
    ({"guided_json": "{"}, "guided_json", "JSON schema"),
    ({"guided_json": SHIP, "response_format": {"type": "json_object"}}, "response_format", "one of them"),
    ({"response_format": {"type": "json_object", "schema": "x"}}, "response_format", "json_schema"),
    ({"tools": [{"type": "web_search"}]}, "tools", "'web_search'"),
    ({"tools": [{"type": "function"}]}, "tools", "needs one"),
    ({"tools": [{"type": "function", "function": {}}]}, "tools[0].function.name", "is required"),
    ({"tools": [TOOL, TOOL]}, "tools", "two tools of one name"),
    ({"tools": [TOOL], "tool_choice": "perhaps"}, "tool_choice", "allowed_tools"),
    ({"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "go"}}}, "tool_choice", "'go'"),
    ({"tool_choice": "required"}, "tool_choice", "needs tools"),
    ({"reasoning_effort": "much"}, "reasoning_effort", "one of none"),
    ({"reasoning_effort": "none", "think": True}, "reasoning_effort", "contradict"),
    ({"thinking": {"type": "perhaps"}}, "thinking", "disabled"),
    ({"chat_template_kwargs": {"tools_in_user_message": False}}, "chat_template_kwargs", "enable_thinking"),
    ({"messages": [{"role": "tool", "content": "x"}]}, "messages", "tool_call_id"),
    ({"messages": [{"role": "function", "content": "x", "name": "f"}]}, "messages", "role 'tool'"),
    ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "messages", "'image_url'"),
    ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "messages", "without a 'text'"),
    ({"messages": [{"role": "user", "content": [{"type": "text", "text": 5}]}]},
     "messages[0].content[0].text", "must be a string"),
    ({"messages": [{"role": "assistant", "function_call": {"name": "f"}}]}, "messages", "tool_calls"),
    ({"messages": [*MESSAGES, {"role": "assistant", "content": "So", "partial": True}]}, "messages", "'partial'"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("fields", "read"),
    [
        ({}, None),
        ({"reasoning_effort": "high"}, None),
        ({"reasoning_effort": "none"}, False),
        ({"reasoning": {"effort": "minimal"}}, False),
        ({"reasoning": {"enabled": True}}, True),
        ({"thinking": {"type": "disabled"}}, False),
        ({"thinking": {"type": "enabled", "budget_tokens": 1_024}}, True),
        ({"think": False, "reasoning_effort": "low"}, False),
        ({"enable_thinking": True}, True),
        ({"chat_template_kwargs": {"enable_thinking": False}}, False),
        ({"chat_template_kwargs": {"enable_thinking": False, "thinking": False}, "think": False}, False),
    ],
    ids=str,
)
def test_a_wish_for_or_against_reasoning_has_many_forms(fields: Any, read: bool | None) -> None:
    assert request_of(**fields).thinking is read


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [("a", ["a"]), (["a", "b"], ["a", "b"]), ([1, 2], [(1, 2)]), ([[1], [2, 3]], [(1,), (2, 3)]), ([], [])],
    ids=str,
)
def test_a_prompt_is_a_text_or_ids_or_several(prompt: Any, expected: Any) -> None:
    assert prompts_of(CompletionBody(model="m", prompt=prompt).prompt) == expected


@pytest.mark.parametrize(
    ("prompt", "name"),
    [
        ([1, 2, -1], "prompt[2]"),
        ([1, 1 << 31], "prompt[1]"),
        ([None], "prompt[0]"),
        (["a", 1], "prompt[1]"),
        ([[1], [2, "a"]], "prompt[1][1]"),
        ([[1], []], "prompt"),
    ],
    ids=str,
)
def test_the_first_wrong_item_of_a_prompt_is_named(prompt: Any, name: str) -> None:
    with pytest.raises(MalformedError) as raised:
        prompts_of(prompt)
    assert raised.value.values["param"] == name


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        (ChatBody, {"messages": MESSAGES, "tools": [5] * 1_000}),
        (ChatBody, {"messages": [{"role": "user", "content": [5] * 1_000}]}),
        (CompletionBody, {"prompt": "a", "stop": [5] * 1_000}),
        (MessagesBody, {"max_tokens": 1, "messages": MESSAGES, "system": [5] * 1_000}),
        (ResponsesBody, {"input": [5] * 1_000}),
    ],
)
def test_a_long_list_is_read_up_to_its_first_wrong_item(kind: type[BaseModel], body: Any) -> None:
    with pytest.raises(ValidationError) as raised:
        kind.model_validate({"model": "m", **body})
    assert raised.value.error_count() <= 2


def test_all_unknown_names_are_refused_and_few_are_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[str] = []

    def note(name: str, *_: object) -> list[str]:
        compared.append(name)
        return []

    monkeypatch.setattr(request_fields, "get_close_matches", note)
    unknown = {f"field_{number}": 1 for number in range(1_000)}
    request_of(**unknown)
    assert len(compared) == request_fields.COMPARED_MAX
    with pytest.raises(MalformedError, match="'best_of'"):
        request_of(**unknown, best_of=2)


def test_null_is_not_given() -> None:
    null = {"continue_final_message": None, "stream": None, "stream_options": {"include_usage": None}}
    body = ChatBody.model_validate({"model": "m", "messages": MESSAGES, **null})
    assert not body.has_usage
    assert request_from_chat(body, seed=1, defaults=NEUTRAL).prefix == ""


async def test_what_is_not_served_is_refused_by_name() -> None:
    door = ScriptedDoor()
    async with open_api(door=door) as api, api.client() as client:
        for body, param, said in REFUSED:
            content = {"model": "fake", "messages": MESSAGES, **body}
            answer = await client.post("/v1/chat/completions", headers=api.key, json=content)
            assert answer.status_code == 400, body
            assert answer.json()["error"]["param"] == param, body
            assert said in answer.json()["error"]["message"], body
    assert door.requests == []


@pytest.mark.parametrize("name", UNSUPPORTED)
def test_a_field_without_an_effect_is_taken_and_refused_otherwise(name: str) -> None:
    for value in UNSUPPORTED[name].neutral:
        request_of(**{name: value})
    with pytest.raises(MalformedError, match=re.escape(UNSUPPORTED[name].advice or name)) as raised:
        request_of(**{name: {"odd": 1}})
    assert raised.value.values["param"] == name


def test_what_is_harmless_or_of_tomorrow_is_ignored() -> None:
    extra = {name: {"odd": 1} for name in HARMLESS} | {"a_field_of_tomorrow": 1}
    assert request_of(**extra).sampling == request_of().sampling
    assert not {*HARMLESS} & {*UNSUPPORTED, *ChatBody.model_fields, *CompletionBody.model_fields}


@pytest.mark.parametrize(
    ("content", "read"),
    [
        ("text", "text"),
        (None, ""),
        ([], ""),
        ([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}], "a\nb"),
        ([{"type": "refusal", "refusal": "no"}], "no"),
    ],
    ids=str,
)
def test_content_is_a_text_or_parts(content: Any, read: str) -> None:
    request = request_of(messages=[{"role": "assistant", "content": content}, *MESSAGES])
    assert not isinstance(request.prompt, str)
    assert request.prompt[0].content == read


@pytest.mark.parametrize(
    ("choice", "read"),
    [
        (None, ("auto", "")),
        ("auto", ("auto", "")),
        ("none", ("none", "")),
        ("required", ("required", "")),
        ({"type": "function", "function": {"name": "look"}}, ("required", "look")),
    ],
    ids=str,
)
def test_tools_and_the_choice_among_them(choice: Any, read: tuple[str, str]) -> None:
    go = {"type": "function", "function": {"name": "go", "description": "Go there.", "strict": True}}
    tooling = request_of(tools=[TOOL, go], tool_choice=choice, parallel_tool_calls=False).tooling
    assert tooling is not None
    assert (tooling.choice, tooling.name) == read
    assert [tool.name for tool in tooling.tools] == ["look", "go"]
    assert [tool.parameters for tool in tooling.tools] == ['{"type":"object"}', '{"type":"object","properties":{}}']
    assert tooling.tools[1].description == "Go there."
    assert not tooling.parallel


def test_allowed_tools_leave_the_others_out() -> None:
    go = {"type": "function", "function": {"name": "go"}}
    allowed = {"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": [go]}}
    tooling = request_of(tools=[TOOL, go], tool_choice=allowed).tooling
    assert tooling is not None
    assert ([tool.name for tool in tooling.tools], tooling.choice) == (["go"], "required")


@pytest.mark.parametrize("fields", [{"tools": []}, {"tools": None, "tool_choice": "auto"}, {"tool_choice": "none"}])
def test_without_tools_there_is_no_tooling(fields: Any) -> None:
    assert request_of(**fields, parallel_tool_calls=True).tooling is None


def test_calls_and_their_results_are_turns() -> None:
    call = {"id": "call_1", "type": "function", "function": {"name": "look", "arguments": '{"x":1}'}}
    turns = [
        *MESSAGES,
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_1", "content": [{"type": "text", "text": "seen"}]},
    ]
    request = request_of(messages=turns, tools=[TOOL])
    assert not isinstance(request.prompt, str)
    _, asked, told = request.prompt
    assert [(each.id, each.name, each.arguments) for each in asked.tool_calls] == [("call_1", "look", '{"x":1}')]
    assert (asked.content, told.role, told.tool_call_id, told.content) == ("", "tool", "call_1", "seen")
