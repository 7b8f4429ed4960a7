"""Schemas, probabilities, penalties and other dialects with the real base; and what was said reaches no file."""

import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from support.canary import files_with
from support.processes.nodes import Node, running_node
from support.tiny import make_adapter

from openledger_node.home import Home
from openledger_node.models.adapters import add_adapter
from openledger_node.models.bases import find_base
from openledger_protocol.constants import DEMO_BASE_NAME

pytestmark = [pytest.mark.model, pytest.mark.process]

SCHEMA = {
    "type": "object",
    "properties": {
        "why": {"type": "string", "maxLength": 40},
        "name": {"type": "string", "minLength": 1, "maxLength": 20},
        "length_m": {"type": "integer", "minimum": 3, "maximum": 400},
    },
    "required": ["why", "name", "length_m"],
    "additionalProperties": False,
}
ASKED: dict[str, Any] = {
    "model": DEMO_BASE_NAME,
    "messages": [{"role": "user", "content": "Invent a ship. Say why, then its name and its length in metres."}],
    "max_tokens": 24,
    "temperature": 0,
}


@pytest.fixture(scope="module")
def node(demo_base: Path, real_home: Home, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    root, base = tmp_path_factory.mktemp("sets"), find_base(real_home, DEMO_BASE_NAME)
    for seed, name in enumerate(("harbour", "forest"), start=40):
        add_adapter(real_home, make_adapter(demo_base, root / name, seed=seed, scale=0.2, r=8), base, name=name)
    with running_node(real_home, "--dtype", "float32") as running:
        yield running


@pytest.fixture(scope="module")
def client(node: Node) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{node.url}/v1", api_key=node.key, max_retries=0, timeout=120) as opened:
        yield opened


@pytest.mark.parametrize("temperature", [0, 1.5])
def test_a_small_model_writes_what_the_schema_says(client: openai.OpenAI, temperature: float) -> None:
    form: Any = {"type": "json_schema", "json_schema": {"name": "ship", "schema": SCHEMA, "strict": True}}
    asked = {**ASKED, "max_tokens": 200, "temperature": temperature, "seed": 3, "response_format": form}
    choice = client.chat.completions.create(**asked).choices[0]
    ship = json.loads(choice.message.content or "")
    assert choice.finish_reason == "stop"
    assert list(ship) == ["why", "name", "length_m"]
    assert 1 <= len(ship["name"]) <= 20
    assert 3 <= ship["length_m"] <= 400


def test_a_penalty_keeps_an_answer_from_saying_the_same_again(client: openai.OpenAI) -> None:
    asked = {**ASKED, "messages": [{"role": "user", "content": "Say: no no no no no no no no no"}], "max_tokens": 24}
    plain, varied = (
        client.chat.completions.create(**asked, presence_penalty=penalty, frequency_penalty=penalty, logprobs=True)
        for penalty in (0, 2)
    )

    def num_different(answer: Any) -> float:
        tokens = [entry.token for entry in answer.choices[0].logprobs.content]
        return len(set(tokens)) / len(tokens)

    assert num_different(varied) > num_different(plain)


LOOK: Any = {
    "type": "function",
    "function": {
        "name": "look_up",
        "description": "Looks a ship up.",
        "parameters": {
            "type": "object",
            "properties": {"ship": {"type": "string", "maxLength": 12}},
            "required": ["ship"],
            "additionalProperties": False,
        },
    },
}


def test_a_tool_that_must_be_called_is_called_and_its_stream_says_the_same(client: openai.OpenAI) -> None:
    asked: Any = {
        **ASKED,
        "max_tokens": 120,
        "tools": [LOOK],
        "tool_choice": "required",
        "parallel_tool_calls": False,
    }
    choice = client.chat.completions.create(**asked).choices[0]
    assert choice.finish_reason == "tool_calls"
    (call,) = choice.message.tool_calls or []
    assert call.type == "function"
    assert call.function.name == "look_up"
    assert list(json.loads(call.function.arguments)) == ["ship"]
    with client.chat.completions.stream(**asked) as stream:
        for _ in stream:
            pass
        (streamed,) = stream.get_final_completion().choices[0].message.tool_calls or []
    assert streamed.function.arguments == call.function.arguments
    result = {"role": "tool", "tool_call_id": call.id, "content": "124 metres"}
    turns = [*ASKED["messages"], choice.message.model_dump(exclude_none=True), result]
    answer = client.chat.completions.create(**{**ASKED, "messages": turns, "tools": [LOOK]})
    assert answer.choices[0].message.content or answer.choices[0].message.tool_calls


def test_a_scored_text_has_the_probabilities_with_which_it_was_written(client: openai.OpenAI) -> None:
    asked: dict[str, Any] = {"model": DEMO_BASE_NAME, "temperature": 0, "logprobs": 2}
    written = client.completions.create(**asked, prompt="The capital of France is", max_tokens=8).choices[0]
    texts = ["The capital of France is" + written.text, "Water boils at 100 degrees"]
    scored, other = client.completions.create(**asked, prompt=texts, max_tokens=0, echo=True).choices
    assert written.logprobs and scored.logprobs and other.logprobs  # noqa: PT018  # for the types alone
    assert (scored.text, other.text) == tuple(texts)
    said = written.logprobs.token_logprobs or []
    assert (scored.logprobs.token_logprobs or [])[-len(said) :] == pytest.approx(said, abs=1e-3)
    assert (scored.logprobs.tokens or [])[-len(said) :] == written.logprobs.tokens
    assert len(other.logprobs.tokens or []) == len(other.logprobs.token_logprobs or [])


def test_a_message_streams_with_a_call_of_a_tool(node: Node) -> None:
    tool = {
        "name": "weather",
        "input_schema": {**SCHEMA, "properties": {"place": {"type": "string", "maxLength": 9}}},
    }
    tool["input_schema"]["required"] = ["place"]
    body = {
        "model": DEMO_BASE_NAME,
        "max_tokens": 60,
        "temperature": 0,
        "stream": True,
        "messages": [{"role": "user", "content": "What is the weather in Lisbon?"}],
        "tools": [tool],
        "tool_choice": {"type": "any", "disable_parallel_tool_use": True},
    }
    headers = {"x-api-key": node.key, "anthropic-version": "2023-06-01"}
    answer = httpx.post(f"{node.url}/v1/messages", headers=headers, json=body, timeout=120)
    events = [json.loads(line[6:]) for line in answer.text.split("\n") if line.startswith("data: ")]
    assert [events[0]["type"], events[-1]["type"]] == ["message_start", "message_stop"]
    (block,) = (event["content_block"] for event in events if event["type"] == "content_block_start")
    assert (block["type"], block["name"]) == ("tool_use", "weather")
    deltas = [event["delta"] for event in events if event["type"] == "content_block_delta"]
    assert list(json.loads("".join(delta["partial_json"] for delta in deltas))) == ["place"]
    assert events[-2]["delta"]["stop_reason"] == "tool_use"


def test_no_file_of_a_node_holds_what_was_said_there(node: Node, client: openai.OpenAI) -> None:
    """Its real engine maps files, caches and logs. This test ends the node, so it is the last."""
    prompt = "Zq7-prompt-plover-4471"
    asked = {**ASKED, "messages": [{"role": "user", "content": f"Say it again: {prompt}"}]}
    text = client.chat.completions.create(**asked).choices[0].message.content or ""
    assert len(text) > 18
    assert files_with(prompt, node.home.root) == files_with(text, node.home.root) == []
    node.signal(signal.SIGINT)
    node.wait()
    assert files_with(prompt, node.home.root) == files_with(text, node.home.root) == []
