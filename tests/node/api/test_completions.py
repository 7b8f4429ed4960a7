"""`/v1/completions` as evaluation harnesses use it: several prompts, token ids, echoes, and probabilities."""

import json
import threading
from typing import Any

import httpx
import pytest
from node.api.scripted_door import ScriptedDoor
from support.processes.nodes import Node

from openledger_node.api.completions import CHOICES_MAX, Echo, requests_from_completion, with_echo
from openledger_node.api.logprobs import CompletionLogprobs, chat_logprobs
from openledger_node.api.schemas import CompletionBody
from openledger_node.engine.tokenizer import ByteTokenizer
from openledger_node.models.sampling_defaults import NEUTRAL
from openledger_protocol.errors import RequestTooLongError
from openledger_protocol.inference import InferenceRequest, TokenLogprob

IDS = [[*b"the sea"], [*b"a harbour..."]]
TEXTS = ["the sea", "a harbour..."]


def post(node: Node, **body: Any) -> httpx.Response:
    content = {"model": "fake", "max_tokens": 6, "temperature": 0, **body}
    return httpx.post(f"{node.url}/v1/completions", headers=node.headers, json=content, timeout=30)


def choices(node: Node, **body: Any) -> list[dict[str, Any]]:
    response = post(node, **body)
    assert response.is_success, response.text
    found: list[dict[str, Any]] = response.json()["choices"]
    assert [choice["index"] for choice in found] == list(range(len(found)))
    return found


def streamed(node: Node, **body: Any) -> list[dict[str, Any]]:
    """The choices that a stream adds up to."""
    events = [line[6:] for line in post(node, stream=True, **body).text.split("\n") if line.startswith("data: ")]
    assert events.pop() == "[DONE]"
    added: dict[int, dict[str, Any]] = {}
    for event in events:
        for piece in json.loads(event)["choices"]:
            whole = added.setdefault(piece["index"], {"text": "", "logprobs": {}})
            whole["text"] += piece["text"]
            whole["finish_reason"] = piece["finish_reason"]
            for name, items in (piece["logprobs"] or {}).items():
                whole["logprobs"].setdefault(name, []).extend(items)
    return [added[index] for index in sorted(added)]


def test_texts_and_token_ids_are_answered_in_their_order(node: Node) -> None:
    alone = [choices(node, prompt=text)[0]["text"] for text in TEXTS]
    for prompt in (TEXTS, IDS):
        assert [choice["text"] for choice in choices(node, prompt=prompt)] == alone
        assert [choice["text"] for choice in streamed(node, prompt=prompt)] == alone
    assert choices(node, prompt=IDS[0])[0]["text"] == alone[0]
    asked: dict[str, Any] = {"temperature": 1, "seed": 3, "n": 2}
    texts = [choice["text"] for text in TEXTS for choice in choices(node, prompt=text, **asked)]
    assert [choice["text"] for choice in choices(node, prompt=TEXTS, **asked)] == texts


@pytest.mark.parametrize("prompt", [TEXTS, IDS])
def test_echo_begins_with_the_prompt_and_scores_it_with_logprobs(node: Node, prompt: Any) -> None:
    plain = choices(node, prompt=TEXTS, logprobs=1)
    assert [choice["text"] for choice in streamed(node, prompt=prompt, echo=True)] == [
        text + answer["text"] for text, answer in zip(TEXTS, plain, strict=True)
    ]
    whole = choices(node, prompt=prompt, logprobs=1, echo=True)
    for choice, text, answer in zip(whole, TEXTS, plain, strict=True):
        listed = choice["logprobs"]
        assert "".join(listed["tokens"]) == choice["text"] == text + answer["text"]
        assert listed["token_logprobs"][0] is listed["top_logprobs"][0] is None
        assert all(chance < 0 for chance in listed["token_logprobs"][1:])
        assert all(len(top) >= 1 for top in listed["top_logprobs"][1:])
        assert listed["text_offset"] == list(range(len(choice["text"])))
        assert listed["token_logprobs"][len(text) :] == answer["logprobs"]["token_logprobs"]
    assert [
        {**each, "index": number} for number, each in enumerate(streamed(node, prompt=prompt, logprobs=1, echo=True))
    ] == whole


def test_no_answer_at_all_scores_the_prompt_alone(node: Node) -> None:
    for found in (choices, streamed):
        (choice,) = found(node, prompt=TEXTS[0], max_tokens=0, logprobs=0, echo=True)
        assert (choice["text"], choice["finish_reason"]) == (TEXTS[0], "length")
        assert choice["logprobs"]["tokens"] == list(TEXTS[0])


