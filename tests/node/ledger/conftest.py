"""A ledger in an empty home."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from openledger_node.ledger.jobs import Job
from openledger_node.ledger.ledger import Ledger, open_ledger
from openledger_protocol.primitives import AdapterId, RequestId


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "networks" / "local" / "ledger.db"


@pytest.fixture
def ledger(file: Path) -> Iterator[Ledger]:
    with closing(open_ledger(file)) as opened:
        yield opened


def job(number: int = 1, **changes: Any) -> Job:
    plain = Job(
        request_id=RequestId(f"r{number}"),
        received_ns=1_000 * number,
        base="fake",
        adapter_id=AdapterId("0xaa"),
        adapter_name="harbour",
        state="running",
        tokens_in=10 * number,
    )
    return replace(plain, **changes)
