"""Answers of scripted pieces through the whole API: several at once, tool calls, reasoning, whole and as events."""

import json
from typing import Any

import httpx
import pytest
import trio
from node.api.scripted_door import LetIn, ScriptedDoor
from support.apis import open_api

from openledger_node.api.answer_schemas import ChatCompletion, TextCompletion
from openledger_node.api.chat import request_from_chat
from openledger_node.api.exchange import AnswerExchange
from openledger_node.api.schemas import ChatBody
from openledger_node.engine.chat_template import ChatStyle
from openledger_node.models.sampling_defaults import NEUTRAL
from openledger_protocol.errors import OverloadedError

ASKED: Any = {"model": "fake", "messages": [{"role": "user", "content": "Hi"}], "seed": 7}


async def ask(door: ScriptedDoor, path: str = "/v1/chat/completions", **body: Any) -> httpx.Response:
    async with open_api(door=door) as api, api.client() as client:
        return await client.post(path, headers=api.key, json={**ASKED, **body})


def events_of(response: httpx.Response) -> list[dict[str, Any]]:
    lines = [line.removeprefix("data: ") for line in response.text.split("\n\n") if line]
    assert lines.pop() == "[DONE]"
    return [json.loads(line) for line in lines]


async def test_n_answers_are_requests_with_seeds_that_count_up() -> None:
    door = ScriptedDoor()
    answer = (await ask(door, n=3)).json()
    assert [request.sampling.seed for request in door.requests] == [7, 8, 9]
    assert len({request.request_id for request in door.requests}) == 3
    assert [choice["index"] for choice in answer["choices"]] == [0, 1, 2]
    assert {choice["message"]["content"] for choice in answer["choices"]} == {"Hello sea"}
    assert (answer["usage"]["prompt_tokens"], answer["usage"]["completion_tokens"]) == (15, 6)


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/completions"])
async def test_n_answers_are_streamed_with_their_index_under_one_id(path: str) -> None:
    response = await ask(ScriptedDoor(), path, n=2, prompt="Hi", stream=True, stream_options={"include_usage": True})
    *events, last = events_of(response)
    texts: dict[int, str] = {0: "", 1: ""}
    for event in events:
        (choice,) = event["choices"]
        texts[choice["index"]] += choice["delta"].get("content", "") if "delta" in choice else choice["text"]
    assert texts == {0: "Hello sea", 1: "Hello sea"}
    assert [choice["choices"][0]["finish_reason"] for choice in events].count("stop") == 2
    assert len({event["id"] for event in (*events, last)}) == 1
    assert last["usage"]["total_tokens"] == 14


@pytest.mark.parametrize(("places_max", "status"), [(3, 429), (2, 400)])
async def test_n_answers_are_admitted_together(places_max: int, status: int, monkeypatch: pytest.MonkeyPatch) -> None:
    door = ScriptedDoor()
    monkeypatch.setattr(door, "places_max", lambda _: places_max)
    door.refuse_after(2, OverloadedError("full"))
    refused = await ask(door, n=3, stream=status == 429)
    assert (refused.status_code, len(door.requests), door.num_released) == (status, 2, 2)
    is_told = "3 answers, and at most 2 can run or wait at once: split it" in refused.json()["error"]["message"]
    assert is_told == (status == 400)


