"""A streamed answer by itself: its bytes, a failure in the middle, a client that leaves, an engine that loads."""

import json
from collections.abc import Awaitable, Callable
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
import trio
from support.answered import completion

from openledger_node.api.chat import ChatWriter, chat_ending
from openledger_node.api.completions import CompletionWriter, completion_ending
from openledger_node.api.exchange import LOADING_S, AnswerExchange
from openledger_node.api.server import BODY_SEND, with_body_send
from openledger_node.api.stream import AnswerStream, event
from openledger_node.serving.answer_parts import TextPart
from openledger_node.serving.service import Failure, Outcome, open_channel
from openledger_protocol.errors import EngineFailedError, ProtocolError
from openledger_protocol.inference import InferenceRequest, SamplingParams, TokenChunk
from openledger_protocol.primitives import RequestId

REQUEST = InferenceRequest(
    request_id=RequestId("0x" + "a" * 64),
    model='odd "text" ☃ name',
    prompt="hello",
    sampling=SamplingParams(max_tokens=8, seed=1),
)
LAST = completion("ab", request_id=REQUEST.request_id, ids=(1, 2), tokens_in=5, tokens_out=2)
Message = dict[str, Any]


def chunk(text: str) -> TokenChunk:
    return TokenChunk(text=text, ids=(1,), logprobs=())


def exchange_of(answers: "trio.MemoryReceiveChannel[Outcome]") -> AnswerExchange:
    return AnswerExchange(REQUEST, answers, None, lambda: None)


def stream_of(*all_answers: "trio.MemoryReceiveChannel[Outcome]") -> AnswerStream:
    """A stream of completions, with its usage."""
    exchanges = [exchange_of(answers) for answers in all_answers]
    writers = [
        CompletionWriter(exchange, lambda _: None, created_s=7, index=index)
        for index, exchange in enumerate(exchanges)
    ]
    return AnswerStream(
        list(zip(exchanges, writers, strict=True)), partial(completion_ending, exchanges, created_s=7, has_usage=True)
    )


@pytest.mark.parametrize("text", ["a", ' "quoted"\\', "\n\r\u2028", "🙂☃", "\0\x7f\x1b", "\ud800"])
def test_a_rendered_event_is_what_json_would_write(text: str) -> None:
    _, answers = open_channel(REQUEST)
    for writer in (
        ChatWriter(exchange_of(answers), lambda _: None, created_s=7),
        CompletionWriter(exchange_of(answers), lambda _: None, created_s=7),
    ):
        found = writer.write([TextPart(text)], ())
        (choice,) = json.loads(found.removeprefix(b"data: "))["choices"]
        assert (choice["delta"]["content"] if "delta" in choice else choice["text"]) == text
        assert found == event(json.loads(found.removeprefix(b"data: ")))


async def never() -> Message:
    await trio.sleep_forever()
    raise AssertionError


async def left() -> Message:
    return {"type": "http.disconnect"}


async def send_all(stream: AnswerStream, receive: Callable[[], Awaitable[Message]] = never) -> list[Message]:
    """Have a stream send all that it has, and return that."""
    sent: list[Message] = []

    async def note(message: Any) -> None:
        sent.append(message)
        await trio.lowlevel.checkpoint()

    await stream({"type": "http"}, receive, note)
    return sent


def answers_of(*outcomes: Outcome) -> "tuple[trio.MemorySendChannel[Outcome], trio.MemoryReceiveChannel[Outcome]]":
    """Our end of an answer with these outcomes, and the stream's."""
    send, answers = open_channel(REQUEST)
    for outcome in outcomes:
        send.send_nowait(outcome)
    return send, answers


WORDS = "secret words of a prompt"


class SlipperyWriter(CompletionWriter):
    """A writer whose end is a mistake of ours, and so is its failure."""

    def end(self) -> bytes:
        raise KeyError(WORDS)

    def fail(self, error: ProtocolError) -> bytes:
        raise ZeroDivisionError


def slip() -> bytes:
    raise KeyError(WORDS)


@pytest.mark.parametrize(
    ("writer_of", "names"), [(CompletionWriter, ["KeyError"]), (SlipperyWriter, ["KeyError", "ZeroDivisionError"])]
)
async def test_a_mistake_in_the_last_events_is_an_error_event_and_is_logged_by_name_and_place(
    caplog: pytest.LogCaptureFixture, writer_of: type[CompletionWriter], names: list[str]
) -> None:
    exchange = exchange_of(answers_of(chunk("a"), LAST)[1])
    last = (await send_all(AnswerStream([(exchange, writer_of(exchange, lambda _: None, created_s=7))], slip)))[-1]
    text = last["body"].decode()
    assert (last["more_body"], "[DONE]" in text) == (False, False)
    assert json.loads(text.split("data: ")[-1])["error"]["code"] == "engine_failed"
    logged = [record.getMessage() for record in caplog.records]
    assert [message.split(": ")[1].split("\n")[0] for message in logged] == names
    assert all("test_stream.py" in message for message in logged)
    assert WORDS not in text + "".join(logged)


