"""A real node on the fake backend: the official client, and requests that programs send, which work unchanged."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest
from support.processes.nodes import ROOT, Node, wait_for

MESSAGES: Any = [{"role": "user", "content": "Tell me about the sea."}]
ENDLESS: Any = [{"role": "user", "content": "on and on..."}]
ASKED: Any = {"model": "fake", "messages": ENDLESS, "max_tokens": 24, "temperature": 0}
SCHEMA = {
    "type": "object",
    "properties": {
        "reason": {"type": "string", "maxLength": 20},
        "age": {"type": "integer", "minimum": 3, "maximum": 120},
        "kind": {"enum": ["cat", "dog"]},
    },
    "required": ["reason", "age", "kind"],
    "additionalProperties": False,
}


@pytest.fixture(scope="module")
def client(node: Node) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{node.url}/v1", api_key=node.key, max_retries=0) as opened:
        yield opened


def post(node: Node, path: str = "/v1/chat/completions", **body: Any) -> httpx.Response:
    content = {"model": "fake", "messages": MESSAGES, "max_tokens": 20, **body}
    return httpx.post(node.url + path, headers=node.headers, json=content, timeout=30)


def test_chat_whole_and_streamed_say_the_same(client: openai.OpenAI) -> None:
    asked: Any = {**ASKED, "max_tokens": 50}
    assert [client.models.retrieve(model.id).id for model in client.models.list()] == ["fake"]
    whole = client.chat.completions.create(**asked)
    events = list(client.chat.completions.create(**asked, stream=True, stream_options={"include_usage": True}))
    streamed = "".join(event.choices[0].delta.content or "" for event in events if event.choices)
    assert whole.choices[0].message.content == streamed
    assert whole.choices[0].message.role == "assistant"
    assert events[0].choices[0].delta.role == "assistant"
    assert events[-2].choices[0].finish_reason == whole.choices[0].finish_reason
    assert events[-1].usage == whole.usage
    assert len({event.id for event in events}) == 1


def test_seed_repeats_an_answer_and_its_absence_does_not(client: openai.OpenAI) -> None:
    def ask(seed: int | None) -> str:
        asked: Any = {"model": "fake", "messages": MESSAGES, "max_tokens": 30, "temperature": 1}
        answer = client.chat.completions.create(**asked, seed=seed)
        return answer.choices[0].message.content or ""

    assert ask(5) == ask(5)
    assert ask(-5) == ask(-5)
    assert ask(None) != ask(None)


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/completions"])
def test_a_benchmark_goes_on_after_the_end_of_an_answer(node: Node, path: str) -> None:
    def ask(**more: Any) -> tuple[int, str]:
        answer = post(node, path, prompt="Tell me", temperature=0, max_tokens=600, **more).json()
        return answer["usage"]["completion_tokens"], answer["choices"][0]["finish_reason"]

    ended, gone_on = ask(), ask(ignore_eos=True)
    assert (ended[1], gone_on[1]) == ("stop", "length")
    assert ended[0] < gone_on[0] <= 600  # end tokens have no text, so they are not counted
    refused = post(node, ignore_eos=True, response_format={"type": "json_object"})
    assert refused.status_code == 400
    assert "leave out ignore_eos" in refused.json()["error"]["message"]


def test_an_answer_goes_on_where_it_was_cut_off(node: Node) -> None:
    def ask(**more: Any) -> str:
        answer = post(node, temperature=0, **more).json()
        content: str = answer["choices"][0]["message"]["content"]
        return content

    whole, half = ask(max_tokens=40), ask(max_tokens=15)
    begun = [*MESSAGES, {"role": "assistant", "content": half}]
    assert half + ask(messages=begun, max_tokens=25, continue_final_message=True) == whole


def test_a_client_that_leaves_is_recorded_and_the_others_go_on(node: Node) -> None:
    body = {"model": "fake", "messages": ENDLESS, "max_tokens": 20_000}
    before = {job["request_id"] for job in node.jobs()}
    with node.client() as client:
        with client.stream("POST", "/v1/chat/completions", json={**body, "stream": True}) as response:
            lines = response.iter_lines()
            event = json.loads(next(line for line in lines if "content" in line).removeprefix("data: "))
        assert post(node).status_code == 200
    request_id = "0x" + event["id"].removeprefix("chatcmpl-")
    (job,) = (job for job in node.jobs() if job["request_id"] == request_id)
    assert request_id not in before
    assert job["state"] in ("running", "completed")
    (ended,) = wait_for(
        lambda: [job for job in node.jobs() if job["request_id"] == request_id and job["state"] == "completed"]
    )
    assert ended["finish_reason"] == "cancelled"
    assert 0 < ended["tokens_out"] < 20_000


def test_chat_says_how_likely_each_token_was(client: openai.OpenAI) -> None:
    choice = client.chat.completions.create(**ASKED, logprobs=True, top_logprobs=3).choices[0]
    assert choice.logprobs is not None
    content = choice.logprobs.content or []
    assert "".join(entry.token for entry in content) == choice.message.content
    assert b"".join(bytes(entry.bytes or []) for entry in content).decode() == choice.message.content
    for entry in content:
        assert entry.logprob <= 0
        assert len(entry.top_logprobs) == 3
        chances = [top.logprob for top in entry.top_logprobs]
        assert chances == sorted(chances, reverse=True)
    events = client.chat.completions.create(**ASKED, logprobs=True, top_logprobs=3, stream=True)
    said = [event.choices[0].logprobs for event in events]
    assert [entry for piece in said if piece for entry in piece.content or []] == content


def test_an_answer_fits_the_schema(client: openai.OpenAI) -> None:
    form: Any = {"type": "json_schema", "json_schema": {"name": "animal", "schema": SCHEMA, "strict": True}}
    asked: Any = {**ASKED, "max_tokens": 200, "response_format": form}
    answer = client.chat.completions.create(**asked)
    text = answer.choices[0].message.content or ""
    events = client.chat.completions.create(**asked, stream=True)
    assert text == "".join(event.choices[0].delta.content or "" for event in events)
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage is not None
    assert answer.usage.completion_tokens == len(text.encode()), "what is billed is the text"
    found = json.loads(text)
    assert list(found) == ["reason", "age", "kind"], "in the schema's order, not the alphabet's"
    assert len(found["reason"]) <= 20
    assert 3 <= found["age"] <= 120
    assert found["kind"] in ("cat", "dog")
    refused: Any = {"type": "json_schema", "json_schema": {"name": "nothing", "schema": {"not": {}}}}
    with pytest.raises(openai.BadRequestError, match="not"):
        client.chat.completions.create(**ASKED, response_format=refused)
    asked |= {"max_tokens": 2_000, "response_format": {"type": "json_object"}}
    whole = client.chat.completions.create(**asked)
    assert (whole.choices[0].message.content or "").startswith("{")


REQUESTS = json.loads((ROOT / "tests" / "node" / "api" / "client_requests.json").read_text())["requests"]


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
        with pytest.raises(openai.RateLimitError) as raised:  # noqa: PT012  # some fit first
            while len(streams) < 40:
                streams.append(client.chat.completions.create(**endless, stream=True))
        for stream in streams:
            stream.close()
    wait_for(lambda: node.status()["requests"] == {"running": 0, "waiting": 0})  # the next test needs the queue
    assert raised.value.code == "rate_limit_exceeded"
    wait = raised.value.response.headers["Retry-After"]
    assert wait.isascii()
    assert wait.isdigit()
    assert int(wait) >= 1
