"""A stream whose answer waits until the engine is loaded."""

from collections.abc import Callable
from functools import partial
from typing import Any

import trio
from support.answered import completion

from openledger_node.api.chat import ChatWriter, chat_ending
from openledger_node.api.exchange import LOADING_S, AnswerExchange, Answers
from openledger_node.api.stream import AnswerStream
from openledger_node.serving.service import Outcome
from openledger_protocol.inference import InferenceRequest, SamplingParams, TokenChunk
from openledger_protocol.primitives import RequestId

LOAD_S = 5.0
REQUEST = InferenceRequest(
    request_id=RequestId("0x01"), model="fake", prompt="hi", sampling=SamplingParams(max_tokens=4, seed=1)
)
DONE = completion("sea", request_id=REQUEST.request_id, ids=(1,), tokens_in=1, tokens_out=1)


class Client:
    """Stays connected."""

    async def receive(self) -> dict[str, str]:
        await trio.sleep_forever()
        raise AssertionError


async def answer(send: "trio.MemorySendChannel[Outcome]") -> None:
    await trio.sleep(LOAD_S)
    await send.send(TokenChunk(text="sea", ids=(1,)))
    await send.send(DONE)


def exchange_of(answers: Answers, loading: Callable[[], str | None]) -> AnswerExchange:
    return AnswerExchange(REQUEST, answers, None, loading)


async def test_it_says_how_long_it_takes_and_then_answers(autojump_clock: object) -> None:
    began_s = trio.current_time()

    def loading() -> str | None:
        left_s = began_s + LOAD_S - trio.current_time()
        return f"the engine is loading the base, about {left_s:.0f} s left" if left_s > 0 else None

    bodies: list[bytes] = []

    async def note(message: Any) -> None:
        bodies.append(message.get("body", b""))

    send, answers = trio.open_memory_channel[Outcome](4)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(answer, send)
        exchange = exchange_of(answers, loading)
        await exchange.begin(Client())  # type: ignore[arg-type]
        assert trio.current_time() == began_s + LOADING_S
        writer = ChatWriter(exchange, lambda _: None, created_s=7)
        response = AnswerStream([(exchange, writer)], partial(chat_ending, [exchange], created_s=7, has_usage=False))
        await response({"type": "http"}, Client().receive, note)
    events = b"".join(bodies).decode().splitlines(keepends=True)
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
        exchange = exchange_of(answers, lambda: None)
        await exchange.begin(Client())  # type: ignore[arg-type]
    assert exchange.receive_nowait() == TokenChunk(text="sea", ids=(1,))
