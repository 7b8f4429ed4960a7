"""A request goes to the best bidder, is paid to the token, and everybody hears how it went."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing
from support.market_world.liars import messages_of
from support.market_world.market import open_market
from support.market_world.requests import network_request
from support.market_world.seller import Seller, signed_ad
from support.market_world.terms import CALL, now_s, peer_id_of, price, wallet_of, word
from support.peers import say_nothing

from openledger_node.p2p.transport import PeerId
from openledger_node.payments.credit import Standing
from openledger_protocol.advertisement import OfferedAdapter
from openledger_protocol.errors import PaymentRequiredError, RequestTooLongError, UnavailableError, UnknownModelError
from openledger_protocol.primitives import AdapterId, Digest, RequestId, Wei
from openledger_protocol.wire.market import BidMessage, Won, decode, encode

from .conftest import share_harbour

Change = Callable[[BidMessage], BidMessage]


def bid_instead(seller: Seller, change: Change) -> list[Any]:
    """Change a node's bids. Returns the replies that it receives, which grow."""
    replies: list[Any] = []

    async def serve(_: PeerId, stream: trio.abc.Stream) -> None:
        messages = messages_of(stream)
        call: Any = decode(await messages.receive())
        bid = await seller.bidder._bid(peer_id_of("buyer"), call)
        await messages.send(encode(change(bid)))
        replies.append(decode(await messages.receive()))

    seller.transport.handle(CALL, serve)
    return replies


async def test_the_cheapest_of_equal_nodes_answers_and_is_paid_to_the_token(tmp_path: Path) -> None:
    async with open_market(tmp_path, {"dear": 3, "cheap": 1, "middling": 2}) as market:
        shown: list[str] = []
        answered = await market.ask("hello...", show=shown.append)
        await market.sellers["cheap"].wait_served(1)
        theirs = market.sellers["cheap"].amounts()
        paid = market.paid()
        lost = {name: [bid.reason for bid in seller.bidder.lost] for name, seller in market.sellers.items()}
        num_won = market.sellers["cheap"].bidder.num_won
    assert (answered.paid_wei, paid, theirs) == (price(8, 30), {"cheap": [price(8, 30)]}, [price(8, 30)])
    assert answered.text == "".join(shown)
    assert (len(answered.text), answered.tokens_in, answered.tokens_out) == (30, 8, 30)
    assert (answered.finish_reason, answered.why_cut) == ("length", None)
    assert (lost["cheap"], num_won) == ([], 1)
    for name in ("dear", "middling"):
        assert lost[name] == [
            "another bid was better: 1000000 wei in, 4000000 out, first token in 8 ms, then 50 a second"
        ]


async def test_an_answer_that_has_begun_goes_on_and_its_beginning_is_paid_as_prompt(tmp_path: Path) -> None:
    whole = network_request("hello...")
    async with open_market(tmp_path, {"one": 1}) as market:
        answered = await market.ask("hello...")
        begun = replace(whole.request, request_id=RequestId(word("r2")), prefix=answered.text[:10])
        rest = await market.buyer.requester.answer(replace(whole, request=begun), ignore)
        paid = market.paid()
    assert rest.text[:20] == answered.text[10:]
    assert (rest.tokens_in, paid["one"][1]) == (18, price(18, 30))


async def ignore(_: str) -> None:
    pass


async def test_a_dearer_bid_than_the_floor_is_paid_as_it_was_bid(tmp_path: Path) -> None:
    async with open_market(tmp_path, {"busy": 1}) as market:
        busy = market.sellers["busy"]
        busy.state = replace(busy.state, num_live=32)  # of 64: a quarter more
        answered = await market.ask("hello...")
        await busy.wait_served(1)
        amounts = busy.amounts()
    assert answered.paid_wei == price(8, 30, 1.25)
    assert amounts == [price(8, 30, 1.25)]


