"""A bid is what the node can stand by: at least its floor, refused with a reason, and honoured while it is good."""

from dataclasses import replace
from typing import Any

import pytest
import trio
import trio.testing
from support.market_world.liars import messages_of
from support.market_world.seller import seller_state
from support.market_world.terms import BASE, CALL, TERMS, peer_id_of, priced, word
from support.offers import CALL as CALL_MESSAGE

from openledger_node.errors import ChainError
from openledger_node.market import bidder as bidding
from openledger_node.market.bidder import Bidder
from openledger_node.market.offer import PricePolicy, Sellable, SellerState, make_bid, terms_asked
from openledger_node.p2p.transports.memory import MemoryNetwork, MemoryTransport
from openledger_protocol.errors import UnknownModelError
from openledger_protocol.payments import Terms
from openledger_protocol.primitives import BASE_ONLY, ZERO_DIGEST, AdapterId, Digest, RequestId, Wei
from openledger_protocol.wire.inference import ErrorMessage, Ping
from openledger_protocol.wire.inference import encode as encode_inference
from openledger_protocol.wire.market import BidMessage, Call, Lost, MarketMessage, Won, decode, encode

pytestmark = pytest.mark.usefixtures("autojump_clock")

STATE = seller_state("ada", PricePolicy(floor=TERMS, load_percent=50))
CALLED = replace(
    CALL_MESSAGE,
    base=BASE,
    adapter=BASE_ONLY,
    price_in_max=Wei(2 * TERMS.price_in_wei),
    price_out_max=Wei(2 * TERMS.price_out_wei),
)
BEN, CLEO = peer_id_of("ben"), peer_id_of("cleo")
OTHER_ID = RequestId(word("other"))


async def find(adapter: AdapterId) -> Sellable:
    if adapter == word("unregistered"):
        raise UnknownModelError("it is not registered on this network")
    if adapter == word("unasked"):
        raise ChainError("the endpoint does not answer")
    if adapter == word("slow"):
        await trio.sleep(100)
    return Sellable(index_root=ZERO_DIGEST, is_warm=adapter != word("cold"))


