"""A ledger in an empty home."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from openledger_node.ledger.ledger import Ledger, open_ledger


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "networks" / "local" / "ledger.db"


@pytest.fixture
def ledger(file: Path) -> Iterator[Ledger]:
    with closing(open_ledger(file)) as opened:
        yield opened
