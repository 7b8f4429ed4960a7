"""Probabilities, penalties and schemas, by the official client against a node on the fake backend."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from support.peft_folders import write_adapter
from support.processes.nodes import Node, running_node

from openledger_node.home import Home
from openledger_node.models.adapters import add_adapter
from openledger_node.models.bases import FAKE_BASE

MESSAGES: Any = [{"role": "user", "content": "Tell me about the sea..."}]
ASKED: Any = {"model": "fake", "messages": MESSAGES, "max_tokens": 24, "temperature": 0}
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
def shelf_node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """A node with two adapters."""
    root: Path = tmp_path_factory.mktemp("extras")
    home = Home(root / "home")
    for seed, name in enumerate(("harbour", "forest")):
        add_adapter(home, write_adapter(root / name, seed=seed), FAKE_BASE, name=name)
    with running_node(home, "--backend", "fake") as running:
        yield running


@pytest.fixture(scope="module")
def client(shelf_node: Node) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{shelf_node.url}/v1", api_key=shelf_node.key, max_retries=0) as opened:
        yield opened


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


def test_a_streamed_chat_says_the_same(client: openai.OpenAI) -> None:
    whole = client.chat.completions.create(**ASKED, logprobs=True, top_logprobs=2).choices[0].logprobs
    events = client.chat.completions.create(**ASKED, logprobs=True, top_logprobs=2, stream=True)
    said = [event.choices[0].logprobs for event in events]
    assert whole is not None
    assert [entry for piece in said if piece for entry in piece.content or []] == whole.content


def test_the_tokens_own_probability_comes_alone_where_no_others_are_asked_for(client: openai.OpenAI) -> None:
    logprobs = client.chat.completions.create(**ASKED, logprobs=True).choices[0].logprobs
    assert logprobs is not None
    assert {len(entry.top_logprobs) for entry in logprobs.content or []} == {0}


@pytest.mark.parametrize("changes", [{}, {"logprobs": False}], ids=str)
def test_no_probabilities_are_said_unasked(client: openai.OpenAI, changes: Any) -> None:
    assert client.chat.completions.create(**ASKED, **changes).choices[0].logprobs is None


def test_completions_say_so_in_lists_side_by_side(client: openai.OpenAI) -> None:
    asked: Any = {"model": "fake", "prompt": "Once...", "max_tokens": 20, "temperature": 0, "logprobs": 2}
    choice = client.completions.create(**asked).choices[0]
    assert choice.logprobs is not None
    tokens, offsets = choice.logprobs.tokens or [], choice.logprobs.text_offset or []
    assert "".join(tokens) == choice.text
    assert [
        choice.text[offset : offset + len(token)] for token, offset in zip(tokens, offsets, strict=True)
    ] == tokens
    for token, chance, top in zip(
        tokens, choice.logprobs.token_logprobs or [], choice.logprobs.top_logprobs or [], strict=True
    ):
        assert top[token] == chance
        assert 2 <= len(top) <= 3
    pieces = [event.choices[0].logprobs for event in client.completions.create(**asked, stream=True)]
    assert [place for piece in pieces if piece for place in piece.text_offset or []] == offsets


def test_probabilities_change_neither_text_nor_usage(client: openai.OpenAI) -> None:
    plain, said = (client.chat.completions.create(**ASKED, **changes) for changes in ({}, {"logprobs": True}))
    assert plain.choices[0].message.content == said.choices[0].message.content
    assert plain.usage == said.usage


@pytest.mark.parametrize(
    "changes",
    [
        {"frequency_penalty": 0.5, "presence_penalty": -2},
        {"extra_body": {"repetition_penalty": 1.2}},
        {"extra_body": {"min_p": 0.1, "top_k": 5, "repetition_penalty": None}},
        {"response_format": {"type": "text"}},
    ],
    ids=str,
)
def test_parameters_within_their_bounds_are_served(client: openai.OpenAI, changes: Any) -> None:
    assert client.chat.completions.create(**ASKED, **changes).choices[0].message.content


@pytest.mark.parametrize("strict", [True, False, None])
@pytest.mark.parametrize("stream", [True, False])
def test_an_answer_fits_the_schema(client: openai.OpenAI, strict: bool | None, stream: bool) -> None:
    form: Any = {"type": "json_schema", "json_schema": {"name": "animal", "schema": SCHEMA, "strict": strict}}
    asked: Any = {**ASKED, "max_tokens": 200, "response_format": form}
    if stream:
        events = client.chat.completions.create(**asked, stream=True)
        text = "".join(event.choices[0].delta.content or "" for event in events)
    else:
        answer = client.chat.completions.create(**asked)
        text = answer.choices[0].message.content or ""
        assert answer.choices[0].finish_reason == "stop"
        assert answer.usage is not None
        assert answer.usage.completion_tokens == len(text.encode()), "what is billed is the text"
    found = json.loads(text)
    assert list(found) == ["reason", "age", "kind"], "in the schema's order, not the alphabet's"
    assert len(found["reason"]) <= 20
    assert 3 <= found["age"] <= 120
    assert found["kind"] in ("cat", "dog")


def test_json_object_is_an_object_of_any_form(client: openai.OpenAI) -> None:
    for seed in range(5):
        asked: Any = {**ASKED, "max_tokens": 2_000, "temperature": 1, "seed": seed}
        choice = client.chat.completions.create(**asked, response_format={"type": "json_object"}).choices[0]
        text = choice.message.content or ""
        assert text.startswith("{")
        if choice.finish_reason == "stop":
            assert isinstance(json.loads(text), dict)


def test_an_answer_of_a_schema_has_probabilities_too(client: openai.OpenAI) -> None:
    form: Any = {"type": "json_schema", "json_schema": {"name": "animal", "schema": SCHEMA}}
    asked: Any = {**ASKED, "max_tokens": 200, "response_format": form, "logprobs": True}
    choice = client.chat.completions.create(**asked).choices[0]
    assert choice.logprobs is not None
    assert "".join(entry.token for entry in choice.logprobs.content or []) == choice.message.content


@pytest.mark.parametrize(
    ("body", "status", "named"),
    [
        ({"logprobs": True, "top_logprobs": 21}, 400, "logprobs"),
        ({"top_logprobs": 2}, 400, "top_logprobs"),
        ({"frequency_penalty": 2.1}, 400, "frequency_penalty"),
        ({"presence_penalty": -3}, 400, "presence_penalty"),
        ({"repetition_penalty": 0}, 400, "repetition_penalty"),
        ({"response_format": {"type": "xml"}}, 400, "response_format"),
        ({"response_format": {"type": "json_schema"}}, 400, "response_format"),
        ({"response_format": {"type": "json_schema", "json_schema": {"schema": []}}}, 400, "response_format"),
        ({"response_format": {"type": "json_schema", "json_schema": {"schema": {"not": {}}}}}, 400, "not"),
        (
            {"stream": True, "response_format": {"type": "json_schema", "json_schema": {"schema": {"not": {}}}}},
            400,
            "not",
        ),
    ],
)
def test_what_is_out_of_bounds_is_refused_by_name(
    shelf_node: Node, body: dict[str, Any], status: int, named: str
) -> None:
    content = {**ASKED, **body}
    response = httpx.post(
        f"{shelf_node.url}/v1/chat/completions", headers=shelf_node.headers, json=content, timeout=30
    )
    assert response.status_code == status, response.text
    assert named in response.json()["error"]["message"]