class Caller:
    """Peers that call one bidder."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self.network, self.nursery = MemoryNetwork(), nursery
        self.bidder = Bidder(state=lambda: self.state, find=find)
        self.state: SellerState = STATE
        self.node = MemoryTransport(self.network, peer_id_of("ada"))
        self.node.handle(CALL, self.bidder.serve)

    async def start(self) -> "Caller":
        await self.nursery.start(self.node.run)
        for name in ("ben", "cleo"):
            await self.nursery.start(MemoryTransport(self.network, peer_id_of(name)).run)
        return self

    async def say(self, *messages: MarketMessage, by: str = "ben"):  # type: ignore[no-untyped-def]
        stream = await self.network.peers[peer_id_of(by)].open_stream(self.node.peer_id, CALL)
        opened = messages_of(stream)
        for message in messages:
            await opened.send(encode(message))
        return opened

    async def ask(self, call: Call = CALLED, *, by: str = "ben") -> Any:
        received = decode(await (await self.say(call, by=by)).receive())
        assert isinstance(received, BidMessage | ErrorMessage)
        return received


@pytest.fixture
async def caller(nursery: trio.Nursery) -> Caller:
    return await Caller(nursery).start()


async def test_a_bid_says_what_its_receipt_will_and_stands_for_a_while(caller: Caller) -> None:
    assert caller.bidder.terms_of(BEN, CALLED.id) is None
    bid = await caller.ask()
    assert (bid.id, bid.wallet, bid.signer, bid.terms) == (CALLED.id, STATE.wallet, STATE.signer, TERMS)
    assert (bid.ttft_ms, bid.tokens_per_s, bid.queue, bid.is_warm) == (100, 50, 0, True)
    assert caller.bidder.terms_of(BEN, CALLED.id) == TERMS
    await trio.sleep(bid.valid_ms / 1_000)
    assert caller.bidder.terms_of(BEN, CALLED.id) == TERMS
    await trio.sleep(0.1)
    assert caller.bidder.terms_of(BEN, CALLED.id) is None


async def test_calls_are_counted_by_adapter_and_those_that_are_not_here_apart(caller: Caller) -> None:
    unregistered = AdapterId(word("unregistered"))
    await caller.ask()
    await caller.ask(replace(CALLED, price_in_max=Wei(0)))
    await caller.ask(replace(CALLED, adapter=unregistered))
    await caller.ask(replace(CALLED, base=Digest(word("gemma"))))
    demand, lacking = caller.bidder.demand.day(), caller.bidder.lacking.day()
    assert [(row.key, row.count) for row in demand] == [(BASE_ONLY, 2), (unregistered, 1)]
    assert [(row.key, row.count) for row in lacking] == [(unregistered, 1)]


@pytest.mark.parametrize(("allowed", "asked"), [(9, 6), (5, 3), (3, 3)])
def test_a_surcharge_over_twice_the_floor_is_lowered_where_the_call_allows_no_more(allowed: int, asked: int) -> None:
    state = replace(STATE, policy=PricePolicy(floor=TERMS, load_percent=500), num_live=64)
    most = priced(TERMS, allowed)
    call = replace(CALLED, price_in_max=most.price_in_wei, price_out_max=most.price_out_wei)
    bid = make_bid(call, state, Sellable(index_root=ZERO_DIGEST, is_warm=True))
    assert bid.terms == priced(TERMS, asked)


@pytest.mark.parametrize(
    ("call", "state", "code", "why"),
    [
        ({}, {"is_ready": False}, "unavailable", "takes no requests just now"),
        ({"base": Digest(word("gemma"))}, {}, "unknown_model", f"base {word('gemma')} is not served here"),
        ({}, {"num_live": 64}, "overloaded", "64 requests wait or run here already"),
        ({"tokens_max": 3_997}, {}, "request_too_long", "need 4097 tokens; they may have 4096 here"),
        ({"price_in_max": Wei(999_999)}, {}, "payment_required", "cost 1000000 wei in and 4000000 wei out here"),
        ({"price_out_max": Wei(3_999_999)}, {}, "payment_required", "the call allows 2000000 and 3999999"),
        ({"adapter": AdapterId(word("unregistered"))}, {}, "unknown_model", "not registered on this network"),
        ({"adapter": AdapterId(word("unasked"))}, {}, "unavailable", "can't bid just now"),
        ({"adapter": AdapterId(word("slow"))}, {}, "stale", "before the deadline"),
    ],
)
async def test_a_call_that_can_not_be_served_is_refused_with_the_reason(
    call: dict[str, object], state: dict[str, object], code: str, why: str, caller: Caller
) -> None:
    caller.state = replace(STATE, **state)  # type: ignore[arg-type]
    told = await caller.ask(replace(CALLED, **call))  # type: ignore[arg-type]
    assert (told.code, why in told.message) == (code, True), told.message
    assert caller.bidder.terms_of(BEN, CALLED.id) is None


async def test_a_bid_that_won_or_lost_is_remembered_as_that_with_a_reason_fit_for_a_terminal(caller: Caller) -> None:
    silent, dear = RequestId(word("r2")), RequestId(word("r3"))
    words = (Won(id=CALLED.id), None, Lost(id=dear, reason="another bid was better: 7 wei in, 8 out\x1b[31m"))
    for request_id, told in zip((CALLED.id, silent, dear), words, strict=True):
        opened = await caller.say(replace(CALLED, id=request_id))
        await opened.receive()
        if told:
            await opened.send(encode(told))
        else:
            await opened.aclose()
        await trio.testing.wait_all_tasks_blocked()
    won, left, lost = caller.bidder.book.last_hour()
    assert (won.fate, left.fate, lost.fate, lost.winner_price_wei) == ("won", "lost", "lost", 15)
    assert [bid.reason for bid in caller.bidder.lost] == [
        "the requester left without a word",
        "another bid was better: 7 wei in, 8 out [31m",
    ]


@pytest.mark.parametrize(
    ("frames", "why"),
    [
        ([encode(Won(id=CALLED.id))], "a stream begins with `call`"),
        ([encode_inference(Ping())], "a message has no t 'ping'"),
        ([], "a stream begins with `call`"),
    ],
    ids=["a word", "another protocol", "silence"],
)
async def test_a_stream_without_a_call_is_refused(caller: Caller, frames: list[dict[str, object]], why: str) -> None:
    opened = await caller.say()
    for frame in frames:
        await opened.send(frame)
    told: Any = decode(await opened.receive())
    assert (told.code, why in told.message) == ("malformed", True), told.message


@pytest.mark.parametrize("told", [Won(id=OTHER_ID), Lost(id=OTHER_ID, reason="too dear")])
async def test_only_a_word_about_the_same_request_follows_a_bid(caller: Caller, told: MarketMessage) -> None:
    opened = await caller.say(CALLED)
    await opened.receive()
    await opened.send(encode(told))
    refused: Any = decode(await opened.receive())
    assert refused.message == "only `won` or `lost` follows a bid, for the same request"


async def test_a_peer_may_have_so_many_calls_open_and_another_is_not_slower_for_it(caller: Caller) -> None:
    kept = [await caller.say() for _ in range(bidding.CALLS_PER_PEER_MAX)]
    await trio.testing.wait_all_tasks_blocked()
    told = await caller.ask()
    assert (told.code, told.message) == ("overloaded", "64 calls of yours are open here already: try again soon")
    assert isinstance(await caller.ask(by="cleo"), BidMessage)
    for opened in kept:
        await opened.aclose()
    await trio.testing.wait_all_tasks_blocked()
    assert isinstance(await caller.ask(replace(CALLED, id=RequestId(word("r2")))), BidMessage)


async def test_places_of_silent_callers_are_given_to_others(caller: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nine peers used to hold all places for as long as their own deadlines said."""
    monkeypatch.setattr(bidding, "CALLS_MAX", 8)
    long = replace(CALLED, deadline_ms=2**32 - 1)
    kept = [await caller.say(replace(long, id=RequestId(word(f"held {n}")))) for n in range(8)]
    for opened in kept:
        await opened.receive()
    began = trio.current_time()
    assert isinstance(await caller.ask(by="cleo"), BidMessage)
    assert trio.current_time() - began < 1
    assert caller.bidder.terms_of(BEN, RequestId(word("held 0"))) == TERMS, "its bid stands"
    told = await caller.ask(replace(CALLED, id=RequestId(word("one more"))))
    assert told.message == "8 calls are open here already: try again soon", "a greedy peer displaces nobody"
    await trio.sleep(bidding.DEADLINE_S_MAX + bidding.WORD_TIMEOUT_S + 1)
    assert not caller.bidder._open


