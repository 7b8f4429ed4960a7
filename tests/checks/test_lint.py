"""Format, lint, the rules of imports, types and budgets: `make lint`, beside the tests."""

import subprocess

import pytest
from support.processes.nodes import ROOT


def test_lint_and_types() -> None:
    done = subprocess.run(["make", "--no-print-directory", "lint"], cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        pytest.fail(done.stdout + done.stderr, pytrace=False)
