"""Texts between a payer and a node: a seller keeps none, and a payer its own, sealed and for a while.

Over the memory transport, so that it is quick.
"""

from collections.abc import Callable
from pathlib import Path

import pytest
from support.canary import files_with
from support.local_engine import child_engine
from support.market_world.market import open_market
from support.market_world.requests import purchase
from support.market_world.terms import NOW_NS, Clock

from openledger_node.errors import KeyFileError
from openledger_node.ledger.ledger import Ledger
from openledger_node.payments.kept_texts import KeptTexts, Seal, find_text_at, open_seal
from openledger_node.payments.payer import Keep
from openledger_protocol.opening import check_opening

PROMPT = "Zq7-prompt-plover-4471"


class NoSeal(Seal):
    """Seals nothing."""

    def seal(self, content: bytes) -> bytes:
        return content


def keeping(seal: Seal, *, keep_s: float = 100.0, clock: Clock | None = None) -> Callable[[Ledger], Keep]:
    def keep_in(ledger: Ledger) -> Keep:
        return KeptTexts(ledger, seal, keep_s=keep_s, now_ns=clock or Clock()).keep

    return keep_in


async def test_a_text_that_is_not_sealed_would_be_found_and_only_on_the_payers_side(tmp_path: Path) -> None:
    keep = keeping(NoSeal(b"A" * 43 + b"="))
    async with open_market(tmp_path, open_engine=child_engine, keep_texts=keep) as market:
        await market.buy(purchase("r1", prompt=f"{PROMPT} and so on...", max_tokens=60))
        await market.seller.wait_served(1)
        found = files_with(PROMPT, tmp_path)
    assert found
    assert all("buyer.db" in name for name, _ in found)


async def test_neither_sides_files_hold_what_was_said(tmp_path: Path) -> None:
    keep = keeping(open_seal(tmp_path / "net"))
    async with open_market(tmp_path, open_engine=child_engine, keep_texts=keep) as market:
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


@pytest.mark.parametrize(("keep_s", "num_kept"), [(0.0, 0), (5.0, 1), (10**6, 2)])
async def test_a_text_is_kept_as_long_as_the_operator_says(tmp_path: Path, keep_s: float, num_kept: int) -> None:
    clock = Clock()
    keep = keeping(open_seal(tmp_path / "net"), keep_s=keep_s, clock=clock)
    async with open_market(tmp_path, keep_texts=keep) as market:
        await market.buy(purchase("r1"))
        clock.now_ns = NOW_NS + 10 * 10**9
        await market.buy(purchase("r2"))
        rows = market.buyer.ledger._store.rows("SELECT digest FROM text")
    assert len(rows) == num_kept
