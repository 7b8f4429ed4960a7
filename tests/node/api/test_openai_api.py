"""The official client against a real node on the fake backend, and the refusals in OpenAI's form."""

import contextlib
import http.client
import json
from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest
from support.processes.nodes import Node, wait_for

MESSAGES: Any = [{"role": "user", "content": "Tell me about the sea."}]


@pytest.fixture(scope="module")
def client(node: Node) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{node.url}/v1", api_key=node.key, max_retries=0) as opened:
        yield opened


def post(node: Node, path: str = "/v1/chat/completions", **body: Any) -> httpx.Response:
    content = {"model": "fake", "messages": MESSAGES, "max_tokens": 20, **body}
    return httpx.post(node.url + path, headers=node.headers, json=content, timeout=30)


def test_chat_whole_and_streamed_say_the_same(client: openai.OpenAI) -> None:
    asked: Any = {"model": "fake", "messages": MESSAGES, "max_tokens": 50, "temperature": 0}
    whole = client.chat.completions.create(**asked)
    events = list(client.chat.completions.create(**asked, stream=True, stream_options={"include_usage": True}))
    streamed = "".join(event.choices[0].delta.content or "" for event in events if event.choices)
    assert whole.choices[0].message.content == streamed
    assert whole.choices[0].message.role == "assistant"
    assert events[0].choices[0].delta.role == "assistant"
    assert events[-2].choices[0].finish_reason == whole.choices[0].finish_reason
    assert events[-1].usage == whole.usage
    assert len({event.id for event in events}) == 1


def test_completions_whole_and_streamed_say_the_same(client: openai.OpenAI) -> None:
    asked: Any = {"model": "fake", "prompt": "Once upon a time", "max_tokens": 50, "temperature": 0}
    whole = client.completions.create(**asked)
    events = list(client.completions.create(**asked, stream=True))
    assert whole.choices[0].text == "".join(event.choices[0].text for event in events)
    assert events[-1].choices[0].finish_reason == whole.choices[0].finish_reason


def test_usage_counts_prompt_and_delivered_tokens(client: openai.OpenAI) -> None:
    answer = client.completions.create(model="fake", prompt="abcde...", max_tokens=12, temperature=0)
    assert answer.usage is not None
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens, answer.usage.total_tokens) == (8, 12, 20)
    assert answer.choices[0].finish_reason == "length"


def test_seed_repeats_an_answer_and_its_absence_does_not(client: openai.OpenAI) -> None:
    def ask(seed: int | None) -> str:
        asked: Any = {"model": "fake", "messages": MESSAGES, "max_tokens": 30, "temperature": 1}
        answer = client.chat.completions.create(**asked, seed=seed)
        return answer.choices[0].message.content or ""

    assert ask(5) == ask(5)
    assert ask(-5) == ask(-5)
    assert ask(None) != ask(None)


def test_a_stop_string_ends_the_answer_before_itself(client: openai.OpenAI) -> None:
    endless = [{"role": "user", "content": "on and on..."}]
    asked: Any = {"model": "fake", "messages": endless, "max_tokens": 200, "temperature": 0}
    text = client.chat.completions.create(**asked).choices[0].message.content or ""
    stop = text[10:13]
    stopped = client.chat.completions.create(**asked, stop=[stop]).choices[0]
    assert stopped.message.content == text[: text.index(stop)]
    assert stopped.finish_reason == "stop"


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


def test_models_lists_the_base_and_finds_it_by_name(client: openai.OpenAI) -> None:
    assert [model.id for model in client.models.list()] == ["fake"]
    assert client.models.retrieve("fake").id == "fake"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("nobody")


def test_a_client_that_leaves_is_recorded_and_the_others_go_on(node: Node) -> None:
    body = {"model": "fake", "messages": [{"role": "user", "content": "on and on..."}], "max_tokens": 2000}
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
    assert 0 < ended["tokens_out"] < 2000


def test_no_prompt_reaches_the_home(node: Node) -> None:
    canary = "canary-7f3a-of-the-prompt"
    post(node, messages=[{"role": "user", "content": canary}])
    post(node, messages=[{"role": "tool", "content": canary}])
    found = [file for file in node.home.root.rglob("*") if file.is_file() and canary.encode() in file.read_bytes()]
    assert found == []


def test_a_streaming_client_that_leaves_while_it_waits_gives_its_place_back(node: Node) -> None:
    """It has no token yet, so no failed write tells: the hang-up itself must."""
    endless = [{"role": "user", "content": "on and on..."}]
    body = json.dumps({"model": "fake", "messages": endless, "max_tokens": 2000, "stream": True})
    connection = http.client.HTTPConnection(node.url.removeprefix("http://"))
    with contextlib.closing(connection):  # it is asked, and nobody waits for the answer
        connection.request("POST", "/v1/chat/completions", body, {**node.headers, "Content-Type": "application/json"})
    wait_for(lambda: node.status()["requests"] == {"running": 0, "waiting": 0})
