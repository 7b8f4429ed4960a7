"""A seller is judged by its staked wallet: peer ids cost nothing, and a claim of speed is worth what was measured."""

from collections.abc import Awaitable, Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing
from support.market_world import terms
from support.market_world.liars import messages_of
from support.market_world.market import Market, open_market
from support.market_world.seller import ad_of
from support.market_world.terms import CHUNK_TOKENS, now_s, peer_id_of, price, priced, seed_of, signer_of, wallet_of
from support.offers import BID

from openledger_node.ledger.sellers import FIRST_BAR_NS
from openledger_node.p2p.transport import PeerId
from openledger_node.p2p.transports.memory import MemoryTransport
from openledger_node.payments.accounts import LaneAccount
from openledger_protocol.advertisement import sign_advertisement, sign_binding
from openledger_protocol.errors import MalformedError, OverloadedError, UnavailableError
from openledger_protocol.payments import channel_id
from openledger_protocol.primitives import ZERO_DIGEST, Address
from openledger_protocol.wire.inference import encode as encode_inference
from openledger_protocol.wire.inference import error_message
from openledger_protocol.wire.market import BidMessage, decode, encode

CHEAP = priced(terms.TERMS, 0.1)
Answer = Callable[[trio.abc.Stream], Awaitable[None]]


async def take_the_voucher(stream: trio.abc.Stream) -> None:
    """Read the first message, which pays for the prompt and a chunk, and hang up."""
    await messages_of(stream).receive()


async def refuse(stream: trio.abc.Stream) -> None:
    messages = messages_of(stream)
    await messages.receive()
    await messages.send(encode_inference(error_message(OverloadedError("full"))))


async def call_malformed(stream: trio.abc.Stream) -> None:
    messages = messages_of(stream)
    await messages.receive()
    await messages.send(encode_inference(error_message(MalformedError("no such schema"))))


async def talk_nonsense(stream: trio.abc.Stream) -> None:
    messages = messages_of(stream)
    await messages.receive()
    await messages.send({"v": 1, "t": "nonsense"})


class Sybil:
    """A peer id of a wallet, which bids below everyone and has no engine. It counts calls and paid streams."""

    def __init__(
        self, name: str, transport: MemoryTransport, wallet: Address, signer: str, answer: Answer = take_the_voucher
    ) -> None:
        binding = sign_binding(terms.key_of(signer), terms.NETWORK, transport.peer_id, wallet)
        at = {"at_s": now_s(), "wallet": wallet, "signer": signer_of(signer.removesuffix(" signer"))}
        self.ad = ad_of(name, **at, terms=CHEAP, binding=binding, tokens_per_s=10**6)
        self.content = sign_advertisement(self.ad, seed_of(name))
        self.num_calls = self.num_paid = 0
        self._answer = answer
        transport.handle(terms.CALL, self._bid)
        transport.handle(terms.INFER, self._serve)

    async def _bid(self, _: PeerId, stream: trio.abc.Stream) -> None:
        self.num_calls += 1
        messages = messages_of(stream)
        call: Any = decode(await messages.receive())
        told = {each.name: getattr(self.ad, each.name) for each in fields(BidMessage) if hasattr(self.ad, each.name)}
        bid = replace(BID, **told, id=call.id, index_root=ZERO_DIGEST, queue=0, ttft_ms=0)
        await messages.send(encode(bid))
        await messages.receive()

    async def _serve(self, _: PeerId, stream: trio.abc.Stream) -> None:
        self.num_paid += 1
        await self._answer(stream)


async def open_sybils(
    market: Market,
    count: int,
    *,
    wallet: str = "thief",
    signer: str = "thief signer",
    answer: Answer = take_the_voucher,
) -> list[Sybil]:
    """Open so many peer ids of one wallet, and have the buyer hear of all of them."""
    sybils = []
    for number in range(count):
        name = f"{signer} {number}"
        transport = MemoryTransport(market.buyer.transport._network, peer_id_of(name))
        sybil = Sybil(name, transport, wallet_of(wallet), signer, answer)
        await market.nursery.start(transport.run)
        assert market.buyer.ads.learn(sybil.content), market.buyer.ads.why_refused
        sybils.append(sybil)
    return sybils


def ceiling_with(market: Market, name: str) -> int:
    """All that the buyer has ever signed for a wallet."""
    row = market.buyer.ledger.channels.find(channel_id(terms.config_with(wallet_of(name)), terms.DOMAIN))
    return row.ceiling_wei if row else 0


async def test_forty_peers_of_one_wallet_cost_a_payer_one_prompt_and_chunk(tmp_path: Path) -> None:
    async with open_market(tmp_path, {"honest": 1}) as market:
        sybils = await open_sybils(market, 40)
        for number in range(4):
            answered = await market.ask("hello...", name=f"r{number}")
            assert market.names_of(answered) == ["honest"]
        assert sum(sybil.num_paid for sybil in sybils) == 1
        assert ceiling_with(market, "thief") == price(8, CHUNK_TOKENS, 0.1)