def events_of(sent: list[Message]) -> list[Any]:
    lines = b"".join(message.get("body", b"") for message in sent).decode().split("\n\n")
    return [json.loads(line.removeprefix("data: ")) for line in lines if line and not line.endswith("[DONE]")]


async def test_tokens_that_are_there_go_in_one_write_with_the_end() -> None:
    sent = await send_all(stream_of(answers_of(chunk("a"), chunk("b"), LAST)[1]))
    assert [message["type"] for message in sent] == ["http.response.start", "http.response.body"]
    assert sent[-1]["body"].endswith(b"data: [DONE]\n\n")
    assert not sent[-1]["more_body"]
    assert [one["choices"][0]["text"] for one in events_of(sent)[:3]] == ["a", "b", ""]
    assert events_of(sent)[-1]["usage"]["total_tokens"] == 7


async def test_a_client_that_leaves_closes_the_answer() -> None:
    ours, answers = answers_of(chunk("a"))
    sent = await send_all(stream_of(answers), receive=left)
    assert not any(message.get("more_body") is False for message in sent)
    with pytest.raises(trio.BrokenResourceError):
        ours.send_nowait(LAST)


async def test_events_pass_by_the_middleware_and_the_head_does_not() -> None:
    heads: list[Message] = []
    bodies: list[Message] = []

    async def server_send(message: Any) -> None:
        bodies.append(message)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert scope[BODY_SEND] is send

        async def middleware(message: Any) -> None:
            heads.append(message)

        await stream_of(answers_of(LAST)[1])(scope, receive, middleware)

    await with_body_send(app)({"type": "http"}, never, server_send)  # type: ignore[arg-type]
    assert [message["type"] for message in heads] == ["http.response.start"]
    assert [message["type"] for message in bodies] == ["http.response.body"]


async def test_a_failure_of_one_of_several_answers_is_the_last_event_and_there_is_no_done() -> None:
    failing = answers_of(chunk("a"), Failure(error=EngineFailedError("it died")))[1]
    sent = await send_all(stream_of(failing, answers_of(chunk("x"), LAST)[1]))
    *events, last = events_of(sent)
    assert {one["choices"][0]["text"] for one in events} == {"a", "x", ""}
    assert last["error"]["code"] == "engine_failed"
    assert b"[DONE]" not in b"".join(message.get("body", b"") for message in sent)


LOAD_S = 5.0
STAYING: Any = SimpleNamespace(receive=never)
"""The request of a client that stays connected."""


async def answer(send: "trio.MemorySendChannel[Outcome]") -> None:
    await trio.sleep(LOAD_S)
    await send.send(TokenChunk(text="sea", ids=(1,)))
    await send.send(LAST)


async def test_a_stream_that_waits_for_a_load_tells_the_time_left_and_then_answers(autojump_clock: object) -> None:
    began_s = trio.current_time()

    def loading() -> str | None:
        left_s = began_s + LOAD_S - trio.current_time()
        return f"the engine is loading the base, about {left_s:.0f} s left" if left_s > 0 else None

    send, answers = trio.open_memory_channel[Outcome](4)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(answer, send)
        exchange = AnswerExchange(REQUEST, answers, None, loading)
        await exchange.begin(STAYING)
        assert trio.current_time() == began_s + LOADING_S
        writer = ChatWriter(exchange, lambda _: None, created_s=7)
        response = AnswerStream([(exchange, writer)], partial(chat_ending, [exchange], created_s=7, has_usage=False))
        sent = await send_all(response)
    events = b"".join(message.get("body", b"") for message in sent).decode().splitlines(keepends=True)
    comments = [event for event in events if event.startswith(":")]
    assert comments == [
        f": the engine is loading the base, about {LOAD_S - LOADING_S * count:.0f} s left\n" for count in (1, 2)
    ]
    assert "sea" in "".join(events)
    assert events[-2] == "data: [DONE]\n"


async def test_a_stream_of_a_loaded_engine_waits_for_its_status_however_long_it_takes(autojump_clock: object) -> None:
    send, answers = trio.open_memory_channel[Outcome](4)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(answer, send)
        exchange = exchange_of(answers)
        await exchange.begin(STAYING)
    assert exchange.receive_nowait() == TokenChunk(text="sea", ids=(1,))
