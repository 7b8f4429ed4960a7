"""Precompiles that nobody calls are imported at their first call."""

import subprocess
import sys

LIBRARY = "py_ecc.optimized_bls12_381"

ADDS = f"""
import sys
import openledger_node.chain.dev.embedded
from eth.vm.forks.prague.computation import PRAGUE_PRECOMPILES
from types import SimpleNamespace
assert {LIBRARY!r} not in sys.modules, "imported before anybody called it"

ADDRESS = bytes(19) + bytes([0x0B])  # adds two points of BLS12-381
INFINITY = bytes(256)
found = SimpleNamespace(
    msg=SimpleNamespace(data_as_bytes=INFINITY, data=INFINITY), consume_gas=lambda *_, **__: None, output=None
)
PRAGUE_PRECOMPILES[ADDRESS](found)
assert found.output == bytes(128), found.output
assert {LIBRARY!r} in sys.modules
import eth.precompiles.bls12_381
assert eth.precompiles.bls12_381.__file__, "the package itself is in its place now"
"""


def test_a_chain_starts_without_the_library_of_pairings_and_a_call_still_finds_it() -> None:
    run = subprocess.run([sys.executable, "-c", ADDS], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
