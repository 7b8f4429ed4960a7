"""The GPU's benchmark runs from end to end without a card, on a tiny base: no card should meet its first mistake."""

import importlib.util
import json
import os
import subprocess
import sys
from typing import Any

import pytest
from support.depth import depth
from support.processes.nodes import ROOT

pytestmark = pytest.mark.slow

BENCH = ROOT / "scripts" / "bench"
TIMEOUT_S = 300
NEEDS_A_CARD = {"g2_load_peak", "g10_idle"}
PEERS = depth(light="", deep="peft")  # it takes as long to start as all the rest
NEEDS_A_PEER = {"g5_over_vllm", "g6_over_vllm_lora"} | ({"g6_over_peft"} if not PEERS else set())
ELSEWHERE = {"g1_kernels"}
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
    command = [sys.executable, "-c", RUN, str(BENCH / "gpu.py"), "--quick", "--json", "--peers", PEERS]
    path = os.pathsep.join([str(BENCH), str(ROOT / "tests")])
    environment = {**os.environ, "RANDOM_BASE_POOL": "200000", "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": path}
    return subprocess.run(
        command, env=environment, capture_output=True, text=True, check=False, timeout=TIMEOUT_S, cwd=ROOT
    )


@pytest.fixture(scope="module")
def bars(ran: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    assert ran.returncode == 0, ran.stderr[-2000:]
    found = json.loads(ran.stdout.splitlines()[-1])
    assert found["schema"] == "openledger.bench_gpu/1"
    return {bar["id"]: bar for bar in found["bars"]}


def test_every_bar_is_measured_or_says_why_not(bars: dict[str, Any]) -> None:
    absent = {id for id, bar in bars.items() if bar["value"] is None}
    assert absent == NEEDS_A_CARD | NEEDS_A_PEER | ELSEWHERE
    assert all(bars[id]["why"].startswith("NOT TESTED: ") and len(bars[id]["why"]) > 20 for id in absent)


def test_answers_are_right_and_no_request_is_refused(bars: dict[str, Any]) -> None:
    assert bars["g0_greedy_as_cpu"]["value"] == 1
    assert bars["g2_refusals"]["value"] == 0


def test_without_a_card_the_long_form_says_what_it_needs() -> None:
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    ran = subprocess.run(
        [sys.executable, str(BENCH / "gpu.py")], env=environment, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 1
    assert ran.stderr.startswith("this needs a card that torch can use, and there is none")


def test_idle_time_is_what_no_kernel_covers() -> None:
    sys.path[:0] = [str(BENCH), str(BENCH / "players")]
    try:
        spec = importlib.util.spec_from_file_location("gpu_cases", BENCH / "gpu_cases.py")
        assert spec
        assert spec.loader
        module = importlib.util.module_from_spec(spec)
        sys.modules["gpu_cases"] = module
        spec.loader.exec_module(module)
    finally:
        del sys.path[:2]
    spans = [(0.0, 900.0), (1000.0, 1500.0), (1400.0, 2000.0), (2500.0, 3000.0)]
    assert module.idle_ms(spans, decode_s=0.002) == pytest.approx(0.5)
    assert module.idle_ms(spans, decode_s=0.003) == pytest.approx(0.6)