async def test_requests_at_the_same_time_pay_a_new_wallet_once_too(tmp_path: Path) -> None:
    names: list[str] = []

    async def ask(market: Market, number: int) -> None:
        names.extend(market.names_of(await market.ask("hello...", name=f"r{number}")))

    async with open_market(tmp_path, {"honest": 1}) as market:
        sybils = await open_sybils(market, 9)
        async with trio.open_nursery() as asking:
            for number in range(9):
                asking.start_soon(ask, market, number)
        assert sum(sybil.num_paid for sybil in sybils) == 1
        assert ceiling_with(market, "thief") == price(8, CHUNK_TOKENS, 0.1)
    assert names == ["honest"] * 9


async def test_where_nobody_else_sells_a_thief_is_not_paid_again_either_before_its_time(tmp_path: Path) -> None:
    async with open_market(tmp_path, {}) as market:
        sybils = await open_sybils(market, 3)
        with pytest.raises(UnavailableError, match="nobody could answer 'fake'"):
            await market.ask("hello...")
        with pytest.raises(UnavailableError, match=r"did not finish its answer; it is called again in \d+ s"):
            await market.ask("hello...", name="r2")
        assert sum(sybil.num_paid for sybil in sybils) == 1
        market.clock.now_ns += FIRST_BAR_NS
        with pytest.raises(UnavailableError):
            await market.ask("hello...", name="r3")
        assert sum(sybil.num_paid for sybil in sybils) == 2


async def test_a_request_that_two_wallets_call_malformed_is_the_clients_fault(tmp_path: Path) -> None:
    async with open_market(tmp_path, {"third": 1}) as market:
        first = await open_sybils(market, 9, answer=call_malformed)
        second = await open_sybils(market, 9, wallet="other", signer="other signer", answer=call_malformed)
        with pytest.raises(MalformedError, match="no such schema"):
            await market.ask("hello...")
        records = [market.buyer.ledger.sellers.find(wallet_of(name)) for name in ("thief", "other")]
    assert [sum(sybil.num_paid for sybil in sybils) for sybils in (first, second)] == [1, 1]
    assert [(record.failures, record.defaults) for record in records] == [(0, 0)] * 2


@pytest.mark.parametrize(
    ("answer", "count", "defaults"),
    [(refuse, 1, 0), (call_malformed, 9, 0), (talk_nonsense, 9, 1)],
    ids=["it is full", "it calls the request malformed", "its own messages are malformed"],
)
async def test_a_wallet_that_keeps_money_is_barred(tmp_path: Path, answer: Answer, count: int, defaults: int) -> None:
    async with open_market(tmp_path, {"honest": 1}) as market:
        sybils = await open_sybils(market, count, answer=answer)
        answered = await market.ask("hello...")
        record = market.buyer.ledger.sellers.find(wallet_of("thief"))
    assert market.names_of(answered) == ["honest"]
    assert sum(sybil.num_paid for sybil in sybils) == 1
    assert (record.failures, record.defaults) == (1, defaults), "another node could answer, so it is worth less"


async def test_a_wallet_below_the_minimum_stake_is_not_called(tmp_path: Path) -> None:
    async with open_market(tmp_path, {"honest": 1}) as market:
        market.chain.unbonded.add(wallet_of("thief"))
        sybils = await open_sybils(market, 9)
        answered = await market.ask("hello...")
        assert market.names_of(answered) == ["honest"]
        market.chain.unbonded.add(wallet_of("honest"))
        market.buyer.requester._vetting._verdicts.clear()
        with pytest.raises(UnavailableError, match="has bonded less than the network's minimum stake"):
            await market.ask("hello...", name="r2")
    assert sum(sybil.num_calls for sybil in sybils) == 0


async def test_false_use_of_a_wallet_neither_harms_its_owner_nor_takes_its_place(tmp_path: Path) -> None:
    async with open_market(tmp_path, {"honest": 1}) as market:
        market.chain.strangers.add(signer_of("thief"))
        sybils = await open_sybils(market, 40, wallet="honest")
        answered = await market.ask("hello...")
        record = market.buyer.ledger.sellers.find(wallet_of("honest"))
    assert market.names_of(answered) == ["honest"]
    assert sum(sybil.num_calls for sybil in sybils) == 0
    assert (record.successes, record.failures, record.num_measured) == (1, 0, 1)


@pytest.mark.parametrize(("took_s", "outcome"), [(2.2, "successes"), (2.3, "late"), (3.5, "failures")])
async def test_an_answer_is_late_after_twice_its_time_and_failed_after_four_times(
    tmp_path: Path, mock_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch, took_s: float, outcome: str
) -> None:
    """The bid promises 8 ms and 30 tokens at 50 a second, and a second more is free."""
    async with open_market(tmp_path, {"seller": 1}) as market:
        seller = market.sellers["seller"]
        open_account = seller.accounts.open

        async def open_late(*args: Any) -> LaneAccount:
            mock_clock.jump(took_s)
            return await open_account(*args)

        monkeypatch.setattr(seller.accounts, "open", open_late)
        await market.ask("hello...")
        record = market.buyer.ledger.sellers.find(seller.state.wallet)
    assert [getattr(record, name) for name in (outcome, "defaults")] == [1, 0]
