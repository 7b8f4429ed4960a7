"""The load's readers count right; and once, shortly, against a real daemon."""

import json
import subprocess
import sys
from importlib import import_module
from typing import Any

import pytest
from support.processes.nodes import ROOT

BENCH = ROOT / "scripts" / "bench"


@pytest.fixture
def readers(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(BENCH))
    return import_module("load_readers")


def test_tokens_that_come_together_are_late_once(readers: Any) -> None:
    reading = readers.Reading(seconds=2.0)
    reading.note(3, 0.5)
    reading.note(1, 0.25)
    assert reading.gaps_s == [0.5, 0.0, 0.0, 0.25]
    assert (reading.num_tokens, reading.rate) == (4, 2.0)


def test_gaps_are_kept_within_a_bound(readers: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readers, "GAPS_MAX", 10)
    reading = readers.Reading()
    for number in range(1_000):
        reading.note(1, float(number))
    assert len(reading.gaps_s) == 10
    assert max(reading.gaps_s) > 100, "newer ones take the place of older ones"


@pytest.mark.ci
@pytest.mark.slow
def test_a_short_load_ends_without_an_error_and_leaves_nothing_open() -> None:
    command = [sys.executable, str(BENCH / "load.py"), "--minutes", "0.05", "--streams", "4", "--json"]
    run = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert run.returncode == 0, run.stderr
    found = json.loads(run.stdout.splitlines()[-1])
    bars = {bar["id"]: bar for bar in found["bars"]}
    assert set(bars) == {"errors", "added_latency_p99", "rss_growth", "descriptors_left"}
    assert bars["errors"]["met"], bars["errors"]["why"]
    assert bars["descriptors_left"]["met"]
    assert found["runs"]["http"]["answers"] > 0