@pytest.mark.parametrize("stream", [False, True])
async def test_a_mistake_of_ours_has_openais_form_and_a_traceback(
    stream: bool, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = "secret words of the request"

    def fail(*values: Any) -> None:
        raise KeyError(words)

    monkeypatch.setattr(AnswerExchange, "read", fail)
    response = await ask(ScriptedDoor(), stream=stream)
    assert response.status_code == (200 if stream else 500)
    error = json.loads(response.text.strip().split("data: ")[-1])["error"]
    assert (error["type"], error["code"]) == ("server_error", "engine_failed" if stream else "internal_error")
    (record,) = [record for record in caplog.records if record.levelname == "ERROR"]
    assert "KeyError" in record.getMessage()
    assert "in fail" in record.getMessage()
    assert "secret" not in caplog.text


async def test_a_beginning_is_refused_where_the_prompt_opens_the_reasoning() -> None:
    body: Any = {"messages": [*ASKED["messages"], {"role": "assistant", "content": "So"}]}
    opens = ChatStyle(can_reason=True, starts_reasoning=True, can_switch=True, starts_if_wished=True)
    response = await ask(ScriptedDoor(style=opens), continue_final_message=True, **body)
    assert (response.status_code, response.json()["error"]["param"]) == (400, "continue_final_message")
    off = await ask(ScriptedDoor(style=opens), continue_final_message=True, reasoning_effort="none", **body)
    assert off.status_code == 200


@pytest.mark.parametrize("is_collected", [False, True])
async def test_probabilities_are_kept_for_whole_answers_alone(is_collected: bool) -> None:
    send, answers = trio.open_memory_channel[Any](3)
    door = ScriptedDoor()
    request = request_from_chat(ChatBody.model_validate({**ASKED, "logprobs": True}), seed=1, defaults=NEUTRAL)
    exchange = AnswerExchange(request, answers, None, lambda: None)
    await door.handle(LetIn(request), send)
    if is_collected:
        assert len((await exchange.collect()).logprobs) == 2
    else:
        assert [part async for part in exchange.parts()]
        assert not exchange._logprobs


@pytest.mark.parametrize(
    ("path", "schema"), [("/v1/chat/completions", ChatCompletion), ("/v1/completions", TextCompletion)]
)
async def test_an_answer_is_as_the_document_describes_it(path: str, schema: Any) -> None:
    answer = (await ask(ScriptedDoor(), path, n=2, prompt="Hi")).json()
    assert schema.model_validate(answer).model_dump(exclude_unset=True) == answer


# ---- Tool calls and reasoning: a base that writes both in the form of Hermes.

REASONS = ChatStyle(can_reason=True)
TOOLS: Any = [
    {"type": "function", "function": {"name": name, "parameters": {"type": "object", "properties": {"x": {}}}}}
    for name in ("look", "go")
]
CALLS = (
    "<think>", "Look", " first.", "</think>", "\n\n", "I", " look.", "\n<tool_", "call>\n", '{"name": "lo', 'ok", ',
    '"arguments": {"x"', ": 1}", "}\n</tool_call>", '\n<tool_call>\n{"name": "go", "arguments": {}}\n</tool_call>',
)  # fmt: skip


async def test_tool_calls_and_reasoning_are_fields_of_the_message() -> None:
    answer = (await ask(ScriptedDoor(CALLS, style=REASONS), tools=TOOLS)).json()
    assert ChatCompletion.model_validate(answer).model_dump(exclude_unset=True) == answer
    (choice,) = answer["choices"]
    message = choice["message"]
    assert choice["finish_reason"] == "tool_calls"
    assert (message["content"], message["reasoning_content"]) == ("I look.", "Look first.")
    functions = [call["function"] for call in message["tool_calls"]]
    assert functions == [{"name": "look", "arguments": '{"x": 1}'}, {"name": "go", "arguments": "{}"}]
    assert len({call["id"] for call in message["tool_calls"]}) == 2
    assert answer["usage"]["completion_tokens_details"]["reasoning_tokens"] == 6  # with its tags


@pytest.mark.parametrize(
    ("pieces", "expected"),
    [
        (("<think>", "a", "</thi", "nk>", "b", "c"), 5),  # a tag in pieces, and the piece with which the text begins
        (("<think>", "a", " </thi"), 3),  # the end of what was cut off was held back
        (("<think>", " "), 0),
        (("a", "b"), 0),
    ],
)
async def test_the_reasoning_is_counted_with_its_tags(pieces: tuple[str, ...], expected: int) -> None:
    usage = (await ask(ScriptedDoor(pieces, style=REASONS))).json()["usage"]
    assert usage["completion_tokens_details"]["reasoning_tokens"] == expected


async def test_a_streamed_call_has_its_name_first_and_then_its_arguments() -> None:
    events = events_of(await ask(ScriptedDoor(CALLS, style=REASONS), tools=TOOLS, stream=True))
    deltas = [event["choices"][0]["delta"] for event in events]
    assert deltas[0] == {"role": "assistant", "content": ""}
    assert "".join(delta.get("reasoning_content", "") for delta in deltas) == "Look first."
    assert "".join(delta.get("content", "") for delta in deltas) == "I look."
    calls = [call for delta in deltas for call in delta.get("tool_calls", [])]
    for index, (name, arguments) in enumerate([("look", '{"x": 1}'), ("go", "{}")]):
        first, *others = [call for call in calls if call["index"] == index]
        assert first["type"] == "function"
        assert first["id"].startswith("call_")
        assert first["function"] == {"name": name, "arguments": ""}
        assert all(set(call) == {"index", "function"} and set(call["function"]) == {"arguments"} for call in others)
        assert "".join(call["function"]["arguments"] for call in others) == arguments
    assert events[-1]["choices"][0]["finish_reason"] == "tool_calls"


async def test_an_answer_of_calls_alone_has_no_content_and_one_that_is_cut_off_ends_by_its_length() -> None:
    (choice,) = (await ask(ScriptedDoor(CALLS[-1:]), tools=TOOLS)).json()["choices"]
    assert choice["message"]["content"] is None
    assert [call["function"]["name"] for call in choice["message"]["tool_calls"]] == ["go"]
    door = ScriptedDoor(CALLS[:12], style=REASONS, finish_reason="length")
    assert (await ask(door, tools=TOOLS)).json()["choices"][0]["finish_reason"] == "length"


@pytest.mark.parametrize("more", [{}, {"tools": TOOLS, "tool_choice": "none"}], ids=["no tools", "none"])
async def test_without_tools_a_call_is_text(more: Any) -> None:
    (choice,) = (await ask(ScriptedDoor(CALLS[-1:]), **more)).json()["choices"]
    assert choice["finish_reason"] == "stop"
    assert choice["message"]["content"] == CALLS[-1]


async def test_a_raw_text_is_continued_as_it_is() -> None:
    (choice,) = (await ask(ScriptedDoor(CALLS, style=REASONS), "/v1/completions", prompt="Hi")).json()["choices"]
    assert choice["text"] == "".join(CALLS)


async def test_probabilities_come_with_their_piece_whatever_its_kind_and_while_text_is_held_back() -> None:
    plain = events_of(await ask(ScriptedDoor(), stream=True, logprobs=True))
    said = [(event["choices"][0]["delta"].get("content"), event["choices"][0]["logprobs"]) for event in plain]
    pieces = [(text, entry["token"]) for text, listed in said if listed for entry in listed["content"]]
    assert pieces == [("Hello", "Hello"), (" sea", " sea")]
    held = events_of(await ask(ScriptedDoor(CALLS, style=REASONS), tools=TOOLS, stream=True, logprobs=True))
    listed = [event["choices"][0]["logprobs"] for event in held]
    assert [entry["token"] for piece in listed if piece for entry in piece["content"]] == [*CALLS]
