"""The contracts' own tests, for whoever changes a contract: `make contracts` with fewer drawn examples."""

import os
import shutil
import subprocess

import pytest
from support.processes.nodes import ROOT

INPUTS = ("contracts", "node/openledger_node/chain/artifacts", "tests/vectors")


def test_contracts_that_somebody_changes() -> None:
    git = ["git", "status", "--porcelain", "--", *INPUTS]
    if not subprocess.run(git, cwd=ROOT, check=True, capture_output=True).stdout:
        pytest.skip("the contracts: they are as committed. `make test-more` tests them")
    if shutil.which("npm") is None:
        pytest.skip("the contracts, which are changed: npm is not installed")
    done = subprocess.run(
        ["make", "--no-print-directory", "contracts"],
        cwd=ROOT,
        env={**os.environ, "FOUNDRY_PROFILE": "quick"},
        capture_output=True,
        text=True,
    )
    if done.returncode:
        pytest.fail(done.stdout + done.stderr, pytrace=False)
