"""Probabilities, penalties and schemas, by the official client against a node on the fake backend."""

import json
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from support.processes.nodes import Node

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
def client(node: Node) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{node.url}/v1", api_key=node.key, max_retries=0) as opened:
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
    events = client.chat.completions.create(**ASKED, logprobs=True, top_logprobs=3, stream=True)
    said = [event.choices[0].logprobs for event in events]
    assert [entry for piece in said if piece for entry in piece.content or []] == content


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


@pytest.mark.parametrize("stream", [True, False])
def test_an_answer_fits_the_schema(client: openai.OpenAI, stream: bool) -> None:
    form: Any = {"type": "json_schema", "json_schema": {"name": "animal", "schema": SCHEMA, "strict": True}}
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
    refused: Any = {"type": "json_schema", "json_schema": {"name": "nothing", "schema": {"not": {}}}}
    with pytest.raises(openai.BadRequestError, match="not"):
        client.chat.completions.create(**ASKED, stream=stream, response_format=refused)
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
