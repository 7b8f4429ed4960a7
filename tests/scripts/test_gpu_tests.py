"""`make test-gpu` says what it needs, and its tests are rehearsed on the interpreter, as no card runs them in CI."""

import os
import subprocess
import sys

import pytest
from support.on_card import CARD_VARIABLE, REHEARSAL
from support.processes.nodes import ROOT

TIMEOUT_S = 600


def run(*words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", **variables}
    return subprocess.run(
        [sys.executable, *words],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=TIMEOUT_S,
        cwd=ROOT,
    )


@pytest.mark.process
def test_without_a_card_one_sentence_says_what_is_needed() -> None:
    ran = run("scripts/run_gpu_tests.py")
    assert ran.returncode == 1
    assert ran.stdout == ""
    assert ran.stderr.startswith("make test-gpu needs a card that torch can use, Triton and a C compiler: ")
    assert ran.stderr.count("\n") == 1


@pytest.mark.process
@pytest.mark.process
def test_the_cards_tests_pass_on_the_interpreter() -> None:
    ran = run("-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/gpu", **{CARD_VARIABLE: REHEARSAL})
    assert ran.returncode == 0, ran.stdout[-4000:]
    assert " passed" in ran.stdout
    assert "skipped" not in ran.stdout
