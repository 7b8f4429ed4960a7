"""The winner dies, stalls, stops or lies: the next best goes on from there, and each is paid for what it gave."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import trio
import trio.testing
from support.market_world.liars import change, receipt, tamper_with
from support.market_world.market import open_market
from support.market_world.seller import Seller
from support.market_world.terms import price

from openledger_node.engine.engine import Submit
from openledger_protocol.errors import UnavailableError
from openledger_protocol.wire.inference import Chunk, InferenceMessage

PRICES = {"first": 1, "second": 2, "third": 3}


async def whole(tmp_path: Path, prompt: str = "tell...", **changes: object) -> str:
    """The answer of one node that nothing happens to."""
    async with open_market(tmp_path / "alone", {"alone": 1}) as market:
        return (await market.ask(prompt, **changes)).text  # type: ignore[arg-type]


def vanish_after(seller: Seller, num_tokens: int) -> Callable[[str], None]:
    shown: list[str] = []

    def show(text: str) -> None:
        shown.append(text)
        if sum(map(len, shown)) == num_tokens:
            seller.vanish()

    return show


async def test_a_winner_that_dies_in_the_middle_is_gone_on_from_to_the_same_bytes(tmp_path: Path) -> None:
    text = await whole(tmp_path, max_tokens=60)
    async with open_market(tmp_path, PRICES) as market:
        first, second = market.sellers["first"], market.sellers["second"]
        answered = await market.ask("tell...", max_tokens=60, show=vanish_after(first, 20))
        await first.wait_served(1)
        await second.wait_served(1)
        begun, rest = (part.text for part in answered.parts)
        amounts = first.amounts(), second.amounts()
        paid = market.paid()
        records = [market.buyer.ledger.sellers.find(seller.state.wallet) for seller in (first, second)]
    assert answered.text == begun + rest == text
    assert 20 <= len(begun) < 60
    assert market.names_of(answered) == ["first", "second"]
    assert amounts == ([price(7, len(begun))], [price(7 + len(begun), len(rest), 2)])
    assert paid == {"second": amounts[1]}  # the first one's receipt never came; its voucher covers it all the same
    assert (records[0].aborted, records[1].successes) == (1, 1)


async def test_the_receipt_of_a_part_is_countersigned_later_though_another_ended_the_answer(tmp_path: Path) -> None:
    async with open_market(tmp_path, PRICES) as market:
        first = market.sellers["first"]
        await market.ask("tell...", max_tokens=60, show=vanish_after(first, 20))
        await first.wait_served(1)
    async with open_market(tmp_path, {"first": 1}) as market:
        await market.ask(name="r2")
        await market.seller.wait_served(1)
        rows = market.seller.ledger.receipts.newest(limit=9)
    assert len(rows) == 2
    assert all(row.countersignature for row in rows)


async def test_a_node_that_is_being_stopped_signs_for_what_it_gave_and_another_goes_on(tmp_path: Path) -> None:
    text = await whole(tmp_path, max_tokens=600)
    shown: list[str] = []
    async with open_market(tmp_path, PRICES) as market:
        first = market.sellers["first"]

        def show(told: str) -> None:
            shown.append(told)
            if len(shown) == 3:
                first.serving.drain()
                first.serving.cut_off()

        answered = await market.ask("tell...", max_tokens=600, show=show)
        begun, rest = answered.parts
        paid = market.paid()
    assert (answered.text, answered.finish_reason) == (text, "length")
    assert begun.why == "this node is stopping, and has cut the answer here"
    assert paid == {"first": [price(7, len(begun.text))], "second": [price(7 + len(begun.text), len(rest.text), 2)]}


async def test_a_chunk_that_its_ids_do_not_say_is_not_shown(tmp_path: Path) -> None:
    text = await whole(tmp_path)
    async with open_market(tmp_path, PRICES) as market:

        def lie(message: InferenceMessage) -> list[InferenceMessage]:
            if isinstance(message, Chunk) and message.tokens == 5:
                (message,) = change(Chunk, text=lambda _: "X")(message)  # type: ignore[assignment]
            return [message]

        tamper_with(market.sellers["first"], lie)
        shown: list[str] = []
        answered = await market.ask("tell...", show=shown.append)
        record = market.buyer.ledger.sellers.find(market.sellers["first"].state.wallet)
    assert answered.text == "".join(shown) == text
    assert answered.parts[0].why == "the text that the node has sent is not what its token ids say"
    assert len(answered.parts[0].text) == 4
    assert record.failures == 1


async def test_a_whole_answer_whose_receipt_lies_is_not_asked_for_again(tmp_path: Path) -> None:
    async with open_market(tmp_path, PRICES) as market:
        tamper_with(market.sellers["first"], receipt("first signer", algo_id=lambda _: 5))
        answered = await market.ask("tell...")
        record = market.buyer.ledger.sellers.find(market.sellers["first"].state.wallet)
        paid = market.paid()
    (part,) = answered.parts
    assert (len(answered.text), part.bought, paid) == (30, None, {})
    assert part.why == "the receipt's algo_id 5 is not 1"
    assert record.failures == 1


async def test_an_answer_that_breaks_off_with_a_right_receipt_is_gone_on_with(tmp_path: Path) -> None:
    """Nothing but the last token says that it was not the end."""
    text = await whole(tmp_path)
    async with open_market(tmp_path, PRICES) as market:
        first = market.sellers["first"]
        engine = first.serving._engine
        submit = engine.submit

        def submit_short(order: Submit) -> object:
            return submit(replace(order, sampling=replace(order.sampling, max_tokens=9)))

        engine.submit = submit_short  # type: ignore[method-assign]
        answered = await market.ask("tell...")
        record = market.buyer.ledger.sellers.find(first.state.wallet)
        paid = market.paid()
    assert answered.text == text
    assert [len(part.text) for part in answered.parts] == [9, 21]
    assert paid == {"first": [price(7, 9)], "second": [price(16, 21, 2)]}
    assert record.aborted == 1


async def test_when_nobody_is_left_what_was_delivered_is_said_with_the_error(tmp_path: Path) -> None:
    async with open_market(tmp_path, {"alone": 1}) as market:
        alone = market.sellers["alone"]
        with pytest.raises(UnavailableError, match=r"nobody could answer 'fake', after 2\d characters") as caught:
            await market.ask("tell...", max_tokens=60, show=vanish_after(alone, 20))
    assert caught.value.retryable
    assert [part.node for part in caught.value.values["parts"]] == [alone.state.wallet]  # type: ignore[attr-defined]


async def test_a_stop_string_across_the_seam_stops(tmp_path: Path) -> None:
    text = await whole(tmp_path, max_tokens=60)
    stop = text[25:29]
    assert text.index(stop) == 25
    async with open_market(tmp_path, PRICES) as market:
        answered = await market.ask(
            "tell...", max_tokens=60, stop=(stop,), show=vanish_after(market.sellers["first"], 20)
        )
    assert (answered.text, answered.finish_reason) == (text[:25], "stop")


async def test_a_reader_that_leaves_is_no_failure_of_the_node(tmp_path: Path) -> None:
    async with open_market(tmp_path, PRICES) as market:

        def leave(_: str) -> None:
            raise trio.BrokenResourceError

        with pytest.raises(trio.BrokenResourceError):
            await market.ask("tell...", show=leave)
        await market.sellers["first"].wait_served(1)
        record = market.buyer.ledger.sellers.find(market.sellers["first"].state.wallet)
        again = await market.ask("tell...", name="r2")
    assert (record.failures, record.aborted) == (0, 0)
    assert len(again.text) == 30
