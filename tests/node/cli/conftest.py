"""A command at a time, on a data directory of its own."""

import json
from pathlib import Path
from typing import Any

import pytest
from node.cli.verbs import Run, verbs_here
from support.contributors import ADA, TERMS

from openledger_node.datanets import files
from openledger_node.datanets.own import new_datanet
from openledger_node.datanets.reading import ReadOptions, read_file
from openledger_node.datanets.store import OwnDatanets
from openledger_node.errors import NodeError
from openledger_node.home import Home
from openledger_protocol.errors import MalformedError


@pytest.fixture
def run(home: Home, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    return verbs_here(home, monkeypatch, capsys)


@pytest.fixture
def password_file(tmp_path: Path) -> str:
    file = tmp_path / "password"
    file.touch(0o600)
    file.write_text("correct horse\n")
    return str(file)


@pytest.fixture
def lake(home: Home) -> OwnDatanets:
    own = OwnDatanets(home)
    own.create(new_datanet("lake", treasury=ADA, **TERMS))  # type: ignore[arg-type]  # a licence and a share
    return own


@pytest.fixture(autouse=True)
def _files_are_read_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Read the files that people bring in this process; tests of Datanets start the process that reads them."""
    monkeypatch.setattr(files, "_run", read_here)


def read_here(source: int, target: int, options: ReadOptions) -> dict[str, Any]:
    with open(source, "rb", closefd=False) as file, open(target, "w", encoding="utf-8", closefd=False) as rows:
        try:
            return read_file(file, options, lambda row: print(json.dumps(row), file=rows)).to_plain()
        except (NodeError, MalformedError) as error:
            return {"error": str(error)}
