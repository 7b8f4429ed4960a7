"""Checks that are programs of their own, started by make beside the tests, so that every core is busy to the end."""

import faulthandler
import subprocess

import pytest
from support.processes.nodes import ROOT
from support.tiers import depth

ARGUMENTS = {
    "contracts": "",
    "kernels": "",
    "test-llamacpp": "",
    "test-clients": depth(light="--short", deep=""),
    "test-home": depth(light="--quick", deep="--json --trials 20"),
}
"""Targets of the Makefile, and the ARGS of each."""

LIMIT_S = depth(light=1_800, deep=36_000)
"""A program that hangs ends its worker then, and the run names it."""


@pytest.mark.parametrize("target", [pytest.param(each, marks=pytest.mark.xdist_group(each)) for each in ARGUMENTS])
def test_a_program_of_checks_finds_no_fault(target: str) -> None:
    faulthandler.dump_traceback_later(LIMIT_S, exit=True)  # in place of a test's ten minutes
    make = ["make", "--no-print-directory", target, f"ARGS={ARGUMENTS[target]}"]
    done = subprocess.run(make, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        pytest.fail(done.stdout + done.stderr, pytrace=False)
    print(done.stdout)  # the summary repeats its lines that begin with NOT TESTED
