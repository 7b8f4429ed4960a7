"""The counting of scripts/surface.py, which `make lint` runs against the budgets of scripts/surface.toml."""

import runpy
from pathlib import Path
from types import SimpleNamespace

import pytest
from support.processes.nodes import ROOT

surface = SimpleNamespace(**runpy.run_path(str(ROOT / "scripts" / "surface.py")))


def test_a_number_above_its_budget_and_the_slack_is_named() -> None:
    budgets = {"lines": 1000, "commands": 10}
    assert surface.above({"lines": 1010, "commands": 10}, budgets) == []
    assert surface.above({"lines": 1011, "commands": 10}, budgets) == ["lines"]
    assert surface.above({"lines": 1000, "commands": 11}, budgets) == ["commands"]


def test_a_number_without_a_budget_is_refused() -> None:
    with pytest.raises(SystemExit, match="differ in: routes"):
        surface.above({"lines": 1, "routes": 1}, {"lines": 1})


def test_cutting_a_file_in_two_changes_no_room() -> None:
    text = "def one() -> None: ...\n\n\nclass Two: ...\n"
    whole = {"node/openledger_node/hall/a.py": text}
    halves = {"node/openledger_node/hall/a.py": text[:23], "node/openledger_node/hall/b.py": text[23:]}
    assert surface.rooms(whole) == surface.rooms(halves) == {"hall": (4, 2)}


def test_messages_are_counted_in_the_tables_of_the_protocol() -> None:
    [table, other] = surface.ast.parse(
        '_MESSAGES = MessageSet({"call": (Call, X), "bid": (Bid, Y)})\nrest = {"a": 1}'
    ).body
    assert (surface.num_messages(table), surface.num_messages(other)) == (2, 0)


def test_a_contract_counts_what_its_own_sources_declare() -> None:
    """OpenToken declares nothing but overrides of OpenZeppelin's functions."""
    artifacts: Path = surface.ROOT / surface.ARTIFACTS
    assert surface.num_own_functions(artifacts / "OpenToken.json") == 0
    assert surface.num_own_functions(artifacts / "Params.json") > 0
