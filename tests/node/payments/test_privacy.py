"""Texts between a payer and a node: a seller keeps none, and a payer its own, sealed and for a while.

Over the memory transport, so that it is quick.
"""

from collections.abc import Callable
from pathlib import Path

import pytest
from support.canary import files_with
from support.market_world.market import open_market
from support.market_world.requests import purchase
from support.market_world.terms import Clock

from openledger_node.errors import KeyFileError
from openledger_node.ledger.ledger import Ledger
from openledger_node.payments.kept_texts import KeptTexts, Seal, find_text_at, open_seal
from openledger_node.payments.payer import Keep
from openledger_protocol.opening import check_opening

PROMPT = "Zq7-prompt-plover-4471"


def keeping(seal: Seal, *, keep_s: float = 100.0, clock: Clock | None = None) -> Callable[[Ledger], Keep]:
    def keep_in(ledger: Ledger) -> Keep:
        return KeptTexts(ledger, seal, keep_s=keep_s, now_ns=clock or Clock()).keep

    return keep_in


async def test_neither_sides_files_hold_what_was_said(tmp_path: Path) -> None:
    keep = keeping(open_seal(tmp_path / "net"))
    async with open_market(tmp_path, keep_texts=keep) as market:
        bought = await market.buy(purchase("r1", prompt=f"{PROMPT} and so on...", max_tokens=60))
        await market.seller.wait_served(1)
        await market.seller.serving.wait_idle()
        assert len(bought.text) > 40
        assert market.seller.ledger.receipts.newest(limit=1)[0].countersignature
        for words in (PROMPT, bought.text):  # while the write-ahead logs are there, and after
            assert files_with(words, tmp_path) == []
    for words in (PROMPT, bought.text):
        assert files_with(words, tmp_path) == []


async def test_a_payer_that_keeps_texts_can_open_its_receipts(tmp_path: Path) -> None:
    async with open_market(tmp_path, keep_texts=keeping(open_seal(tmp_path / "net"), keep_s=10**9)) as market:
        bought = await market.buy(purchase("r1", prompt=PROMPT))
        opening = find_text_at(tmp_path / "net", market.buyer.ledger, bought.digest, now_ns=1)
        assert opening is not None
        check_opening(opening, bought.receipt)
        assert (opening.messages, opening.text) == (PROMPT, bought.text)
        assert find_text_at(tmp_path / "net", market.seller.ledger, bought.digest, now_ns=1) is None
        with pytest.raises(KeyFileError, match="sealed with another"):
            find_text_at(tmp_path / "other", market.buyer.ledger, bought.digest, now_ns=1)
