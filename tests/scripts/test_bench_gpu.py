"""The GPU's benchmark runs from end to end without a card, on a tiny base: no card should meet its first mistake."""

import json
import os
import subprocess
import sys
from typing import Any

import pytest
from support.processes.nodes import ROOT

pytestmark = pytest.mark.slow

BENCH = ROOT / "scripts" / "bench"
TIMEOUT_S = 300
NEEDS_A_CARD = {"g2_load_peak", "g10_idle"}
RUN = """
import runpy, sys
from support.quick_interpreter import quicken_interpreter
quicken_interpreter()
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""
"""Runs a script on the interpreter of the kernels' own tests, which takes a quarter less of the processor."""


@pytest.fixture(scope="module")
def ran() -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", RUN, str(BENCH / "gpu.py"), "--quick", "--json"]
    path = os.pathsep.join([str(BENCH), str(ROOT / "tests")])
    environment = {**os.environ, "RANDOM_BASE_POOL": "200000", "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": path}
    return subprocess.run(
        command, env=environment, capture_output=True, text=True, check=False, timeout=TIMEOUT_S, cwd=ROOT
    )


@pytest.fixture(scope="module")
def bars(ran: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    assert ran.returncode == 0, ran.stderr[-2000:]
    found = json.loads(ran.stdout.splitlines()[-1])
    assert found["schema"] == "openledger.bench_gpu/2"
    return {bar["id"]: bar for bar in found["bars"]}


def test_every_bar_is_measured_or_says_why_not(bars: dict[str, Any]) -> None:
    absent = {id for id, bar in bars.items() if bar["value"] is None}
    assert absent == NEEDS_A_CARD
    assert all(bars[id]["why"].startswith("NOT TESTED: ") and len(bars[id]["why"]) > 20 for id in absent)


def test_answers_are_right(bars: dict[str, Any]) -> None:
    assert bars["g0_greedy_as_cpu"]["value"] == 1


def test_without_a_card_the_long_form_says_what_it_needs() -> None:
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    ran = subprocess.run(
        [sys.executable, str(BENCH / "gpu.py")], env=environment, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 1
    assert ran.stderr.startswith("this needs a card that torch can use, and there is none")
