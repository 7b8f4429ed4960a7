"""A clock that was once ahead and is set right: receipts count on at once, and nothing is payable twice."""

from pathlib import Path

import pytest
from support.market_world.market import Market, open_market
from support.market_world.requests import purchase
from support.market_world.terms import Clock, price

from openledger_protocol.errors import ReceiptRefusedError

JUMP_NS = 400 * 86_400 * 10**9


def receipts_of(market: Market) -> list[tuple[int, int, bool]]:
    """The node's receipts, oldest first: number, total charge, and whether they are countersigned."""
    rows = reversed(market.seller.ledger.receipts.newest(limit=10))
    return [(row.receipt.seq, row.receipt.cumulative_wei, row.countersignature is not None) for row in rows]


async def test_a_machine_whose_clock_was_ahead_is_paid_as_soon_as_it_is_right(tmp_path: Path) -> None:
    """Payer and node of one machine: the number of a receipt was a time, and refused for as long as the jump."""
    async with open_market(tmp_path) as market:
        await market.buy(purchase("r1"))
        market.clock.now_ns += JUMP_NS
        await market.buy(purchase("r2"))
        market.clock.now_ns -= JUMP_NS
        await market.buy(purchase("r3"))
        await market.seller.wait_served(3)
        found = receipts_of(market)
        assert [(seq, is_signed) for seq, _, is_signed in found] == [(1, True), (2, True), (3, True)]
        charges = [row.receipt.amount_wei for row in market.buyer.ledger.receipts.newest(limit=10)]
        assert found[-1][1] == sum(charges)


async def test_a_node_whose_clock_was_ahead_is_believed_again_once_it_is_right(tmp_path: Path) -> None:
    clock = Clock()
    clock.now_ns += JUMP_NS
    async with open_market(tmp_path, now_ns=clock) as market:
        with pytest.raises(ReceiptRefusedError, match="is minutes off the payer's clock"):
            await market.buy(purchase("r1"))
        await market.seller.wait_served(1)
        clock.now_ns -= JUMP_NS
        bought = await market.buy(purchase("r2"))
        await market.seller.wait_served(2)
        (_, first_wei, is_first_signed), (_, second_wei, is_second_signed) = receipts_of(market)
        assert (is_first_signed, is_second_signed) == (False, True)
        assert bought.receipt.cumulative_wei == second_wei
        assert second_wei - first_wei == bought.receipt.amount_wei == price(5, len(bought.ids))
