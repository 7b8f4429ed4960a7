"""Rows that taught an adapter, as far as they are here: those of a sample need no file, and are hashed once."""

from pathlib import Path

import pytest
from support.indexes import owned

from openledger_node.accounting import payees
from openledger_node.accounting.payees import known_rows
from openledger_node.datanets.near import distinct_rows
from openledger_node.datanets.sample import named_sample
from openledger_node.home import Home
from openledger_protocol.codec import canonical_digest
from openledger_protocol.datanet import Row


def refuse(row: Row) -> str:
    raise AssertionError("the rows of a sample were hashed a second time")


@pytest.mark.parametrize("name", ["harbour", "valley"])
def test_rows_of_a_sample_are_known_and_hashed_once(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = named_sample(name).rows
    home, datanet = Home(tmp_path / "home"), owned(distinct_rows(rows), tmp_path / "index")
    assert known_rows(home, datanet) == {canonical_digest(row): row for row in rows}
    monkeypatch.setattr(payees, "canonical_digest", refuse)
    assert len(known_rows(home, datanet)) == len(set(rows))


def test_rows_that_are_nowhere_here_are_not_known(tmp_path: Path) -> None:
    strange = (Row(prompt="Who?", completion="Nobody.", contributor="ada"), *named_sample("harbour").rows)
    assert known_rows(Home(tmp_path / "home"), owned(strange, tmp_path / "index")) == {}