async def test_peers_with_many_bids_leave_room_for_others(caller: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bidding, "BIDS_MAX", 4)
    ids = [RequestId(word(f"r{number}")) for number in range(6)]
    for request_id in ids[:4]:
        assert isinstance(await caller.ask(replace(CALLED, id=request_id)), BidMessage)
    for request_id in ids[4:]:
        assert isinstance(await caller.ask(replace(CALLED, id=request_id), by="cleo"), BidMessage)
    standing = [caller.bidder.terms_of(CLEO, request_id) is not None for request_id in ids[4:]]
    kept = [caller.bidder.terms_of(BEN, request_id) is not None for request_id in ids[:4]]
    assert (standing, kept) == ([True, True], [False, False, True, True])
    refused = await caller.ask(replace(CALLED, id=ids[0]))
    assert isinstance(refused, ErrorMessage), "both have as many"
    assert "stand already" in refused.message


async def test_a_peer_that_uses_another_peers_id_neither_shuts_it_out_nor_changes_its_terms(caller: Caller) -> None:
    assert isinstance(await caller.ask(by="cleo"), BidMessage)  # it was called too, and calls the others first
    caller.state = replace(STATE, num_live=32)
    assert isinstance(await caller.ask(), BidMessage)
    assert caller.bidder.terms_of(CLEO, CALLED.id) == TERMS
    assert caller.bidder.terms_of(BEN, CALLED.id) != TERMS


def terms(price_in: int, price_out: int) -> Terms:
    return Terms(price_in_wei=Wei(price_in), price_out_wei=Wei(price_out))


@pytest.mark.parametrize(
    ("num_live", "is_warm", "asked"),
    [
        (0, True, terms(100, 1_001)),
        (5, True, terms(125, 1_252)),  # rounded up
        (10, True, terms(150, 1_502)),
        (0, False, terms(110, 1_102)),
        (10, False, terms(160, 1_602)),
    ],
)
def test_prices_rise_with_the_queue_and_for_what_must_be_loaded(num_live: int, is_warm: bool, asked: Terms) -> None:
    policy = PricePolicy(floor=terms(100, 1_001), load_percent=50, cold_percent=10)
    assert terms_asked(policy, num_live=num_live, queue_max=10, is_warm=is_warm) == asked
    free = replace(policy, floor=terms(0, 0))
    assert terms_asked(free, num_live=num_live, queue_max=10, is_warm=is_warm) == terms(0, 0)


def test_the_time_to_the_first_token_counts_loading_queue_adapter_and_prompt() -> None:
    busy = replace(STATE, reload_ms=8_000, num_live=67, slots=4, answer_ms=2_000, queue_max=100)
    bid = make_bid(CALLED, busy, Sellable(index_root=ZERO_DIGEST, is_warm=False))
    assert (bid.queue, bid.ttft_ms) == (63, 8_000 + 64 * 2_000 // 4 + 500 + 100)
