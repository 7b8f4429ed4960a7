"""A ledger that was set back signs nothing twice: a receipt or a claim on the chain shows what it has forgotten."""

import shutil
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import trio
from support.market_world.chain import RICH
from support.market_world.liars import open_of, receipt_of, script, voucher_of
from support.market_world.market import Market, open_market
from support.market_world.requests import purchase
from support.market_world.terms import CHANNEL, CONFIG, DOMAIN, GENERATION, NETWORK, SIGNER, Clock, draws, salt_of

from openledger_node.ledger.ledger import open_ledger
from openledger_node.payments.generations import ChannelGenerations
from openledger_protocol.errors import BadSignatureError, OldChannelError
from openledger_protocol.primitives import ChannelId, Wei
from openledger_protocol.wire.inference import SignedReceipt

OLD = "the channel was opened for another ledger of this node"


@pytest.fixture
def generations(tmp_path: Path) -> Iterator[ChannelGenerations]:
    with closing(open_ledger(tmp_path / "ledger.db", draw=draws())) as ledger:
        yield ChannelGenerations(ledger, network=NETWORK, domain=DOMAIN, signer=SIGNER, now_ns=Clock())


def shown(signer: str = "node signer", **changes: Any) -> SignedReceipt:
    """A receipt that a payer shows as its last one, and the ledger doesn't have."""
    message = receipt_of(purchase(), by=signer, **changes)
    return SignedReceipt(receipt=message.receipt, signature=message.signature)


async def test_a_receipt_that_the_ledger_has_forgotten_ends_its_channel_for_ever(
    generations: ChannelGenerations, caplog: pytest.LogCaptureFixture
) -> None:
    errors = []

    async def open_one() -> None:
        with pytest.raises(OldChannelError, match=OLD) as refusal:
            await generations.check(CONFIG, shown())
        errors.append(refusal.value)

    async with trio.open_nursery() as nursery:
        for _ in range(8):
            nursery.start_soon(open_one)
    assert len(errors) == 8
    assert all(error.retryable for error in errors)
    assert caplog.text.count("a payer has receipt 1") == 1, "streams that find out at once draw one generation"
    assert generations.current != GENERATION
    with pytest.raises(OldChannelError):
        await generations.check(CONFIG, None)
    await generations.check(replace(CONFIG, salt=salt_of("other", generations.current)), None)


async def test_a_receipt_that_this_node_did_not_sign_or_has_ends_no_channel(
    generations: ChannelGenerations, tmp_path: Path
) -> None:
    other = shown(seq=2)
    for forged in (
        shown("stranger"),
        replace(shown(), signature=other.signature),
        shown(channel_id=ChannelId("0x" + "77" * 32)),
    ):
        await generations.check(CONFIG, forged)
    with pytest.raises(BadSignatureError):
        await generations.check(CONFIG, replace(other, signature=b"\x01" * 32 + b"\xff" * 32 + b"\x1b"))
    assert generations.current == GENERATION
    async with open_market(tmp_path / "market") as market:  # whose payer shows its last receipt with each stream
        for name in ("a", "b", "c"):
            await market.buy(purchase(name))
        assert market.seller.ledger.generations.current.generation == GENERATION


async def test_the_chain_shows_an_older_ledger_what_it_has_claimed(market: Market) -> None:
    """Its payer has lost its receipts too."""
    market.chain.standings[CHANNEL] = replace(RICH, claimed_wei=Wei(10))
    with pytest.raises(OldChannelError, match=OLD):
        await market.buy(purchase())
    ledger = market.seller.ledger
    assert "the chain has a claim of 10 wei" in ledger.generations.current.why
    assert ledger.channels.all() == [], "nobody fills our ledger without paying"
    other = replace(CONFIG, salt=salt_of("other", ledger.generations.current.generation))
    assert (await market.buy(purchase(channel_config=other))).text


async def test_an_answer_that_runs_when_the_ledger_proves_old_gets_no_receipt(market: Market) -> None:
    """It may be charged for wei that this node has signed before."""
    async with script(market) as stream:
        await stream.say(open_of(purchase(prompt="on...", max_tokens=16), voucher_of(10**9)))
        await stream.hear()
        market.seller.ledger.generations.renew("a test", now_ns=1)
        error = await stream.hear_error()
    assert error.code == OldChannelError.code
    assert market.seller.ledger.receipts.newest(limit=9) == []


async def test_an_older_ledger_of_a_payer_signs_nothing_on_its_old_channels(tmp_path: Path) -> None:
    """The node has a higher voucher, and countersigned receipts that the payer has forgotten."""
    async with open_market(tmp_path) as market:
        await market.buy(purchase("a"))
    shutil.copy(tmp_path / "buyer.db", tmp_path / "backup")
    async with open_market(tmp_path) as market:
        await market.buy(purchase("b"))
        before = market.seller.ledger.channels.find(CHANNEL)
    shutil.copy(tmp_path / "backup", tmp_path / "buyer.db")
    async with open_market(tmp_path) as market:
        with pytest.raises(OldChannelError, match="is of an earlier ledger of this payer"):
            await market.buy(purchase("c"))
        assert market.seller.ledger.channels.find(CHANNEL) == before
        other = replace(CONFIG, salt=salt_of("other"))
        assert (await market.buy(purchase("d", channel_config=other))).text
