"""A verb at a time, on a home of its own."""

import pytest
from support.contributors import ADA, TERMS
from support.verbs import Run, verbs_here

from openledger_node.datanets.own import new_datanet
from openledger_node.datanets.store import OwnDatanets
from openledger_node.home import Home


@pytest.fixture
def run(home: Home, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    return verbs_here(home, monkeypatch, capsys)


@pytest.fixture
def lake(home: Home) -> OwnDatanets:
    own = OwnDatanets(home)
    own.create(new_datanet("lake", treasury=ADA, **TERMS))  # type: ignore[arg-type]  # a licence and a share
    return own
