"""A payer with the adapter's rows buys on a chain with the real contracts, and a node that lies about shares."""

import secrets
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
import trio
from support.chain_world.seller import Seller
from support.contributors import ADA, BEN, key_of

from openledger_node.attribution.recount import ShareRecount
from openledger_node.attribution.registry import AdapterRegistry
from openledger_node.models.adapters import Adapter
from openledger_node.models.bases import FAKE_BASE
from openledger_node.network import selling
from openledger_node.payments.audits import ReceiptAudits
from openledger_node.payments.kept_texts import KeptTexts, open_seal
from openledger_protocol.attribution import Share
from openledger_protocol.constants import PPM
from openledger_protocol.errors import UnavailableError

EVE = key_of("eve").address


@asynccontextmanager
async def auditing(seller: Seller) -> AsyncIterator[ReceiptAudits]:
    """Let the seller's guest audit every receipt."""
    session, home = seller.world.payer, seller.home
    audits = ReceiptAudits(
        ledger=session.ledger,
        texts=KeptTexts(session.ledger, open_seal(home.root), keep_s=0, now_ns=time.time_ns),
        recount=ShareRecount(home, AdapterRegistry(home, session.deployment, session.ledger), lambda: FAKE_BASE),
        sign=session.ring.signer(session.accounts.authorizer),
        one_in=1,
        liable_s=session.windows.unbonding_s,
        draw_below=secrets.randbelow,
        now_ns=time.time_ns,
    )
    seller.guest._payer._countersigner.audits = audits
    async with trio.open_nursery() as nursery:
        await nursery.start(audits.run)
        yield audits
        nursery.cancel_scope.cancel()


async def test_a_payer_that_audits_pays_contributors_to_the_integer_and_a_node_that_names_itself_nothing(
    seller: Seller, adapter: Adapter, monkeypatch: pytest.MonkeyPatch
) -> None:
    world, honest_shares = seller.world, selling.registered_shares

    def shares_to_eve(*receipt: Any) -> tuple[Share, ...]:
        return (replace(honest_shares(*receipt)[0], account=EVE, ppm=PPM),)

    async with auditing(seller):
        honest = await seller.ask("Odile keeps the", model="lake")
        assert world.node.ledger.receipts.find(honest.digest)[0].countersignature
        with monkeypatch.context() as lying:
            lying.setattr(selling, "registered_shares", shares_to_eve)
            lie = await seller.ask("What does Odile keep?", model="lake")
        assert world.node.ledger.receipts.find(lie.digest)[0].countersignature is None
        assert world.payer.ledger.audits.counts() == {"right": 1, "wrong": 1, "unknown": 0}
    seller.settle_all()
    data_wei = honest.receipt.amount_wei * 200_000 // PPM
    pot_wei = data_wei - data_wei * 100_000 // PPM
    expected = {share.account: pot_wei * share.ppm // PPM for share in honest.shares if share.account in (ADA, BEN)}
    assert expected
    assert {account: world.balance(account) for account in (ADA, BEN, EVE)} == {ADA: 0, BEN: 0, EVE: 0, **expected}
    assert world.node.treasury.earnings().credited_wei > 0, "its own part is paid all the same"
    world.payer.step()
    (alert,) = (each for each in world.payer.alerts if "wrong shares" in each)
    assert lie.digest in alert
    with pytest.raises(UnavailableError, match="signed wrong shares"):
        await seller.ask("What does Rurik keep?", model="lake")