async def test_an_adapter_is_asked_of_those_who_have_it(tmp_path: Path) -> None:
    adapter = share_harbour(tmp_path)
    async with open_market(tmp_path, {"with": 3, "without": 1}, load_percent=0) as market:
        seller = market.sellers["with"]
        seller.warm = (OfferedAdapter(id=adapter.id, name="harbour"),)
        assert market.buyer.ads.learn(seller.ad(seq=1 << 62))
        resolved = market.buyer.ads.resolve("harbour")
        market.chain.register(adapter.manifest)
        answered = await market.ask("hello...", adapter=resolved.adapter, model="harbour")
        seller.cold = (AdapterId(word("ferry")),)
        assert market.buyer.ads.learn(seller.ad(seq=(1 << 62) + 1))
        with pytest.raises(UnknownModelError, match=f"adapter {word('ferry')} is not registered"):
            await market.ask("hello...", adapter=AdapterId(word("ferry")), model="ferry", name="r2")
    assert market.names_of(answered) == ["with"]
    assert answered.parts[0].bought is not None
    assert answered.parts[0].bought.receipt.adapter_id == adapter.id


BAD_BIDS: dict[str, tuple[Change, str]] = {
    "another's wallet": (
        lambda bid: replace(bid, wallet=wallet_of("stranger")),
        f"bids with wallet {wallet_of('stranger')}, and advertises",
    ),
    "another's signer": (lambda bid: replace(bid, signer=wallet_of("stranger")), "bids with signer"),
    "another profile": (lambda bid: replace(bid, profile_hash=Digest(word("x"))), "bids with profile_hash"),
    "another algorithm": (lambda bid: replace(bid, algo_id=5), "bids with algo_id 5, and advertises 1"),
    "another index": (lambda bid: replace(bid, index_root=Digest(word("x"))), "has an index with root"),
    "another request": (lambda bid: replace(bid, id=word("other")), f"for request {word('other')}, not for"),
    "too short a context": (lambda bid: replace(bid, context_max=8), "has a context of 8 tokens, and 38 are needed"),
    "too dear": (
        lambda bid: replace(bid, terms=replace(bid.terms, price_out_wei=Wei(10**20))),
        "over the ceiling in its advertisement",
    ),
}


@pytest.mark.parametrize("case", BAD_BIDS)
async def test_a_bid_that_does_not_count_is_passed_over_and_its_bidder_hears_why(tmp_path: Path, case: str) -> None:
    change, why = BAD_BIDS[case]
    async with open_market(tmp_path, {"bad": 1, "good": 2}) as market:
        bad = market.sellers["bad"]
        replies = bid_instead(bad, change)
        answered = await market.ask("hello...")
        await trio.testing.wait_all_tasks_blocked()
        (told,) = replies
        amounts = bad.amounts()
    assert market.names_of(answered) == ["good"]
    assert amounts == []
    assert why in told.reason


async def say_garbage(stream: trio.abc.Stream) -> None:
    await stream.receive_some(100)
    await stream.send_all(b"\x00\x00\x00\x04nope")


