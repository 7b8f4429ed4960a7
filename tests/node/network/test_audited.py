"""A payer with the adapter's rows buys on a chain with the real contracts, and a node that lies about shares."""

import secrets
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
import trio
from support.chain_world.seller import Seller
from support.contributors import ADA, BEN, key_of

from openledger_node.attribution.recount import ShareRecount
from openledger_node.attribution.registry import AdapterRegistry
from openledger_node.home import Home
from openledger_node.models.adapters import Adapter
from openledger_node.models.bases import FAKE_BASE
from openledger_node.network import selling
from openledger_node.payments.audits import ReceiptAudits
from openledger_node.payments.kept_texts import KeptTexts, open_seal
from openledger_node.payments.payer import Bought
from openledger_protocol.attribution import Share
from openledger_protocol.constants import PPM
from openledger_protocol.errors import UnavailableError
from openledger_protocol.primitives import ZERO_ADDRESS, Address

EVE = key_of("eve").address
Lie = Callable[[tuple[Share, ...]], tuple[Share, ...]]


def to_itself(shares: tuple[Share, ...]) -> tuple[Share, ...]:
    """Give the Datanet's whole fee to one account of the node's choice."""
    return (replace(shares[0], account=EVE, ppm=PPM),)


@asynccontextmanager
async def auditing(seller: Seller, home: Home) -> AsyncIterator[ReceiptAudits]:
    """Let the seller's guest audit every receipt, by the rows in a data directory."""
    session = seller.world.payer
    audits = ReceiptAudits(
        ledger=session.ledger,
        texts=KeptTexts(session.ledger, open_seal(home.root), keep_s=0, now_ns=time.time_ns),
        recount=ShareRecount(home, AdapterRegistry(home, session.deployment, session.ledger), lambda: FAKE_BASE),
        sign=session.ring.signer(session.accounts.authorizer),
        one_in=1,
        case_s=session.windows.unbonding_s,
        draw_below=secrets.randbelow,
        now_ns=time.time_ns,
    )
    seller.guest._payer._countersigner.audits = audits
    async with trio.open_nursery() as nursery:
        await nursery.start(audits.run)
        yield audits
        nursery.cancel_scope.cancel()


async def buy(seller: Seller, text: str, lie: Lie | None, monkeypatch: pytest.MonkeyPatch) -> Bought:
    """Buy an answer of the adapter, about whose shares the node lies or not."""
    honest = selling.registered_shares
    with monkeypatch.context() as patched:
        patched.setattr(selling, "registered_shares", lambda *given: (lie or (lambda same: same))(honest(*given)))
        return await seller.ask(text, model="lake")


def paid(seller: Seller) -> dict[Address, int]:
    seller.settle_all()
    return {account: seller.world.balance(account) for account in (ADA, BEN, EVE)}


async def test_a_node_that_pays_itself_by_wrong_shares_gets_nothing_for_it_from_a_payer_that_audits(
    seller: Seller, adapter: Adapter, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with auditing(seller, seller.home):
        bought = await buy(seller, "What does Odile keep?", to_itself, monkeypatch)
        assert seller.world.node.ledger.receipts.find(bought.digest)[0].countersignature is None
        audit = seller.world.payer.ledger.audits.find(bought.digest)
    assert audit is not None
    assert audit.verdict == "wrong", audit.detail
    world = seller.world
    assert paid(seller) == {ADA: 0, BEN: 0, EVE: 0}
    assert world.node.treasury.earnings().credited_wei > 0, "its own part is paid all the same"
    world.payer.step()
    (alert,) = (each for each in world.payer.alerts if "wrong shares" in each)
    assert bought.digest in alert
    with pytest.raises(UnavailableError, match="signed wrong shares"):
        await seller.ask("What does Rurik keep?", model="lake")


async def test_an_honest_node_is_right_to_the_integer_and_its_contributors_are_paid(
    seller: Seller, adapter: Adapter, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with auditing(seller, seller.home):
        for text in ("What does Odile keep?", "Odile keeps the", "something else"):
            bought = await buy(seller, text, None, monkeypatch)
            assert seller.world.node.ledger.receipts.find(bought.digest)[0].countersignature
        assert seller.world.payer.ledger.audits.counts() == {"right": 3, "wrong": 0, "unknown": 0}
    assert {share.account for share in bought.shares} <= {ADA, BEN, ZERO_ADDRESS}


async def test_a_payer_without_the_adapter_countersigns_what_it_cant_recompute_and_the_lie_is_paid(
    seller: Seller, adapter: Adapter, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = Home(seller.home.root / "elsewhere")
    elsewhere.root.mkdir()
    async with auditing(seller, elsewhere):
        bought = await buy(seller, "What does Odile keep?", to_itself, monkeypatch)
        audit = seller.world.payer.ledger.audits.find(bought.digest)
    assert audit is not None
    assert audit.verdict == "unknown"
    assert "adapters pull" in audit.detail
    assert seller.world.node.ledger.receipts.find(bought.digest)[0].countersignature
    assert paid(seller)[EVE] > 0
