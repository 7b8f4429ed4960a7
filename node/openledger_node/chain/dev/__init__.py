"""Development chains: an embedded EVM or anvil behind JSON-RPC, in a process of its own.

The EVM's BLS12-381 precompiles are imported at their first call. Their library computes tables while it is imported,
which takes a third of a chain's start, and no contract of this project calls them.
"""

import sys
from functools import partial
from importlib import import_module
from types import ModuleType
from typing import Any, Final

PACKAGE: Final = "eth.precompiles.bls12_381"
NAMES: Final = (
    "bls12_g1_add",
    "bls12_g1_msm",
    "bls12_g2_add",
    "bls12_g2_msm",
    "bls12_map_fp_to_g1",
    "bls12_map_fp2_to_g2",
    "bls12_pairing_check",
)


def import_precompiles_late() -> None:
    """Stand in for the package of these precompiles until one is called; does nothing if it is imported already."""
    if PACKAGE in sys.modules:
        return
    late = ModuleType(PACKAGE)
    for name in NAMES:
        setattr(late, name, partial(_call, late, name))
    sys.modules[PACKAGE] = late


def _call(late: ModuleType, name: str, computation: Any) -> Any:
    """Run one precompile of the package itself."""
    if sys.modules.get(PACKAGE) is late:
        del sys.modules[PACKAGE]
    return getattr(import_module(PACKAGE), name)(computation)


import_precompiles_late()  # here, because the EVM must not be imported before
