"""Three sellers are called first, the others only without a good bid; a conversation stays with its seller."""

from dataclasses import replace
from pathlib import Path

import pytest
import trio
import trio.testing
from support.market_world.market import Market, open_market
from support.market_world.requests import network_request
from support.market_world.seller import Seller
from support.market_world.terms import CALL, peer_id_of, wallet_of, word

from openledger_node.ledger.sellers import AnswerSpeed
from openledger_node.market.caller import KEPT_MAX, KEPT_S, Conversations
from openledger_node.market.calls import FIRST_BIDS_S, FIRST_WAVE, FIRST_WAVE_S
from openledger_node.p2p.transport import PeerId
from openledger_protocol.inference import Message
from openledger_protocol.primitives import AdapterId

EIGHT = {f"seller {number}": 1 + number / 100 for number in range(8)}
TURNS = (Message(role="system", content="Be brief."), Message(role="user", content="hello"))


def prove(market: Market, *names: str) -> None:
    """Have sellers proved themselves to the buyer, as far as its own records say."""
    sample = AnswerSpeed(ttft_ms=8, num_tokens=50, stream_ms=1_000)
    for name in names:
        for _ in range(20):
            market.buyer.ledger.sellers.note(wallet_of(name), "successes", now_ns=0, sample=sample)


def num_called(market: Market) -> int:
    return sum(seller.bidder.num_bids for seller in market.sellers.values())


def bid_after(seller: Seller, delay_s: float) -> None:
    async def serve(peer_id: PeerId, stream: trio.abc.Stream) -> None:
        await trio.sleep(delay_s)
        await seller.bidder.serve(peer_id, stream)

    seller.transport.handle(CALL, serve)


async def test_a_good_bid_of_a_proven_seller_spares_the_calls_to_all_others(tmp_path: Path) -> None:
    async with open_market(tmp_path, EIGHT) as market:
        prove(market, "seller 0", "seller 1")
        assert market.names_of(await market.ask("hello")) == ["seller 0"]
        assert num_called(market) == FIRST_WAVE


async def test_while_nobody_has_proved_itself_all_are_called(tmp_path: Path) -> None:
    async with open_market(tmp_path, EIGHT) as market:
        await market.ask("hello")
        assert num_called(market) == len(EIGHT)


async def test_proven_sellers_that_are_too_dear_now_spare_no_call(tmp_path: Path) -> None:
    async with open_market(tmp_path, EIGHT, load_percent=10_000) as market:
        prove(market, "seller 0", "seller 1")
        for name in ("seller 0", "seller 1"):
            seller = market.sellers[name]
            seller.state = replace(seller.state, is_ready=False)
        await market.ask("hello")
        assert num_called(market) == len(EIGHT) - 2


@pytest.mark.parametrize(
    ("delay_s", "num_bids", "winner"),
    [
        (FIRST_WAVE_S + 0.1, FIRST_WAVE, "seller 0"),  # it is far away and cheaper
        (FIRST_BIDS_S + 0.1, FIRST_WAVE - 1, "seller 1"),  # too far away
    ],
)
async def test_with_a_good_bid_the_others_of_the_first_wave_have_a_moment_more(
    tmp_path: Path, autojump_clock: trio.testing.MockClock, delay_s: float, num_bids: int, winner: str
) -> None:
    async with open_market(tmp_path, {**EIGHT, "seller 0": 0.3}) as market:
        prove(market, "seller 0", "seller 1")
        bid_after(market.sellers["seller 0"], delay_s)
        began_s = trio.current_time()
        answered = await market.ask("hello")
        record = market.buyer.ledger.sellers.find(wallet_of("seller 0"))
        took_s = trio.current_time() - began_s
    assert market.names_of(answered) == [winner]
    assert num_called(market) == num_bids
    assert (record.failures, record.unreached) == (0, 0)
    assert took_s < FIRST_BIDS_S + 1


async def test_a_seller_that_keeps_the_others_waiting_is_called_after_them(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    async with open_market(tmp_path, EIGHT) as market:
        prove(market, "seller 0", "seller 1")
        silent = market.sellers["seller 0"]
        calls: list[float] = []

        async def say_nothing(*_: object) -> None:
            calls.append(trio.current_time())
            await trio.sleep_forever()

        silent.transport.handle(CALL, say_nothing)
        for name in ("r1", "r2", "r3"):
            assert market.names_of(await market.ask("hello", name=name)) == ["seller 1"]
    assert len(calls) == 1


async def test_a_seller_without_a_good_bid_in_time_is_joined_by_the_others(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    async with open_market(tmp_path, EIGHT) as market:
        prove(market, "seller 0", "seller 1")
        for name in ("seller 0", "seller 1"):
            bid_after(market.sellers[name], 1.0)
        await market.ask("hello")
        assert num_called(market) == len(EIGHT)


# ---- conversations


async def test_a_conversation_stays_with_its_seller_though_another_is_a_little_cheaper(tmp_path: Path) -> None:
    async with open_market(tmp_path, {"cheap": 1, "usual": 1.1}) as market:
        prove(market, "cheap", "usual")
        cheap = market.sellers["cheap"]
        cheap.state = replace(cheap.state, is_ready=False)
        assert market.names_of(await market.ask(TURNS, max_tokens=8)) == ["usual"]
        cheap.state = replace(cheap.state, is_ready=True)
        longer = (*TURNS, Message(role="assistant", content="hi"), Message(role="user", content="and you?"))
        stays = [market.names_of(await market.ask(longer, name=f"r{number}", max_tokens=8)) for number in (2, 3)]
        other = (Message(role="user", content="something else"),)
        goes = market.names_of(await market.ask(other, name="r4", max_tokens=8))
    assert (stays, goes) == ([["usual"], ["usual"]], ["cheap"])


def conversations() -> tuple[Conversations, list[float]]:
    now = [0.0]
    return Conversations(salt=b"salt", now_s=lambda: now[0]), now


def test_a_conversation_is_known_by_its_beginning_for_ten_minutes() -> None:
    known, now = conversations()
    ada = peer_id_of("ada")
    known.note(network_request(TURNS), ada)
    longer = network_request((*TURNS, Message(role="assistant", content="hi"), Message(role="user", content="more")))
    assert known.seller_of(longer) == ada
    for other in (
        network_request((Message(role="user", content="hello"),)),
        network_request(TURNS, adapter=AdapterId(word("other"))),
        network_request("hello"),
        network_request((Message(role="system", content="Be brief."),)),
    ):
        assert known.seller_of(other) is None
    now[0] = KEPT_S
    assert known.seller_of(longer) is None


def test_conversations_are_bounded_and_keep_no_text() -> None:
    known, _ = conversations()
    for number in range(KEPT_MAX + 5):
        known.note(network_request((Message(role="user", content=f"secret {number}"),)), peer_id_of("ada"))
    assert len(known._sellers) == KEPT_MAX
    assert b"secret" not in repr(known._sellers).encode()
