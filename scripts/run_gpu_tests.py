"""The tests that need a card: `make test-gpu`. Prints card and versions, so that the output can be reported."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import torch

from openledger_node import __version__
from openledger_node.backends.device_facts import device_facts
from openledger_node.card import find_card, find_torch, missing_for_kernels, trouble_with

RUNS = (("tests/gpu", "tests/node/backends/cuda"), ("tests/conformance/test_backend.py", "-k", "card"))
"""The engine on the card, and the kernels by their own tests; then what every backend must do."""

CARD_VARIABLE = "GPU_FOR_TESTS"  # of tests/support/on_card.py
FLAGS = ("-q", "-p", "no:cacheprovider", "--durations=10")


def main() -> None:
    if trouble := why_not():
        raise SystemExit(f"make test-gpu needs a card that torch can use, Triton and a C compiler: {trouble}")
    for line in described():
        print(line, flush=True)
    began_s = time.monotonic()
    statuses = [run_pytest(words) for words in RUNS]
    verdict = "passed" if not any(statuses) else "FAILED"
    print(f"{verdict} in {time.monotonic() - began_s:.0f} s on {torch.cuda.get_device_name()}")
    sys.exit(any(statuses))


def why_not() -> str:
    """The reason why the tests can't run here; empty if they can."""
    if not torch.cuda.is_available():
        card = find_card(0)
        trouble = trouble_with(card, find_torch()) if card else None
        return f"{trouble.found}; {trouble.fix}" if trouble else "torch finds no card"
    if missing := missing_for_kernels():
        return f"{missing.found}; {missing.fix}"
    return ""


def described() -> Iterator[str]:
    """The card and the versions."""
    facts, card = device_facts("cuda"), find_card(0)
    memory = f"{facts.total_bytes / 2**30:.1f} GiB at {facts.bytes_per_s / 1e9:.0f} GB/s"
    yield f"{facts.name}, {facts.architecture}, {memory}, driver {card.driver if card else 'unknown'}"
    yield f"openledger-node {__version__}, torch {facts.torch} for {facts.runtime}, Triton {facts.triton}"


def run_pytest(words: tuple[str, ...]) -> int:
    """Run tests on the card and return pytest's exit status."""
    command = [str(Path(sys.executable).with_name("pytest")), *FLAGS, *words, *sys.argv[1:]]
    return subprocess.run(command, env={**os.environ, CARD_VARIABLE: "1"}, check=False).returncode


if __name__ == "__main__":
    main()
