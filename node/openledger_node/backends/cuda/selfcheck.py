"""Test of the kernels on a card before they serve, with a tiny base like the served one (`torch_lora/selfcheck.py`).

`python -m openledger_node.backends.cuda.selfcheck FOLDER DEVICE DTYPE QUANTISATION` runs it and ends with status 0 if
the kernels are right. It is a process of its own, because a wrong kernel may take the card from the process that runs
it, which then could not even serve on plain torch. The kernels that it compiles are kept for the engine.
"""

import hashlib
import subprocess
import sys
from importlib.resources import files
from pathlib import Path

import torch
import triton
from torch import Tensor

from openledger_node.backends.torch_lora.adapter_blob import AdapterBlob
from openledger_node.backends.torch_lora.chosen_base import ChosenBase
from openledger_node.backends.torch_lora.placement import DTYPES, Placement
from openledger_node.backends.torch_lora.selfcheck import NUM_BLOCKS, Case, case_like, fault_of
from openledger_node.backends.torch_lora.weights import Weights
from openledger_node.engine.backend import BatchRow
from openledger_node.engine.kernel_verdict import KernelVerdict, keep_verdict, read_verdict
from openledger_node.errors import ModelError
from openledger_node.models.decoder_config import DecoderConfig, read_config
from openledger_protocol.primitives import AdapterId

from .arena import Arena
from .decoder import empty_cache
from .forward import Forward
from .graph import capture_for

ARENA_BYTES = 8 << 20
BATCH_MAX = 8
INT4_BITS = 4
CHECK_TIMEOUT_S = 300.0
"""Compiling all kernels takes well under a minute; a kernel that hangs must not hold up the start for ever."""


def fault_on_card(base: ChosenBase, placement: Placement) -> str:
    """The reason why the kernels can't serve a base on this card, or an empty string.

    The check runs once for a card, its software and a kind of base. A fault is looked for again at every start.
    """
    case = case_like(base.config, _narrowed_like(base))
    key, tested = _tested(case, placement)
    kept = read_verdict(base.cache) if base.cache else None
    if kept and kept.key == key and not kept.fault:
        return ""
    dtype = str(placement.dtype).removeprefix("torch.")
    fault = run_check(str(base.folder), placement.device.type, dtype, case.quantisation)
    if base.cache:
        keep_verdict(base.cache, KernelVerdict(key=key, tested=tested, fault=fault))
    return fault


def run_check(*arguments: str, timeout_s: float = CHECK_TIMEOUT_S) -> str:
    """Run the check in a process of its own: the reason why it failed, or an empty string."""
    command = [sys.executable, "-m", "openledger_node.backends.cuda.selfcheck", *arguments]
    try:
        run = subprocess.run(command, capture_output=True, text=True, check=False, timeout=timeout_s)
    except subprocess.TimeoutExpired:
        return f"their self-check did not end within {timeout_s:.0f} s"
    except OSError as error:
        return f"their self-check could not be started: {error}"
    lines = run.stderr.strip().splitlines()
    return "" if run.returncode == 0 else lines[-1] if lines else f"their self-check ended with {run.returncode}"


def _narrowed_like(base: ChosenBase) -> str:
    """A format that a base can be narrowed to, whose kernel is the one that serves the base."""
    if (stored := base.config.stored) is None or base.quantisation != "stored":
        return base.quantisation
    return "nf4" if stored.is_float else "int4" if stored.bits <= INT4_BITS else "int8"


def _tested(case: Case, placement: Placement) -> tuple[str, str]:
    """A digest of all that a verdict depends on, and the card and the versions in words."""
    device = placement.device
    card = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    tested = f"{card}, torch {torch.__version__}, Triton {triton.__version__}"
    digest = hashlib.sha256(f"{tested} {placement.dtype} {case}".encode())
    for folder in (files(__package__), files(__package__) / "kernels"):
        for file in sorted(folder.iterdir(), key=lambda each: each.name):
            if file.name.endswith(".py"):
                digest.update(file.read_bytes())
    return digest.hexdigest(), tested


def check_kernels(case: Case, placement: Placement) -> None:
    """Require that the kernels compute what torch computes on the CPU in float32, also as a recorded graph.

    Raises:
        ModelError: they do not, so they must not serve.
        Exception: of Triton, its compiler or the driver, if they can't run.
    """
    if fault := fault_of(KernelEngine, placement, (case,)):
        raise ModelError(f"they compute wrong numbers in {placement.dtype} ({fault} of a self-check)")


class KernelEngine:
    """The arena and the forward pass of this backend, as the self-check uses them."""

    def __init__(self, config: DecoderConfig, weights: Weights, placement: Placement) -> None:
        self._arena = Arena(config, placement, num_bytes=ARENA_BYTES)
        self._forward = Forward(
            config,
            weights,
            self._arena,
            cache=empty_cache(config, NUM_BLOCKS, placement).fill_(float("nan")),
            context_max=config.context_max,
            batch_max=BATCH_MAX,
            capture=capture_for(placement.device),
        )
        self.join = self._forward.join

    def load(self, adapter_id: AdapterId, blob: AdapterBlob) -> None:
        """Bring an adapter to the device."""
        self._arena.load(adapter_id, self._arena.prepared(blob))

    def logits(self, rows: tuple[BatchRow, ...]) -> tuple[tuple[BatchRow, ...], Tensor]:
        """Run a step."""
        found = self._forward.run(rows)
        return found.drawn, found.logits


def main(folder: str, device: str, dtype: str, quantisation: str) -> None:
    """Check the kernels, and fail by exit status; the last line that is printed says why."""
    case = case_like(read_config(Path(folder)), quantisation)
    try:
        check_kernels(case, Placement(torch.device(device), DTYPES[dtype]))
    except ModelError as error:
        sys.exit(str(error))
    except Exception as error:  # of Triton, its compiler or the driver, which know no common class
        first = str(error).strip().partition("\n")[0]
        sys.exit(f"{type(error).__name__}: {first}")


if __name__ == "__main__":
    main(*sys.argv[1:])
