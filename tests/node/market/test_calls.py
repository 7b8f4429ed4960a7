"""Calls for bids: three sellers first, the others without a good bid; nobody far or silent holds one up."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import trio
import trio.testing
from support.market_world.market import Market, open_market
from support.market_world.requests import network_request
from support.market_world.seller import Seller
from support.market_world.terms import CALL, INFER, NETWORK, peer_id_of, wallet_of, word
from support.peers import say_nothing

from openledger_node.ledger.sellers import AnswerSpeed, SellerRecord
from openledger_node.market import calls
from openledger_node.market.caller import KEPT_MAX, KEPT_S, Conversations
from openledger_node.market.calls import FIRST_WAVE
from openledger_node.market.own_line import ANSWER_S, PEERS_MIN, OwnLine
from openledger_node.market.reachable import open_to
from openledger_node.p2p.transport import PeerId, Transport
from openledger_node.p2p.transports.memory import MemoryNetwork, MemoryTransport
from openledger_protocol.advertisement import Advertisement
from openledger_protocol.errors import UnavailableError
from openledger_protocol.inference import Message
from openledger_protocol.primitives import AdapterId

pytestmark = pytest.mark.usefixtures("autojump_clock")


EIGHT = {f"seller {number}": 1 + number / 100 for number in range(8)}
TURNS = (Message(role="system", content="Be brief."), Message(role="user", content="hello"))


def prove(market: Market, *names: str) -> None:
    """Have sellers proved themselves to the buyer, as far as its own records say."""
    sample = AnswerSpeed(ttft_ms=8, num_tokens=50, stream_ms=1_000)
    for name in names:
        for _ in range(20):
            market.buyer.ledger.sellers.note(wallet_of(name), "successes", now_ns=0, sample=sample)


def bid_after(seller: Seller, delay_s: float) -> None:
    async def serve(peer_id: PeerId, stream: trio.abc.Stream) -> None:
        await trio.sleep(delay_s)
        await seller.bidder.serve(peer_id, stream)

    seller.transport.handle(CALL, serve)


@pytest.mark.parametrize(
    ("proven", "delay_s", "count"),
    [(("seller 0", "seller 1"), 0.0, FIRST_WAVE), (("seller 0", "seller 1"), 1.0, len(EIGHT)), ((), 0.0, len(EIGHT))],
    ids=["a good bid", "no good bid in time", "nobody has proved itself"],
)
async def test_a_good_bid_spares_calls(tmp_path: Path, proven: tuple[str, ...], delay_s: float, count: int) -> None:
    async with open_market(tmp_path, EIGHT) as market:
        prove(market, *proven)
        for name in proven:
            bid_after(market.sellers[name], delay_s)
        await market.ask("hello")
        assert sum(seller.bidder.num_bids for seller in market.sellers.values()) == count


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


LIMIT_S = 1.5
TRAVEL_S = LIMIT_S + calls.WAY_S


def delay(monkeypatch: pytest.MonkeyPatch, market: Market, name: str, delay_s: float) -> None:
    """Let it take so long until this seller is reached."""
    far = market.sellers[name].transport.peer_id

    async def open_late(transport: Transport, ad: Advertisement, protocol: str) -> trio.abc.Stream:
        if ad.peer_id == far:
            await trio.sleep(delay_s)
        return await open_to(transport, ad, protocol)

    monkeypatch.setattr(calls, "open_to", open_late)


@pytest.mark.parametrize("delay_s", [LIMIT_S - 0.1, LIMIT_S + 0.1, TRAVEL_S - 0.1, TRAVEL_S + 0.1])
async def test_the_only_seller_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, delay_s: float) -> None:
    async with open_market(tmp_path, {"far": 1}) as market:
        delay(monkeypatch, market, "far", delay_s)
        if delay_s < TRAVEL_S:
            assert market.names_of(await market.ask("hello")) == ["far"]
        else:
            with pytest.raises(UnavailableError, match="not reached"):
                await market.ask("hello")


async def test_with_a_bid_nobody_else_is_waited_for_longer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_market(tmp_path, {"far": 0.5, "near": 1}) as market:
        delay(monkeypatch, market, "far", LIMIT_S + 0.5)
        began_s = trio.current_time()
        assert market.names_of(await market.ask("hello")) == ["near"]
        assert trio.current_time() - began_s < LIMIT_S + 0.4


def silence(market: Market, name: str) -> None:
    market.sellers[name].transport.handle(INFER, say_nothing)


def record_of(market: Market, name: str) -> SellerRecord:
    return market.buyer.ledger.sellers.find(market.sellers[name].state.wallet)


@pytest.mark.parametrize("times", [0.5, 0.0])
async def test_a_seller_that_never_answers_holds_one_request_for_five_seconds(tmp_path: Path, times: float) -> None:
    """Its price does not help it once, whether half of the usual one or nothing, after its time is over either."""
    async with open_market(tmp_path, {"silent": times, "honest": 1}) as market:
        silence(market, "silent")
        took_s = list[float]()
        for number in range(4):
            began_s = trio.current_time()
            answered = await market.ask("hello...", name=f"r{number}")
            took_s.append(trio.current_time() - began_s)
            assert market.names_of(answered) == ["honest"]
            market.clock.now_ns += 60 * 10**9
        record = record_of(market, "silent")
    assert 5 <= took_s[0] < 7
    assert max(took_s[1:]) < 2
    assert (record.failures, record.defaults) == (1, 1)


async def test_the_only_seller_has_the_whole_stall_timeout_and_is_called_again_after_its_time(tmp_path: Path) -> None:
    async with open_market(tmp_path, {"silent": 1}) as market:
        serve = market.sellers["silent"].serve
        silence(market, "silent")
        began_s = trio.current_time()
        with pytest.raises(UnavailableError, match="gave nothing for 15 s"):
            await market.ask("hello...")
        took_s = trio.current_time() - began_s
        market.sellers["silent"].transport.handle(INFER, serve)
        market.clock.now_ns += 60 * 10**9
        answered = await market.ask("hello...", name="r2")
        assert market.names_of(answered) == ["silent"]
        record = record_of(market, "silent")
    assert 15 <= took_s < 18
    assert (record.successes, record.defaults) == (1, 1)


NAMES = {"a": 0.5, "b": 1.0, "c": 1.0, "d": 1.0}


def drop_line(market: Market) -> None:
    """Lose all connections of the buyer at once, as when its Wi-Fi goes."""
    for peer_id in market.buyer.transport.connected():
        market.buyer.transport.cut(peer_id)


@pytest.mark.parametrize(
    ("fail", "aborted"), [(drop_line, 0), (lambda market: market.buyer.transport.cut(peer_id_of("a")), 1)]
)
async def test_a_seller_that_leaves_is_blamed(tmp_path: Path, fail: Callable[[Market], None], aborted: int) -> None:
    async with open_market(tmp_path, NAMES) as market:
        seen: list[str] = []

        def show(text: str) -> None:
            if not seen:
                fail(market)
            seen.append(text)

        await market.ask("on...", max_tokens=60, show=show)
        record = record_of(market, "a")
    assert (record.aborted, record.failures, record.defaults) == (aborted, 0, aborted)


class Line(MemoryTransport):
    """A node whose line may be dead: its connections stand, and nothing comes."""

    def __init__(self, network: MemoryNetwork) -> None:
        super().__init__(network, PeerId("me"))
        self.is_dead = False
        self.num_opened = 0

    async def open_stream(self, peer_id: PeerId, protocol: str) -> trio.abc.Stream:
        self.num_opened += 1
        if self.is_dead:
            await trio.sleep_forever()
        return await super().open_stream(peer_id, protocol)


@pytest.mark.parametrize(
    ("num_others", "is_dead", "num_left", "is_gone"),
    [
        (PEERS_MIN - 1, True, 1, False),  # one silent peer says nothing about the line
        (PEERS_MIN, False, PEERS_MIN, False),  # they refuse the protocol, so they are there
        (PEERS_MIN, True, PEERS_MIN, True),
        (PEERS_MIN, False, 0, True),  # all connections are lost
        (9, True, 1, True),
    ],
)
async def test_the_line_is_gone_if_no_other_peer_is_heard(
    num_others: int, is_dead: bool, num_left: int, is_gone: bool
) -> None:
    network = MemoryNetwork()
    me, others = Line(network), [MemoryTransport(network, PeerId(f"peer {number}")) for number in range(num_others)]
    line = OwnLine(me, network=NETWORK, salt=b"salt")
    async with trio.open_nursery() as nursery:
        for transport in (me, *others):
            await nursery.start(transport.run)
        for other in others:
            await me.connect(other.addresses[0])
        beside = line.beside((PeerId("a seller"),))
        for other in others[num_left:]:
            me.cut(other.peer_id)
        me.is_dead = is_dead
        began_s = trio.current_time()
        assert await line.is_gone(beside) is is_gone
        assert trio.current_time() - began_s <= ANSWER_S
        assert me.num_opened <= 4
        nursery.cancel_scope.cancel()


async def test_the_asked_sellers_do_not_vouch_for_each_other() -> None:
    network = MemoryNetwork()
    me, seller = Line(network), MemoryTransport(network, PeerId("seller"))
    async with trio.open_nursery() as nursery:
        await nursery.start(me.run)
        await nursery.start(seller.run)
        await me.connect(seller.addresses[0])
        assert OwnLine(me, network=NETWORK, salt=b"").beside((PeerId("seller"),)) == frozenset()
        nursery.cancel_scope.cancel()
