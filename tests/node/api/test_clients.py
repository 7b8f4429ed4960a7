"""Requests of programs that people use, as their sources send them: each works unchanged.

Where a program asks for what is not served, it hears so in words that it shows.
"""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest
from support.processes.nodes import ROOT, Node, wait_for

REQUESTS = json.loads((ROOT / "tests" / "node" / "api" / "client_requests.json").read_text())["requests"]
MESSAGES: Any = [{"role": "user", "content": "Tell me about the sea."}]


def name_of(request: dict[str, Any]) -> str:
    return f"{request['client']}: {request['what']}"


@pytest.mark.parametrize("request_of", REQUESTS, ids=name_of)
def test_a_request_of_a_known_program_works_unchanged(node: Node, request_of: dict[str, Any]) -> None:
    headers = {**node.headers, **request_of.get("headers", {})}
    response = httpx.request(
        request_of["method"], node.url + request_of["path"], headers=headers, json=request_of.get("body"), timeout=60
    )
    assert response.status_code == 200, response.text
    if request_of["method"] == "GET":
        check_models(response.json())
    elif request_of["body"].get("stream"):
        check_stream(response, request_of["body"])
    else:
        check_whole(response.json(), request_of["path"])


def check_models(found: dict[str, Any]) -> None:
    """What Open WebUI reads of a list: `data`, each with an `id`; a `name` of null would be dropped."""
    assert "error" not in found
    assert [model["id"] for model in found["data"]] == ["fake"]
    assert all(model["object"] == "model" and "parent" in model for model in found["data"])


def check_stream(response: httpx.Response, body: dict[str, Any]) -> None:
    """It looks for the type, for `data: ` at the start of a line, for `usage`, and for the end."""
    assert "text/event-stream" in response.headers["Content-Type"]
    lines = [line for line in response.text.split("\n") if line]
    assert all(line.startswith("data: ") for line in lines)
    assert lines[-1] == "data: [DONE]"
    events = [json.loads(line.removeprefix("data: ")) for line in lines[:-1]]
    assert len({event["id"] for event in events}) == 1
    if body.get("stream_options"):
        assert events[-1]["choices"] == []
        assert {"prompt_tokens", "completion_tokens", "total_tokens"} <= set(events[-1]["usage"])
        events = events[:-1]
    assert all("usage" not in event for event in events)
    (last,) = events[-1]["choices"]
    assert last["finish_reason"] in ("stop", "length")
    assert [event["choices"][0]["finish_reason"] for event in events[:-1]] == [None] * (len(events) - 1)


def check_whole(found: dict[str, Any], path: str) -> None:
    (choice,) = found["choices"]
    assert isinstance(choice["message"]["content"] if "chat" in path else choice["text"], str)
    assert found["usage"]["total_tokens"] == found["usage"]["prompt_tokens"] + found["usage"]["completion_tokens"]


# ---- the official client: what it makes of refusals


@pytest.fixture(scope="module")
def client(node: Node) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{node.url}/v1", api_key=node.key, max_retries=0) as opened:
        yield opened


def test_a_refusal_becomes_the_clients_own_error(client: openai.OpenAI) -> None:
    for stream in (False, True):
        with pytest.raises(openai.NotFoundError) as unknown:
            client.chat.completions.create(model="nobody", messages=MESSAGES, stream=stream)
        assert (unknown.value.code, unknown.value.param) == ("model_not_found", "model")
        with pytest.raises(openai.BadRequestError) as long:
            client.completions.create(model="fake", prompt="x" * 9_000, stream=stream)
        assert (long.value.code, long.value.type) == ("context_length_exceeded", "invalid_request_error")
    with pytest.raises(openai.NotFoundError) as missing:
        client.moderations.create(input="x")
    assert missing.value.code == "unknown_url"


def test_a_full_queue_is_a_rate_limit_that_says_when_to_come_back(node: Node) -> None:
    endless: Any = {"model": "fake", "messages": [{"role": "user", "content": "endless..."}], "max_tokens": 1_900}
    with openai.OpenAI(base_url=f"{node.url}/v1", api_key=node.key, max_retries=0) as client:
        streams: list[Any] = []

        def ask_on() -> None:
            for _ in range(40):
                streams.append(client.chat.completions.create(**endless, stream=True))

        with pytest.raises(openai.RateLimitError) as raised:
            ask_on()
        for stream in streams:
            stream.close()
    wait_for(lambda: node.status()["requests"] == {"running": 0, "waiting": 0})  # the next test needs the queue
    assert raised.value.code == "rate_limit_exceeded"
    wait = raised.value.response.headers["Retry-After"]
    assert wait.isascii()
    assert wait.isdigit()
    assert int(wait) >= 1
