"""Texts between a payer and a node, which no file of either holds; over the memory transport, so that it is quick."""

from pathlib import Path

from support.canary import files_with
from support.local_engine import child_engine
from support.market_world.market import open_market
from support.market_world.requests import purchase

from openledger_node.payments.receipts import open_seal

PROMPT = "Zq7-prompt-plover-4471"


async def test_a_text_that_is_not_sealed_would_be_found(tmp_path: Path) -> None:
    async with open_market(tmp_path, open_engine=child_engine) as market:
        await market.buy(purchase("r1", prompt=f"{PROMPT} and so on...", max_tokens=60))
        await market.seller.wait_served(1)
        assert files_with(PROMPT, tmp_path) != []


async def test_neither_sides_files_hold_what_was_said(tmp_path: Path) -> None:
    async with open_market(tmp_path, open_engine=child_engine, seal=open_seal(tmp_path / "net").seal) as market:
        bought = await market.buy(purchase("r1", prompt=f"{PROMPT} and so on...", max_tokens=60))
        await market.seller.wait_served(1)
        await market.seller.serving.wait_idle()
        assert len(bought.text) > 40
        assert market.seller.ledger.receipts.newest(limit=1)[0].countersignature
        for words in (PROMPT, bought.text):  # while the write-ahead logs are there, and after
            assert files_with(words, tmp_path) == []
    for words in (PROMPT, bought.text):
        assert files_with(words, tmp_path) == []
