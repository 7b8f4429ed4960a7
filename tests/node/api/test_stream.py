"""A streamed answer by itself: its bytes, a failure in the middle, a client that leaves, one that reads slowly."""

import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio

from openledger_node.api import openai
from openledger_node.api.openai import Kind
from openledger_node.api.server import BODY_SEND, with_body_send
from openledger_node.api.stream import AnswerStream, event, event_renderer
from openledger_node.serving.service import Failure, Outcome, open_channel
from openledger_protocol.errors import EngineFailedError
from openledger_protocol.inference import Completion, InferenceRequest, SamplingParams, TokenChunk
from openledger_protocol.primitives import RequestId

REQUEST = InferenceRequest(
    request_id=RequestId("0x" + "a" * 64),
    model='odd "text" ☃ name',
    prompt="hello",
    sampling=SamplingParams(max_tokens=8, seed=1),
)
LAST = Completion(
    request_id=REQUEST.request_id,
    base="fake",
    adapter_id=None,
    text="ab",
    ids=(1, 2),
    finish_reason="stop",
    tokens_in=5,
    tokens_out=2,
)
Message = dict[str, Any]


def chunk(text: str) -> TokenChunk:
    return TokenChunk(text=text, ids=(1,), logprobs=())


@pytest.mark.parametrize("kind", ["chat", "completion"])
@pytest.mark.parametrize("text", ["a", ' "quoted"\\', "\n\r\u2028", "🙂☃", "\0text\0", "text", "\x7f\x1b"])
def test_a_rendered_event_is_what_json_would_write(kind: Kind, text: str) -> None:
    whole = event(openai.stream_chunk(REQUEST, kind, text, None, created_s=7))
    assert event_renderer(REQUEST, kind, 7)(text) == whole


async def never() -> Message:
    await trio.sleep_forever()
    raise AssertionError


async def left() -> Message:
    return {"type": "http.disconnect"}


async def stream(
    outcomes: list[Outcome], receive: Callable[[], Awaitable[Message]] = never
) -> tuple[list[Message], trio.MemorySendChannel[Outcome]]:
    """Stream these outcomes; what was sent, and our end of the channel."""
    send, answers = open_channel(REQUEST)
    for outcome in outcomes[1:]:
        send.send_nowait(outcome)
    sent: list[Message] = []

    async def note(message: Any) -> None:
        sent.append(message)
        await trio.lowlevel.checkpoint()

    response = AnswerStream(REQUEST, "completion", outcomes[0], answers, lambda _: None, has_usage=True)
    with trio.fail_after(5):
        await response({"type": "http"}, receive, note)
    return sent, send


def events_of(sent: list[Message]) -> list[Any]:
    lines = b"".join(message.get("body", b"") for message in sent).decode().split("\n\n")
    return [json.loads(line.removeprefix("data: ")) for line in lines if line and not line.endswith("[DONE]")]


def test_tokens_that_are_there_go_in_one_write_with_the_end() -> None:
    sent, _ = trio.run(stream, [chunk("a"), chunk("b"), LAST])
    assert [message["type"] for message in sent] == ["http.response.start", "http.response.body"]
    assert sent[-1]["body"].endswith(b"data: [DONE]\n\n")
    assert not sent[-1]["more_body"]
    assert [one["choices"][0]["text"] for one in events_of(sent)[:3]] == ["a", "b", ""]
    assert events_of(sent)[-1]["usage"]["total_tokens"] == 7


def test_a_failure_in_the_middle_is_the_last_event_and_there_is_no_done() -> None:
    sent, _ = trio.run(stream, [chunk("a"), Failure(error=EngineFailedError("it died"))])
    first, last = events_of(sent)
    assert first["choices"][0]["text"] == "a"
    assert last["error"]["code"] == "engine_failed"
    assert b"[DONE]" not in sent[-1]["body"]


def test_a_client_that_leaves_closes_the_answer() -> None:
    sent, ours = trio.run(stream, [chunk("a")], left)
    assert not any(message.get("more_body") is False for message in sent)
    with pytest.raises(trio.BrokenResourceError):
        ours.send_nowait(LAST)


def test_events_pass_by_the_middleware_and_the_head_does_not() -> None:
    heads: list[Message] = []
    bodies: list[Message] = []

    async def server_send(message: Any) -> None:
        bodies.append(message)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert scope[BODY_SEND] is send

        async def middleware(message: Any) -> None:
            heads.append(message)

        _, answers = open_channel(REQUEST)
        response = AnswerStream(REQUEST, "completion", LAST, answers, lambda _: None, has_usage=False)
        await response(scope, receive, middleware)

    trio.run(with_body_send(app), {"type": "http"}, never, server_send)
    assert [message["type"] for message in heads] == ["http.response.start"]
    assert [message["type"] for message in bodies] == ["http.response.body"]
