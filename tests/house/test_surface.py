"""The counting of scripts/surface.py, which `make lint` runs against the budgets of scripts/surface.toml."""

import runpy
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
