"""The serving benchmark's short form, whose figures mean nothing."""

import json
import subprocess
import sys

import pytest
from support.processes.nodes import ROOT, TEST_HOME

from openledger_node.models.download import pull_base
from openledger_protocol.constants import DEMO_BASE_NAME

TIMEOUT_S = 600
NEEDS_VLLM = {"torch_k32_over_vllm", "k32_over_vllm"}
ACCELERATED = {
    "base_over_transformers",
    "k8_over_peft",
    "k32_over_peft",
    "one_over_transformers",
    "ttft_k32_over_base",
}


@pytest.mark.real
@pytest.mark.slow
@pytest.mark.deep(reason="its contenders take minutes to load, and other tests hold our answers against PEFT's")
def test_every_bar_of_the_short_form_has_a_value_or_says_why_not() -> None:
    pull_base(TEST_HOME, DEMO_BASE_NAME, source=None, report=lambda stage: None)
    command = [sys.executable, str(ROOT / "scripts" / "bench" / "serving.py"), "--quick", "--json", "--peers", "peft"]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, timeout=TIMEOUT_S)
    assert ran.returncode == 0, ran.stderr[-2000:]
    found = json.loads(ran.stdout.splitlines()[-1])
    bars = {bar["id"]: bar for bar in found["bars"]}
    absent = {id for id, bar in bars.items() if bar["value"] is None}
    assert absent - NEEDS_VLLM in (set(), ACCELERATED)
    assert all(bars[id]["why"] for id in absent)
    assert {"openledger-node", "python", "torch", "transformers", "peft"} <= set(found["env"]["versions"])
