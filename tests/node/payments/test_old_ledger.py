"""A node whose ledger was set back signs nothing twice: a payer or the chain shows it what it has forgotten.

Ledger and mark are overwritten in place, as on a machine that is set back to a snapshot, so that nothing in them
tells.
"""

import random
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from dataclasses import replace
from pathlib import Path

import pytest
import trio
from support.market_world.chain import RICH
from support.market_world.liars import open_of, script, voucher_of
from support.market_world.market import Market, open_market
from support.market_world.requests import purchase
from support.market_world.terms import (
    CHANNEL,
    CONFIG,
    DOMAIN,
    GENERATION,
    NETWORK,
    config_with,
    draws,
    salt_of,
    sign_as,
)
from support.tiers import depth

from openledger_node.ledger.ledger import open_ledger
from openledger_node.ledger.receipts import ReceiptRow
from openledger_protocol.errors import BadSignatureError, OldChannelError
from openledger_protocol.generation import is_of_generation
from openledger_protocol.payments import Receipt, channel_id, receipt_digest
from openledger_protocol.primitives import BASE_ONLY, ChannelId, Wei
from openledger_protocol.wire.inference import SignedReceipt

OLD = "the channel was opened for another ledger of this node"


class Lives:
    """A node and its payer over many lives, with every receipt that the node has ever signed."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.signed: dict[str, Receipt] = {}
        self.num_asked = 0
        self.draw = draws()  # no life draws what another has drawn

    @asynccontextmanager
    async def live(self) -> AsyncIterator[Market]:
        async with open_market(self.root, draw=self.draw) as market:
            yield market
        self.signed |= {row.digest: row.receipt for row in self.rows()}

    async def ask(self, market: Market) -> str:
        """Have the network answer; return the channel that paid."""
        self.num_asked += 1
        answered = await market.ask(name=f"request {self.num_asked}")
        (part,) = answered.parts
        assert part.bought
        return part.bought.receipt.channel_id

    def snapshot(self, name: str) -> None:
        for file in self._files():
            shutil.copy(file, self.root / f"{name}.{file.name}")

    def set_back(self, name: str) -> None:
        """Overwrite ledger and mark in place; nothing tells that from a node that was stopped then."""
        for file in self._files():
            shutil.copyfile(self.root / f"{name}.{file.name}", file)

    def rows(self) -> list[ReceiptRow]:
        with closing(open_ledger(self.root / "node" / "ledger.db", is_writer=False)) as ledger:
            return ledger.receipts.newest(limit=10_000)

    def check_nothing_signed_twice(self) -> None:
        """No wei of a channel is in two receipts."""
        ends: dict[ChannelId, int] = {}
        for receipt in sorted(self.signed.values(), key=lambda each: (each.channel_id, each.cumulative_wei)):
            assert receipt.cumulative_wei - receipt.amount_wei == ends.get(receipt.channel_id, 0), receipt
            ends[receipt.channel_id] = receipt.cumulative_wei

    def _files(self) -> list[Path]:
        return [self.root / "node" / name for name in ("ledger.db", "ledger.db.mark")]


async def test_an_older_ledger_signs_no_second_receipt_and_its_payer_is_served_on_a_new_channel(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    lives = Lives(tmp_path)
    async with lives.live() as market:
        assert await lives.ask(market) == CHANNEL
    lives.snapshot("first")
    async with lives.live() as market:
        assert await lives.ask(market) == CHANNEL
    lives.set_back("first")
    async with lives.live() as market:
        ledger = market.seller.ledger
        assert ledger.generations.current.generation == GENERATION, "nothing tells yet"
        new = await lives.ask(market)
        generation = ledger.generations.current.generation
        told = [record.getMessage() for record in caplog.records if "new generation" in record.getMessage()]
        old = ledger.channels.find(CHANNEL)
        assert [row.receipt.channel_id for row in ledger.receipts.newest(limit=9)] == [new, CHANNEL]
    assert new == channel_id(config_with(CONFIG.node, generation), DOMAIN)
    assert generation != GENERATION
    assert len(told) == 1
    assert "a payer has receipt" in told[0]
    assert old
    assert old.is_retired
    assert old.ceiling_wei >= old.charged_wei > 0, "its vouchers are still claimed"
    lives.check_nothing_signed_twice()


async def test_an_older_ledger_refuses_the_old_channel_for_ever_and_asks_for_a_new_one(tmp_path: Path) -> None:
    lives = Lives(tmp_path)
    async with lives.live() as market:
        await market.buy(purchase("a"))
    lives.snapshot("first")
    async with lives.live() as market:
        await market.buy(purchase("b"))
    lives.set_back("first")
    for name in ("c", "d"):
        async with lives.live() as market:
            with pytest.raises(OldChannelError, match=OLD) as refused:
                await market.buy(purchase(name))
            assert refused.value.retryable
    assert len(lives.rows()) == 1
    lives.check_nothing_signed_twice()


async def test_the_chain_shows_an_older_ledger_what_it_has_claimed(tmp_path: Path) -> None:
    """Its payer has lost its receipts too."""
    async with open_market(tmp_path) as market:
        market.chain.standings[CHANNEL] = replace(RICH, claimed_wei=Wei(10))
        with pytest.raises(OldChannelError, match=OLD):
            await market.buy(purchase())
        ledger = market.seller.ledger
        assert "the chain has a claim of 10 wei" in ledger.generations.current.why
        assert ledger.channels.all() == [], "nobody fills our ledger without paying"
        other = replace(CONFIG, salt=salt_of("other", ledger.generations.current.generation))
        assert (await market.buy(purchase(channel_config=other))).text


def signed_as(name: str, receipt: Receipt) -> SignedReceipt:
    return SignedReceipt(receipt=receipt, signature=sign_as(name)(receipt_digest(receipt, DOMAIN)))


async def test_a_receipt_that_this_node_did_not_sign_changes_nothing(tmp_path: Path) -> None:
    async with open_market(tmp_path) as market:
        receipt = (await market.buy(purchase("a"))).receipt
        forged = replace(receipt, seq=receipt.seq + 1)
        elsewhere = replace(forged, channel_id=ChannelId("0x" + "77" * 32))
        (row,) = market.seller.ledger.receipts.newest(limit=9)
        assert row.signature
        lies = {
            "signed by a stranger": signed_as("stranger", forged),
            "under a signature of another": SignedReceipt(receipt=forged, signature=row.signature),
            "of another channel": signed_as("node signer", elsewhere),
        }
        for name, last in lies.items():
            async with script(market) as stream:
                wanted = purchase(name)
                await stream.say(open_of(wanted, voucher_of(10**9 + len(name)), last_receipt=last))
                await stream.hear()
        assert market.seller.ledger.generations.current.generation == GENERATION


async def test_a_receipt_with_an_invalid_signature_is_refused(tmp_path: Path) -> None:
    async with open_market(tmp_path) as market:
        receipt = replace((await market.buy(purchase("a"))).receipt, seq=99)
        high_s = b"\x01" * 32 + b"\xff" * 32 + b"\x1b"
        async with script(market) as stream:
            last = SignedReceipt(receipt=receipt, signature=high_s)
            await stream.say(open_of(purchase("b"), voucher_of(10**9), last_receipt=last))
            assert (await stream.hear_error()).code == BadSignatureError.code


async def test_streams_that_find_out_at_once_draw_one_generation(tmp_path: Path) -> None:
    lives = Lives(tmp_path)
    async with lives.live() as market:
        await market.buy(purchase("a"))
    lives.snapshot("first")
    async with lives.live() as market:
        await market.buy(purchase("b"))
    lives.set_back("first")
    async with lives.live() as market:
        last = market.buyer.ledger.receipts.newest(limit=1)[0]
        told = SignedReceipt(receipt=last.receipt, signature=last.signature or b"")
        accounts, errors = market.seller.accounts, []

        async def open_one() -> None:
            try:
                await accounts.open(CONFIG, BASE_ONLY, told)
            except OldChannelError as error:
                errors.append(error)

        async with trio.open_nursery() as nursery:
            for _ in range(8):
                nursery.start_soon(open_one)
        assert len(errors) == 8
        second = market.seller.ledger.generations.current.generation
        assert is_of_generation(salt_of("x", second), NETWORK, second)
    assert len({GENERATION, second}) == 2
    async with lives.live() as market:
        assert market.seller.ledger.generations.current.generation == second


async def test_an_answer_that_runs_when_the_ledger_proves_old_gets_no_receipt(tmp_path: Path) -> None:
    """It may be charged for wei that this node has signed before."""
    async with open_market(tmp_path) as market:
        num_served = market.seller.num_served
        async with script(market) as stream:
            await stream.say(open_of(purchase(prompt="on...", max_tokens=16), voucher_of(10**9)))
            await stream.hear()
            market.seller.ledger.generations.renew("a test", now_ns=1)
            error = await stream.hear_error()
        await market.seller.wait_served(num_served + 1)
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


@pytest.mark.parametrize("seed", range(depth(light=6, deep=200)))
async def test_nothing_is_signed_twice_whenever_the_ledger_is_set_back(tmp_path: Path, seed: int) -> None:
    """Snapshots at random moments, set back in place at random, and payers that always hold their last receipt."""
    drawn, lives, snapshots = random.Random(seed), Lives(tmp_path), list[str]()
    for number in range(12):
        async with lives.live() as market:
            for _ in range(drawn.randint(0, 2)):
                await lives.ask(market)
        if drawn.random() < 0.5:
            snapshots.append(str(number))
            lives.snapshot(str(number))
        elif snapshots:
            lives.set_back(drawn.choice(snapshots))
    lives.check_nothing_signed_twice()
    assert len(lives.signed) == lives.num_asked, "every request was answered and charged"
