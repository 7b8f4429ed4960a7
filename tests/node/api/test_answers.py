"""Answers of scripted pieces through the whole API: several at once, whole and as events."""

import json
from typing import Any

import httpx
import pytest
from support.apis import open_api
from support.scripted_door import ScriptedDoor

from openledger_node.api.answer_schemas import ChatCompletion, TextCompletion
from openledger_protocol.errors import EngineFailedError, OverloadedError

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


@pytest.mark.parametrize("stream", [False, True])
async def test_of_n_answers_all_are_let_in_or_none(stream: bool) -> None:
    door = ScriptedDoor()
    door.refuse_after(2, OverloadedError("full"))
    assert (await ask(door, n=3, stream=stream)).status_code == 429
    assert (len(door.requests), door.num_released) == (2, 2)


async def test_a_failure_of_one_answer_is_the_requests() -> None:
    response = await ask(ScriptedDoor(failure=EngineFailedError("it died")), n=2)
    assert response.status_code == 503
    assert response.headers["retry-after"] == "2"


async def test_probabilities_come_with_the_piece_that_they_are_of() -> None:
    response = await ask(ScriptedDoor(), stream=True, logprobs=True)
    choices = [event["choices"][0] for event in events_of(response)]
    said = [(choice["delta"]["content"], choice["logprobs"]["content"]) for choice in choices if choice["logprobs"]]
    assert [(text, [entry["token"] for entry in content]) for text, content in said] == [
        ("Hello", ["Hello"]),
        (" sea", [" sea"]),
    ]


@pytest.mark.parametrize(
    ("path", "schema"), [("/v1/chat/completions", ChatCompletion), ("/v1/completions", TextCompletion)]
)
async def test_an_answer_is_as_the_document_describes_it(path: str, schema: Any) -> None:
    answer = (await ask(ScriptedDoor(), path, n=2, prompt="Hi")).json()
    assert schema.model_validate(answer).model_dump(exclude_unset=True) == answer
