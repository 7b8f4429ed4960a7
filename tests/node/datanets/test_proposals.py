"""Proposals of versions as files, which a stranger may have made."""

import json
from pathlib import Path
from typing import Any

import pytest
from support.contributors import ADA, CONTRIBUTED

from openledger_node.datanets.proposals import VersionProposal, read_proposal, roots_of, write_proposal
from openledger_node.errors import NodeError
from openledger_protocol.primitives import DatanetId


@pytest.fixture
def file(tmp_path: Path) -> Path:
    rows_root, contributors_root = roots_of(CONTRIBUTED, {})
    proposal = VersionProposal(
        chain_id=31337,
        contract=ADA,
        datanet_id=DatanetId("0x" + "5a" * 32),
        name="lake",
        licence="CC-BY-4.0",
        version=1,
        rows_root=rows_root,
        contributors_root=contributors_root,
        accounts={},
        num_old=0,
        rows=CONTRIBUTED,
    )
    write_proposal(tmp_path / "lake.json", proposal)
    return tmp_path / "lake.json"


def test_a_proposal_is_read_as_it_was_written(file: Path) -> None:
    found = read_proposal(file)
    assert (found.licence, found.version, found.rows) == ("CC-BY-4.0", 1, CONTRIBUTED)


@pytest.mark.parametrize(
    ("field", "value", "why"),
    [
        ("chain_id", 2**64, "its chain_id must be a number below"),
        ("version", 2**32, "its version must be a number below"),
        ("num_old", -1, "its num_old must be a number below"),
        ("licence", "x" * 5_000, "its licence must be a text of at most 4096 characters"),
        ("licence", 7, "its licence must be a text"),
        ("licence", "\ud800", "half a surrogate pair"),
    ],
)
def test_a_proposal_that_nobody_could_sign_or_show_is_refused(file: Path, field: str, value: Any, why: str) -> None:
    file.write_text(json.dumps({**json.loads(file.read_text()), field: value}))
    with pytest.raises(NodeError, match=why):
        read_proposal(file)
