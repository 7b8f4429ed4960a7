"""The pause benchmark's short form, on the fake: memory is back within its bars, also while the engine is loading."""

import json
import subprocess
import sys

import pytest
from support.processes.nodes import ROOT

pytestmark = pytest.mark.slow

TIMEOUT_S = 300


def test_memory_is_given_back_within_its_bars_and_found_again() -> None:
    command = [sys.executable, str(ROOT / "scripts" / "bench" / "pause.py"), "--quick", "--json"]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, timeout=TIMEOUT_S)
    assert ran.returncode == 0, ran.stderr[-2000:]
    found = json.loads(ran.stdout.splitlines()[-1])
    assert found["schema"] == "openledger.bench_pause/1"
    measured = {bar["id"]: bar["met"] for bar in found["bars"] if bar["id"].startswith("fake")}
    assert measured == dict.fromkeys(
        ("fake_pause_idle_s", "fake_pause_streams_s", "fake_pause_now_streams_s", "fake_pause_loading_s"), True
    )
    assert all(bar["value"] is None and bar["why"] for bar in found["bars"] if not bar["id"].startswith("fake"))
    assert found["runs"]["fake"]["first_token_unloaded_s"]