class CountingDoor(ScriptedDoor):
    """Counts what is done for a prompt before admission, on a model of 2,048 tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.num_rendered = self.num_spelled = 0
        self.threads: set[int] = set()

    async def prompt_ids(self, request: InferenceRequest) -> tuple[int, ...]:
        self.num_rendered += 1
        return await super().prompt_ids(request)

    def spell(self, token_id: int) -> tuple[str, bytes | None]:
        self.num_spelled += 1
        self.threads.add(threading.get_ident())
        return "x", b"x"


async def echoed(door: CountingDoor, **body: Any) -> list[Echo]:
    content = CompletionBody(model="fake", echo=True, **body)
    requests = requests_from_completion(content, seed=1, defaults=NEUTRAL)
    _, echoes = await with_echo(door, content, requests)  # type: ignore[arg-type]
    return echoes


async def test_an_echo_is_prepared_once_for_each_prompt_and_in_a_thread() -> None:
    door = CountingDoor()
    assert [echo.text for echo in await echoed(door, prompt=[[1, 2], [1, 2], [3]], n=3)] == ["xx"] * 6 + ["x"] * 3
    assert door.num_spelled == 3
    assert threading.get_ident() not in door.threads
    await echoed(door, prompt=["a", "b", "a"], n=2, logprobs=1)
    assert door.num_rendered == 2


async def test_an_echo_that_cannot_fit_is_refused_before_any_work() -> None:
    door = CountingDoor()
    for logprobs in (None, 1):
        with pytest.raises(RequestTooLongError, match="2048 tokens"):
            await echoed(door, prompt=[1] * 2_048, logprobs=logprobs)
    assert (door.num_spelled, door.num_rendered) == (0, 0)


def test_a_likelihood_counts_tokens_from_both_ends() -> None:
    """Harnesses cut a context's tokens from the front and one answered token from the end, also if it is no text."""
    written = CompletionLogprobs(ByteTokenizer().spell, [*b"ab"])
    first = written.of([TokenLogprob(id=ord("b"), logprob=-1.0), TokenLogprob(id=ByteTokenizer.end_id, logprob=-2.0)])
    assert first["tokens"] == ["a", "b", "<end>"]
    assert first["token_logprobs"] == [None, -1.0, -2.0]
    assert first["text_offset"] == [0, 1, 2]


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ({"prompt": []}, "1 to 128 answers"),
        ({"prompt": ["a"] * (CHOICES_MAX + 1)}, "1 to 128 answers"),
        ({"prompt": [[]]}, "list of token ids that is empty"),
        ({"prompt": [99, 300]}, "the token id 300, and the base has 257"),
        ({"prompt": [99, 300], "echo": True, "logprobs": 0}, "the token id 300"),
        ({"prompt": "a", "echo": True, "logprobs": 1, "frequency_penalty": 1}, "penalties"),
    ],
    ids=str,
)
def test_what_is_not_served_is_refused_by_name(node: Node, body: dict[str, Any], named: str) -> None:
    response = post(node, **body)
    assert response.status_code == 400
    assert named in response.text


SPELL, END = ByteTokenizer().spell, ByteTokenizer.end_id
EURO = [TokenLogprob(id=byte, logprob=-0.5, top=((byte, -0.5), (END, -2.0))) for byte in "€".encode()]
LAST = TokenLogprob(id=END, logprob=-0.1)


def test_parts_of_characters_have_their_bytes() -> None:
    content = chat_logprobs(SPELL, EURO)["content"]
    assert [entry["token"] for entry in content] == ["\ufffd"] * 3
    assert bytes(byte for entry in content for byte in entry["bytes"]).decode() == "€"


def test_a_token_that_ends_the_answer_is_no_content_but_may_be_likely() -> None:
    assert [entry["bytes"] for entry in chat_logprobs(SPELL, [LAST])["content"]] == []
    likely = chat_logprobs(SPELL, EURO)["content"][0]["top_logprobs"][1]
    assert likely == {"token": "<end>", "logprob": -2.0, "bytes": None}


def test_offsets_go_on_from_piece_to_piece() -> None:
    written = CompletionLogprobs(SPELL)
    first = written.of([TokenLogprob(id=ord(letter), logprob=-1.0) for letter in "ab"])
    second = written.of([TokenLogprob(id=ord("c"), logprob=-2.0, top=((ord("d"), -0.2),)), LAST])
    assert (first["tokens"], first["text_offset"]) == (["a", "b"], [0, 1])
    assert (second["tokens"], second["text_offset"]) == (["c"], [2])
    assert second["top_logprobs"] == [{"d": -0.2, "c": -2.0}]
