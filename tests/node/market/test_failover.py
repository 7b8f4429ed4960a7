"""The winner dies, stalls, stops or lies: the next best goes on from there, and each is paid for what it gave."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest
import trio
import trio.testing
from support.liars import change, messages_of, receipt
from support.markets import INFER, Stand, Street, names_of, open_street, wanted
from support.sides import TERMS

from openledger_node.engine.engine import Submit
from openledger_node.errors import NetworkError
from openledger_node.market.request import RemoteAnswer
from openledger_node.p2p.transport import PeerId
from openledger_protocol.errors import UnavailableError
from openledger_protocol.payments import price_wei
from openledger_protocol.wire.inference import Chunk, InferenceMessage, ReceiptMessage, decode, encode, error_message

PRICES = {"first": 1, "second": 2, "third": 3}
Serve = Callable[[PeerId, trio.abc.Stream], Awaitable[None]]


def price(tokens_in: int, tokens_out: int, times: int = 1) -> int:
    return price_wei(tokens_in, tokens_out, TERMS) * times


def tamper_with(stand: Stand, tamper: Callable[[InferenceMessage], list[InferenceMessage]]) -> None:
    """Change what a node says on its paid streams."""

    async def serve(peer: PeerId, stream: trio.abc.Stream) -> None:
        ours, theirs = trio.testing.memory_stream_pair()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_relay, stream, theirs, lambda message: [message])
            nursery.start_soon(_relay, theirs, stream, tamper)
            await stand.serve(peer, ours)
            await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()

    stand.transport.handle(INFER, serve)


async def _relay(
    source: trio.abc.Stream, target: trio.abc.Stream, tamper: Callable[[InferenceMessage], list[InferenceMessage]]
) -> None:
    source_messages, target_messages = messages_of(source), messages_of(target)
    try:
        while True:
            for told in tamper(decode(await source_messages.receive())):
                await target_messages.send(encode(told))
    except NetworkError:
        await target.aclose()


async def whole(tmp_path: Path, prompt: str = "tell...", **changes: object) -> str:
    """The answer of one node that nothing happens to."""
    async with open_street(tmp_path / "alone", {"alone": 1}) as street:
        return (await street.ask(prompt, **changes)).text  # type: ignore[arg-type]


def vanish_after(stand: Stand, num_tokens: int) -> Callable[[str], None]:
    shown: list[str] = []

    def show(text: str) -> None:
        shown.append(text)
        if sum(map(len, shown)) == num_tokens:
            stand.vanish()

    return show


async def test_a_winner_that_dies_in_the_middle_is_gone_on_from_to_the_same_bytes(tmp_path: Path) -> None:
    text = await whole(tmp_path, max_tokens=60)
    async with open_street(tmp_path, PRICES) as street:
        first, second = street.stands["first"], street.stands["second"]
        answered = await street.ask("tell...", max_tokens=60, show=vanish_after(first, 20))
        await first.wait_served(1)
        await second.wait_served(1)
        begun, rest = (part.text for part in answered.parts)
        amounts = first.amounts(), second.amounts()
        paid = street.paid()
        records = [street.ledger.peers.find(stand.peer_id) for stand in (first, second)]
    assert answered.text == begun + rest == text
    assert 20 <= len(begun) < 60
    assert names_of(answered, [first, second]) == ["first", "second"]
    assert amounts == ([price(7, len(begun))], [price(7 + len(begun), len(rest), 2)])
    assert paid == {"second": amounts[1]}  # the first one's receipt never came; its voucher covers it all the same
    assert (records[0].aborted, records[1].successes) == (1, 1)


async def test_a_winner_that_is_gone_before_the_first_chunk_costs_nothing(tmp_path: Path) -> None:
    text = await whole(tmp_path)
    async with open_street(tmp_path, PRICES) as street:
        first = street.stands["first"]

        async def hang_up(_: PeerId, stream: trio.abc.Stream) -> None:
            await stream.receive_some(10)

        first.transport.handle(INFER, hang_up)
        answered = await street.ask("tell...")
        paid = street.paid()
        record = street.ledger.peers.find(first.peer_id)
    assert answered.text == text
    assert names_of(answered, list(street.stands.values())) == ["second"]
    assert paid == {"second": [price(7, 30, 2)]}
    assert (record.failures, record.successes) == (1, 0)


async def test_a_node_that_is_being_stopped_signs_for_what_it_gave_and_another_goes_on(tmp_path: Path) -> None:
    text = await whole(tmp_path, max_tokens=600)
    shown: list[str] = []
    async with open_street(tmp_path, PRICES) as street:
        first = street.stands["first"]

        def show(told: str) -> None:
            shown.append(told)
            if len(shown) == 3:
                first.desk.drain()
                first.desk.cut_off()

        answered = await street.ask("tell...", max_tokens=600, show=show)
        begun, rest = answered.parts
        paid = street.paid()
    assert (answered.text, answered.finish_reason) == (text, "length")
    assert begun.why == "this node is stopping, and has cut the answer here"
    assert paid == {
        "first": [price(7, len(begun.text))],
        "second": [price(7 + len(begun.text), len(rest.text), 2)],
    }


async def test_two_deaths_in_one_answer_make_three_parts(tmp_path: Path) -> None:
    text = await whole(tmp_path, max_tokens=90)
    async with open_street(tmp_path, PRICES) as street:
        first, second = street.stands["first"], street.stands["second"]
        answered = await street.ask("tell...", max_tokens=90, show=vanish_both(first, second))
    assert answered.text == text
    assert [len(part.text) > 0 for part in answered.parts] == [True, True, True]


def vanish_both(first: Stand, second: Stand) -> Callable[[str], None]:
    shown: list[str] = []

    def show(text: str) -> None:
        shown.append(text)
        if len(shown) == 10:
            first.vanish()
        if len(shown) == 80:
            second.vanish()

    return show


async def test_a_stalled_winner_is_left(tmp_path: Path, autojump_clock: trio.testing.MockClock) -> None:
    text = await whole(tmp_path, max_tokens=40)
    async with open_street(tmp_path, PRICES) as street:

        def stall(message: InferenceMessage) -> list[InferenceMessage]:
            return [] if isinstance(message, Chunk) and message.tokens > 12 else [message]

        tamper_with(street.stands["first"], lambda told: [] if isinstance(told, ReceiptMessage) else stall(told))
        began = trio.current_time()
        answered = await street.ask("tell...", max_tokens=40)
        took_s = trio.current_time() - began
    begun, _ = answered.parts
    assert answered.text == text
    assert (len(begun.text), begun.why) == (12, "gave nothing for 15 s")
    assert begun.bought is None
    assert 15 <= took_s < 25


async def test_a_slow_reader_is_no_stall(tmp_path: Path, autojump_clock: trio.testing.MockClock) -> None:
    async with open_street(tmp_path, PRICES) as street:
        answered = await _ask_slowly(street)
        record = street.ledger.peers.find(street.stands["first"].peer_id)
    assert names_of(answered, list(street.stands.values())) == ["first"]
    assert (record.successes, record.late) == (1, 0)


async def _ask_slowly(street: Street) -> RemoteAnswer:
    async def show(_: str) -> None:
        await trio.sleep(20)

    with trio.fail_after(10_000):
        return await street.requester.answer(wanted("tell...", max_tokens=3), show)


async def test_a_bid_that_is_not_honoured_is_passed_over(tmp_path: Path) -> None:
    async with open_street(tmp_path, PRICES) as street:
        first = street.stands["first"]
        first.paid._terms_of = lambda _: TERMS_DEARER
        answered = await street.ask("tell...")
        record = street.ledger.peers.find(first.peer_id)
    assert names_of(answered, list(street.stands.values())) == ["second"]
    assert record.failures == 1


TERMS_DEARER = type(TERMS)(price_in_wei=TERMS.price_in_wei, price_out_wei=type(TERMS.price_out_wei)(10**9))


async def test_a_chunk_that_its_ids_do_not_say_is_not_shown(tmp_path: Path) -> None:
    text = await whole(tmp_path)
    async with open_street(tmp_path, PRICES) as street:

        def lie(message: InferenceMessage) -> list[InferenceMessage]:
            if isinstance(message, Chunk) and message.tokens == 5:
                (message,) = change(Chunk, text=lambda _: "X")(message)  # type: ignore[assignment]
            return [message]

        tamper_with(street.stands["first"], lie)
        shown: list[str] = []
        answered = await street.ask("tell...", show=shown.append)
        record = street.ledger.peers.find(street.stands["first"].peer_id)
    assert answered.text == "".join(shown) == text
    assert answered.parts[0].why == "the text that the node has sent is not what its token ids say"
    assert len(answered.parts[0].text) == 4
    assert record.failures == 1


async def test_a_whole_answer_whose_receipt_lies_is_not_asked_for_again(tmp_path: Path) -> None:
    async with open_street(tmp_path, PRICES) as street:
        tamper_with(street.stands["first"], lambda told: list(receipt("first signer", algo_id=lambda _: 5)(told)))
        answered = await street.ask("tell...")
        record = street.ledger.peers.find(street.stands["first"].peer_id)
        paid = street.paid()
    (part,) = answered.parts
    assert (len(answered.text), part.bought, paid) == (30, None, {})
    assert part.why == "the receipt's algo_id 5 is not 1"
    assert record.failures == 1


async def test_an_answer_that_breaks_off_with_a_right_receipt_is_gone_on_with(tmp_path: Path) -> None:
    """Nothing but the last token says that it was not the end."""
    text = await whole(tmp_path)
    async with open_street(tmp_path, PRICES) as street:
        first = street.stands["first"]
        engine = first.desk._engine
        submit = engine.submit

        def submit_short(order: Submit) -> object:
            return submit(replace(order, sampling=replace(order.sampling, max_tokens=9)))

        engine.submit = submit_short  # type: ignore[method-assign]
        answered = await street.ask("tell...")
        record = street.ledger.peers.find(first.peer_id)
        paid = street.paid()
    assert answered.text == text
    assert [len(part.text) for part in answered.parts] == [9, 21]
    assert paid == {"first": [price(7, 9)], "second": [price(16, 21, 2)]}
    assert record.aborted == 1


async def test_all_nodes_fail_and_each_reason_is_told(tmp_path: Path) -> None:
    async with open_street(tmp_path, {"first": 1, "second": 2}) as street:

        def refuse_all(message: InferenceMessage) -> list[InferenceMessage]:
            return [error_message(UnavailableError("no power today"))]

        for stand in street.stands.values():
            tamper_with(stand, refuse_all)
        with pytest.raises(UnavailableError, match=r"nobody could answer 'fake'.*no power today.*no power today"):
            await street.ask("tell...")
        assert street.paid() == {}


async def test_when_nobody_is_left_what_was_delivered_is_said_with_the_error(tmp_path: Path) -> None:
    async with open_street(tmp_path, {"alone": 1}) as street:
        alone = street.stands["alone"]
        with pytest.raises(UnavailableError, match=r"nobody could answer 'fake', after 2\d characters") as caught:
            await street.ask("tell...", max_tokens=60, show=vanish_after(alone, 20))
    assert caught.value.retryable
    assert [part.node for part in caught.value.values["parts"]] == [alone.state.wallet]  # type: ignore[attr-defined]


async def test_an_answer_that_ended_by_itself_ends_after_a_failover_too(tmp_path: Path) -> None:
    """`hello` of the fake base ends at a token without a text."""
    text = await whole(tmp_path, "hello", max_tokens=2_000)
    async with open_street(tmp_path, PRICES) as street:
        half = len(text) // 2
        answered = await street.ask("hello", max_tokens=2_000, show=vanish_after(street.stands["first"], half))
    assert (answered.text, answered.finish_reason) == (text, "stop")


async def test_a_stop_string_across_the_seam_stops(tmp_path: Path) -> None:
    text = await whole(tmp_path, max_tokens=60)
    stop = text[25:29]
    assert text.index(stop) == 25
    async with open_street(tmp_path, PRICES) as street:
        answered = await street.ask(
            "tell...", max_tokens=60, stop=(stop,), show=vanish_after(street.stands["first"], 20)
        )
    assert (answered.text, answered.finish_reason) == (text[:25], "stop")


async def test_a_reader_that_leaves_is_no_failure_of_the_node(tmp_path: Path) -> None:
    async with open_street(tmp_path, PRICES) as street:

        def leave(_: str) -> None:
            raise trio.BrokenResourceError

        with pytest.raises(trio.BrokenResourceError):
            await street.ask("tell...", show=leave)
        await street.stands["first"].wait_served(1)
        record = street.ledger.peers.find(street.stands["first"].peer_id)
        again = await street.ask("tell...", name="r2")
    assert (record.failures, record.aborted) == (0, 0)
    assert len(again.text) == 30


async def test_a_signer_that_the_chain_does_not_know_is_not_bought_from(tmp_path: Path) -> None:
    async with open_street(tmp_path, PRICES) as street:
        first = street.stands["first"]
        street.strangers.add(first.state.signer)
        answered = await street.ask("tell...")
        amounts = first.amounts()
    assert names_of(answered, list(street.stands.values())) == ["second"]
    assert amounts == []
