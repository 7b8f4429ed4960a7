"""The money benchmark's short form: its gas is that of real transactions, so the bars hold in it too."""

import json
import subprocess
import sys
from typing import Any

import pytest
from support.processes.nodes import ROOT

pytestmark = pytest.mark.slow

GAS = {
    "claim_10_lanes",
    "claim_100_lanes_each",
    "propose_50",
    "draw",
    "opening",
    "finalize_new_account",
    "finalize_known_account",
    "withdraw",
    "relayed_100_each",
}
RATES = {"signing", "verifying"}
TIMEOUT_S = 300


@pytest.fixture(scope="module")
def found() -> Any:
    """The object on the last line of a short run."""
    command = [sys.executable, str(ROOT / "scripts" / "bench" / "money.py"), "--quick", "--json"]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, timeout=TIMEOUT_S)
    assert ran.returncode == 0, ran.stderr[-2000:]
    return json.loads(ran.stdout.splitlines()[-1])


def test_each_step_keeps_its_bar(found: Any) -> None:
    assert found["schema"] == "openledger.bench_money/1"
    bars = {bar["id"]: bar for bar in found["bars"]}
    assert set(bars) == GAS | RATES
    for name in GAS:
        assert bars[name]["met"], bars[name]
        assert bars[name]["value"] > 1_000, "a step costs something"
    assert all(bars[name]["value"] > 0 for name in RATES)


def test_what_happens_once_costs_more_and_is_told(found: Any) -> None:
    gas, why = found["runs"]["gas"], {bar["id"]: bar["why"] for bar in found["bars"]}
    assert gas["claim_10_first"] > gas["claim_10_lanes"]
    assert gas["withdraw_first"] > gas["withdraw"]
    assert f"{gas['claim_10_first']:,}" in why["claim_10_lanes"]
    assert f"{gas['withdraw_first']:,}" in why["withdraw"]
