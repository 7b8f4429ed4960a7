"""A scripted chain and a ledger to keep its transactions in."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from support.scripted_chain import ScriptedChain

from openledger_node.ledger.ledger import Ledger, open_ledger


@pytest.fixture
def chain() -> ScriptedChain:
    return ScriptedChain()


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with closing(open_ledger(tmp_path / "ledger.db")) as opened:
        yield opened