async def say_won(stream: trio.abc.Stream) -> None:
    await stream.receive_some(100)
    await messages_of(stream).send(encode(Won(id=word("r1"))))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (say_garbage, "msgpack"),
        (say_won, "a bidder answers a call with a bid or an error"),
        (say_nothing, r"no bid within 1.5 s"),
        (lambda stream: stream.receive_some(100), "the other side ended the stream"),
    ],
)
async def test_a_bidder_that_makes_no_sense_is_passed_over_and_remembered(
    tmp_path: Path,
    answer: Callable[[trio.abc.Stream], Awaitable[None]],
    why: str,
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_market(tmp_path, {"odd": 1, "good": 2}) as market:
        market.sellers["odd"].transport.handle(CALL, lambda _, stream: answer(stream))
        began = trio.current_time()
        answered = await market.ask("hello...")
        took_s = trio.current_time() - began
        record = market.buyer.ledger.sellers.find(market.sellers["odd"].state.wallet)
        told = market.buyer.requester.asked.find(peer_id_of("odd")).why
    assert market.names_of(answered) == ["good"]
    assert why in str(told)
    assert took_s < 2.5
    assert record.failures == 1


async def test_a_model_that_nobody_offers_is_refused_by_its_name(tmp_path: Path) -> None:
    async with open_market(tmp_path, {"a": 1}) as market:
        with pytest.raises(UnknownModelError, match="nobody on the network offers 'ferry' just now"):
            await market.ask(adapter=AdapterId(word("ferry")), model="ferry")
        with pytest.raises(UnknownModelError, match=f"'gemma' is for base {word('gemma')}, whose tokenizer is not"):
            await market.ask(base=Digest(word("gemma")), model="gemma")


async def test_our_own_advertisement_is_no_offer_to_us(tmp_path: Path) -> None:
    async with open_market(tmp_path, {}) as market:
        market.buyer.ads._own = None
        assert market.buyer.ads.learn(signed_ad("buyer", at_s=now_s()))
        with pytest.raises(UnavailableError, match="nobody could answer 'fake': no other node offers it"):
            await market.ask()


async def test_a_prompt_that_fits_nobodys_context_is_refused_with_the_longest(tmp_path: Path) -> None:
    async with open_market(tmp_path, {"a": 1}) as market:
        with pytest.raises(RequestTooLongError, match="has 4096 tokens; with its answer it may have 4096 on the net"):
            await market.ask("x" * 4_096)
        answered = await market.ask("x" * 4_090 + "...", name="r2", max_tokens=500)
    assert len(answered.text) == 3


async def test_a_chain_that_does_not_answer_is_said_and_costs_nothing(tmp_path: Path) -> None:
    async with open_market(tmp_path, {"a": 1, "b": 2}) as market:
        market.chain.is_down = True
        with pytest.raises(UnavailableError, match=r"nobody could answer.*the endpoint does not answer"):
            await market.ask("hello...")
        harbour = OfferedAdapter(id=AdapterId(word("h")), name="h")
        assert market.buyer.ads.learn(market.sellers["a"].ad(seq=1 << 62, warm=(harbour,)))
        with pytest.raises(UnavailableError, match="the chain can't be asked for the adapter's entry"):
            await market.ask("hello...", adapter=harbour.id, model="h")
        assert market.buyer.ledger.channels.all() == []


async def test_when_all_are_too_dear_for_the_request_each_says_so(tmp_path: Path) -> None:
    limit = price(8, 20)
    async with open_market(tmp_path, {"a": 1, "b": 2}, request_max_wei=limit) as market:
        with pytest.raises(
            PaymentRequiredError, match=f"accepts, with {limit} wei left for this request: 12D3.*12D3"
        ):
            await market.ask("hello...", max_tokens=100)
        assert market.buyer.ledger.channels.all() == []


async def test_an_answer_ends_where_the_request_may_cost_no_more(tmp_path: Path) -> None:
    limit = price(8, 50)
    async with open_market(tmp_path, {"a": 1, "b": 2}, request_max_wei=limit) as market:
        answered = await market.ask("hello...", max_tokens=100)
    assert (len(answered.text), answered.finish_reason, answered.paid_wei) == (50, "length", limit)
    assert isinstance(answered.why_cut, PaymentRequiredError)
    assert market.names_of(answered) == ["a"]


async def test_a_day_may_cost_so_much_over_restarts_too_and_the_next_begins_anew(tmp_path: Path) -> None:
    limit = 2 * price(8, 30) + price(8, 10)
    async with open_market(tmp_path, {"a": 1}, day_max_wei=limit) as market:
        await market.ask("hello...")
    async with open_market(tmp_path, {"a": 1}, day_max_wei=limit) as market:
        await market.ask("hello...", name="r2")
        with pytest.raises(PaymentRequiredError, match=r"of today's [0-9]+ wei are left: raise \[payer\]"):
            await market.ask("hello...", name="r3")
        market.clock.now_ns += 86_400 * 10**9
        await market.ask("hello...", name="r4")


async def test_requests_beside_each_other_share_one_day(tmp_path: Path) -> None:
    async with open_market(tmp_path, {"a": 1}, day_max_wei=price(8, 40)) as market:
        spending_limit = market.buyer.requester.spending_limit
        await spending_limit.hold(RequestId(word("r2")), least_wei=Wei(1), most_wei=price(8, 39))
        with pytest.raises(PaymentRequiredError, match="of today's"):
            await market.ask("hello...")


async def test_a_payer_that_can_not_pay_is_told_so_and_no_node_is_blamed(tmp_path: Path) -> None:
    async with open_market(tmp_path, {"a": 1}) as market:
        market.chain.other = Standing()
        with pytest.raises(PaymentRequiredError, match="the latest block has no deposit of this channel"):
            await market.ask("hello...")
        record = market.buyer.ledger.sellers.find(market.sellers["a"].state.wallet)
    assert (record.failures, record.aborted) == (0, 0)
