"""Nodes bid for a request; the winner streams an answer and is paid to the token."""

from pathlib import Path

from support.market_world.market import open_market
from support.market_world.requests import purchase
from support.market_world.terms import AUTHORIZER, price

from openledger_protocol.eip712 import digest_word
from openledger_protocol.signatures import recover_address


async def test_the_cheapest_bid_wins_the_request_and_its_node_answers(tmp_path: Path) -> None:
    shown: list[str] = []
    async with open_market(tmp_path, {"dear": 3.0, "cheap": 1.0, "middling": 2.0}) as market:
        answered = await market.ask("hello", show=shown.append)
        assert market.names_of(answered) == ["cheap"]
        assert "".join(shown) == answered.text
        assert list(market.paid()) == ["cheap"]


async def test_a_streamed_answer_is_paid_to_the_token_and_signed_by_both_sides(tmp_path: Path) -> None:
    async with open_market(tmp_path) as market:
        bought = await market.buy(purchase())
        await market.seller.wait_served(1)
        (ours,) = market.buyer.ledger.receipts.newest(limit=10)
        (theirs,) = market.seller.ledger.receipts.newest(limit=10)
        await market.seller.serving.wait_idle()
    work = bought.receipt.work
    assert bought.receipt.amount_wei == price(work.tokens_in, work.tokens_out) > 0
    assert work.tokens_out == len(bought.text.encode())
    assert theirs.digest == ours.digest == bought.digest
    assert theirs.countersignature is not None
    assert recover_address(digest_word(bought.digest), theirs.countersignature) == AUTHORIZER
