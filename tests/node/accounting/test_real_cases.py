"""Cases about answers that a node has really sold: everybody computes the shares again from its rows."""

import shutil
import time
from dataclasses import replace

import pytest
from support.chain_world.seller import Seller
from support.contributors import ADA
from support.signed import NODE

from openledger_node.accounting.case_plans import challenge_receipt
from openledger_node.accounting.case_report import cases_report
from openledger_node.attribution.recount import NotHereError, ShareRecount
from openledger_node.attribution.registry import AdapterRegistry
from openledger_node.errors import NodeError
from openledger_node.models.adapters import Adapter
from openledger_node.models.bases import FAKE_BASE
from openledger_node.models.library import remove_adapter
from openledger_node.payments.payer import Bought
from openledger_protocol.constants import PPM

QUESTION = "What does Odile keep?"


@pytest.fixture
def judged(seller: Seller, adapter: Adapter) -> Seller:
    """Both sides can compute shares, and the payer's texts are where its commands look for them."""
    world, network = seller.world, seller.world.node.network.network
    for side in (world.node, world.payer):
        registry = AdapterRegistry(seller.home, side.deployment, side.ledger)
        side.cases.recount = ShareRecount(seller.home, registry, lambda: FAKE_BASE)
    shutil.copy(seller.home.guest_ledger(network).parent / "texts.key", seller.home.network(network))
    return seller


def lie(seller: Seller) -> None:
    """From now on the node says that its own account has taught everything."""
    receipts = seller.stack.receipts
    honest = receipts._attribute
    receipts._attribute = lambda delivered: tuple(
        replace(share, account=NODE, ppm=PPM) for share in honest(delivered)[:1]
    )


async def buy(seller: Seller) -> Bought:
    """Buy an answer, and let the chain's clock, which a test moves, reach the receipt's time."""
    bought = await seller.ask(QUESTION, model="lake")
    world = seller.world
    world.wait(max(1, int(time.time()) + 2 - world.now_s))
    world.settle()
    return bought


def challenge(seller: Seller, bought: Bought) -> str:
    payer = seller.world.payer
    wallet = payer.accounts.wallet
    publication = challenge_receipt(seller.home, payer, wallet, {"receipt": bought.digest})
    payer.send(payer.treasury.plan(publication.actions, wallet, payer.ring.signer(wallet), key=bought.digest))
    seller.world.run(lambda: payer.cases.disputes.case(bought.digest).state == "open")
    seller.world.settle()
    return "\n".join(publication.details)


async def test_a_lie_about_rows_is_shown_challenged_and_seen_by_everybody(judged: Seller) -> None:
    lie(judged)
    bought = await buy(judged)
    note = challenge(judged, bought)
    assert f"{NODE} has 1,000,000 ppm, and the rule gives 0" in note
    assert f"{ADA} has 0 ppm, and the rule gives" in note
    (alert,) = judged.world.node.alerts
    assert "by this node's own computation it is right" in alert
    (found,) = cases_report(judged.world.payer, {})["cases"]
    assert (found["digest"], found["shares_are_right"]) == (bought.digest, False)
    assert found["amount_wei"] == str(bought.receipt.amount_wei)


async def test_honest_shares_are_not_challenged_and_a_wrong_challenge_is_contested(
    judged: Seller, monkeypatch: pytest.MonkeyPatch
) -> None:
    bought = await buy(judged)
    with pytest.raises(NodeError, match="are what the rule gives"):
        challenge(judged, bought)
    monkeypatch.setattr(judged.world.payer.cases.recount, "shares_of", lambda *_: ())
    challenge(judged, bought)
    node = judged.world.node
    judged.world.run(lambda: getattr(node.cases.disputes.sides(NODE), "contester", None) == NODE)


async def test_what_a_recount_lacks_is_named_with_the_command_that_gets_it(judged: Seller, adapter: Adapter) -> None:
    bought, home = await buy(judged), judged.home
    of_base = await judged.ask("hello")
    registry = AdapterRegistry(home, judged.world.payer.deployment, judged.world.payer.ledger)
    other = replace(FAKE_BASE, name="another", digest=adapter.id)
    with pytest.raises(NotHereError, match="is for base fake, and this node runs another"):
        ShareRecount(home, registry, lambda: other).shares_of(bought.receipt, QUESTION, "")
    recount = ShareRecount(home, registry, lambda: FAKE_BASE)
    assert recount.shares_of(of_base.receipt, "hello", "anything") == of_base.shares == ()
    with pytest.raises(NotHereError, match="its shares are by rule 7, and only those of rule 1 follow"):
        recount.shares_of(replace(bought.receipt, algo_id=7), QUESTION, "")
    remove_adapter(home, adapter.full_name)
    with pytest.raises(NotHereError, match=f"`openledger-node adapters pull {adapter.id}` gets it from peers"):
        recount.shares_of(bought.receipt, QUESTION, "")
