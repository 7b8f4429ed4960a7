from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from support.market_world.market import Market, open_market

from openledger_node.payments import delivery


@pytest.fixture
async def market(tmp_path: Path) -> AsyncIterator[Market]:
    """A payer and one seller, `node`."""
    async with open_market(tmp_path) as opened:
        yield opened


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nodes wait shorter for a countersignature, where the clock must not jump since a thread waits."""
    monkeypatch.setattr(delivery, "COUNTERSIGN_TIMEOUT_S", 0.2)
