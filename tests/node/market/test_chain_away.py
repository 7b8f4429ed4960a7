"""A buyer whose chain can't be asked goes on with sellers that were fit lately, and with no others."""

import pytest
import trio
import trio.testing
from support.market_world.chain import Chain
from support.market_world.seller import ad_of
from support.market_world.terms import NOW_NS

from openledger_node.errors import ChainError
from openledger_node.ledger.ledger import Ledger
from openledger_node.market.vetting import AWAY_S, KEPT_S, Vetting
from openledger_protocol.errors import BadSignatureError, ProtocolError

SELLER, STRANGER = ad_of("seller"), ad_of("stranger")


class Buyer:
    """The vetting of a buyer, and its chain."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.chain = Chain()
        self.vetting = Vetting(
            may_sign=self.chain.may_sign,
            bond_of=self.chain.bond_of,
            sellers=ledger.sellers,
            now_ns=lambda: NOW_NS,
        )

    async def choose(self) -> tuple[list[str], dict[str, ProtocolError]]:
        """The names of sellers that may be called, and why not the others."""
        ads = [SELLER, STRANGER]
        records = self.ledger.sellers.of([ad.wallet for ad in ads])
        fit, unfit = await self.vetting.choose(ads, records, 8)
        return [ad.peer_id for ad in fit], unfit


@pytest.fixture
def buyer(ledger: Ledger) -> Buyer:
    return Buyer(ledger)


async def test_while_the_chain_is_away_a_seller_is_called_that_was_fit_lately(
    buyer: Buyer, autojump_clock: trio.testing.MockClock
) -> None:
    buyer.chain.unbonded.add(STRANGER.wallet)
    await buyer.choose()
    buyer.chain.is_down = True
    await trio.sleep(KEPT_S + 1)
    fit, unfit = await buyer.choose()
    assert fit == [SELLER.peer_id]
    assert "the chain can't be asked about its wallet" in unfit[STRANGER.peer_id].message
    await trio.sleep(AWAY_S)
    fit, unfit = await buyer.choose()
    assert (fit, set(unfit)) == ([], {SELLER.peer_id, STRANGER.peer_id})


async def test_a_seller_that_lost_its_bond_is_not_called_as_soon_as_the_chain_says_so(
    buyer: Buyer, autojump_clock: trio.testing.MockClock
) -> None:
    await buyer.choose()
    buyer.chain.is_down = True
    await trio.sleep(KEPT_S + 1)
    await buyer.choose()
    buyer.chain.is_down = False
    buyer.chain.unbonded.add(SELLER.wallet)
    await trio.sleep(KEPT_S)
    assert (await buyer.choose())[0] == [STRANGER.peer_id]


@pytest.mark.parametrize("goes_away", ["is_down", "is_silent"])
async def test_a_signer_is_believed_unasked_if_its_wallet_was_fit_lately(
    buyer: Buyer, autojump_clock: trio.testing.MockClock, goes_away: str
) -> None:
    check = buyer.vetting.check_signer
    buyer.chain.strangers.add(STRANGER.signer)
    await buyer.choose()
    with pytest.raises(BadSignatureError):
        await check(STRANGER.signer, STRANGER.wallet)
    setattr(buyer.chain, goes_away, True)
    num_asked = buyer.chain.num_asked
    for _ in range(3):
        await check(SELLER.signer, SELLER.wallet)
    assert buyer.chain.num_asked == num_asked + 1
    with pytest.raises(ChainError):
        await check(STRANGER.signer, STRANGER.wallet)
    with pytest.raises(ChainError):
        await check(SELLER.signer, STRANGER.wallet)
