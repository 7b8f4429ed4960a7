"""scripts/kernel_table.py finds kernels that must not ship. No card is needed to compile for one."""

import json
import os
import subprocess
import sys
from typing import Any

import pytest
from support.processes.nodes import ROOT

pytest.importorskip("triton", reason="NOT TESTED: the kernels' machine code: Triton is not installed")

PROGRAM = """
import json, sys
from support import odd_kernels
import kernel_table as table
from openledger_node.backends.cuda.kernels.targets import TARGETS

table.cases_of = lambda module: odd_kernels.compile_cases()
found = [table.compile_one("odd", case, TARGETS.index(target)) for case in range(3) for target in TARGETS[1::5]]
json.dump([[each.kernel, str(each.target.arch), each.registers, each.fault] for each in found], sys.stdout)
"""


@pytest.fixture(scope="module")
def found() -> list[Any]:
    path = os.pathsep.join([str(ROOT / "scripts"), str(ROOT / "tests")])
    environment = {**os.environ, "TRITON_INTERPRET": "0", "PYTHONPATH": path}
    run = subprocess.run([sys.executable, "-c", PROGRAM], env=environment, check=True, capture_output=True, text=True)
    return json.loads(run.stdout)


def test_a_kernel_is_compiled_for_cards_of_two_makers(found: list[Any]) -> None:
    good = [each for each in found if each[0] == "odd.copied"]
    assert [each[1] for each in good] == ["80", "gfx1100"]
    assert all(registers > 0 and not fault for _, _, registers, fault in good)


def test_a_kernel_that_spills_is_a_fault(found: list[Any]) -> None:
    faults = [fault for kernel, _, _, fault in found if kernel == "odd.spilling"]
    assert len(faults) == 2
    assert all(fault.startswith("spills ") for fault in faults)


def test_a_kernel_that_does_not_compile_is_a_fault_with_its_reason(found: list[Any]) -> None:
    faults = [fault for kernel, _, _, fault in found if kernel == "odd.wrong"]
    assert all("arange's range must be a power of 2" in fault for fault in faults), faults
