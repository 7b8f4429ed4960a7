"""Checks of the machine: interpreter, packages, GPU, memory, disk and load."""

import os
import re
import shutil
import sys
from importlib.metadata import PackageNotFoundError, requires, version
from importlib.util import find_spec
from pathlib import Path

from ...card import missing_for_kernels
from ...engine.budget import check_disk_room
from ...engine.kernel_verdict import read_verdict
from ...text import size_text
from .finding import Verdict, unknown
from .scene import Scene

PYTHON_MIN, PYTHON_BELOW = (3, 11), (3, 14)
DISK_FREE_MIN_BYTES = 2 << 30
CPU_FLAG = "avx512_bf16"
OTHER_TRITON = 'install another torch with its Triton, or set [inference] acceleration = "off" to hide this'


def python(_: Scene) -> Verdict:
    """This release supports the interpreter."""
    found = ".".join(map(str, sys.version_info[:3]))
    is_known = PYTHON_MIN <= sys.version_info < PYTHON_BELOW
    return Verdict(found, "" if is_known else "install Python 3.11, 3.12 or 3.13, then `make clean` and `make start`")


def packages(_: Scene) -> Verdict:
    """All dependencies of the node are installed."""
    required = [line for line in requires("openledger-node") or [] if "extra ==" not in line]
    names = [re.split(r"[\[<>=!~; ]", line)[0] for line in required]
    missing = [name for name in names if not _version_of(name)]
    fix = f"run `pip install {' '.join(missing)}`, or `make clean` and `make start`" if missing else ""
    return Verdict(f"{len(names) - len(missing)} of {len(names)} installed", fix)


def torch(_: Scene) -> Verdict:
    """Torch is installed; this check does not import it, which would take seconds."""
    found = _version_of("torch")
    return Verdict(found or "missing", "" if found else "run `pip install 'torch>=2.6,<3'`")


def device(scene: Scene) -> Verdict:
    """The driver answers and torch's build fits the card, as far as one can tell without loading torch."""
    machine = scene.machine
    if machine.trouble:
        is_wanted = scene.config.inference.device != "cpu"
        return Verdict(machine.trouble.found, machine.trouble.fix if is_wanted else "")
    if (card := machine.usable_card) is None:
        return Verdict("no graphics card: the engine runs on the CPU")
    untested = ", a kind of card that is not tested yet" if card.vendor != "nvidia" else ""
    return Verdict(f"{card.name}{untested}")


def compiled(scene: Scene) -> Verdict:
    """The compiled CPU kernel can be used here; without it torch computes, only slower."""
    if scene.config.inference.acceleration == "off":
        return Verdict("off, set by [inference] acceleration")
    flags = Path("/proc/cpuinfo").read_text(errors="replace") if Path("/proc/cpuinfo").exists() else ""
    if CPU_FLAG not in flags:
        return Verdict("not available for this processor: torch computes")
    compiler = next((name for name in ("g++", "clang++", "c++") if shutil.which(name)), None)
    if compiler is None:
        return Verdict("no C++ compiler: torch computes", "install one for more speed: `apt-get install g++`")
    return Verdict(f"used on this processor, built with {compiler}")


def kernels(scene: Scene) -> Verdict:
    """The card runs the node's own kernels; without them plain torch serves, only slower."""
    inference, card = scene.config.inference, scene.machine.usable_card
    if card is None or card.vendor == "apple" or inference.device not in ("auto", "cuda"):
        return unknown("no card that they are for")
    if inference.acceleration == "off":
        return Verdict("off, set by [inference] acceleration: plain torch computes")
    if trouble := missing_for_kernels():
        return Verdict(f"plain torch computes: {trouble.found}", trouble.fix)
    verdict = read_verdict(scene.home.cache)
    if verdict is None:
        return Verdict("compiled by Triton at the first start, which tests them")
    if verdict.fault:
        return Verdict(f"plain torch computes: {verdict.fault} ({verdict.tested})", OTHER_TRITON)
    return Verdict(f"compiled by Triton, and their self-check passed ({verdict.tested})")


def memory(scene: Scene) -> Verdict:
    """The memory of this machine and of its card, and what other programs use of the card."""
    machine, card = scene.machine, scene.machine.usable_card
    found = size_text(machine.ram_bytes)
    if card is None:
        return Verdict(found)
    taken = f", {size_text(card.taken_bytes)} of them in use by other programs" if card.taken_bytes else ""
    return Verdict(f"{found}; the card has {size_text(card.total_bytes)}{taken}")


def disk(scene: Scene) -> Verdict:
    """The disk and the operator's limit have room for a base, adapters and the ledger."""
    root = scene.home.root
    free = shutil.disk_usage(root).free
    if free < DISK_FREE_MIN_BYTES:
        fix = f"free some space on the disk of {root}, or set OPENLEDGER_HOME to a folder on a larger disk"
        return Verdict(f"{size_text(free)} free", fix)
    check_disk_room(scene.home, scene.config.limits.disk_bytes)
    return Verdict(f"{size_text(free)} free")


def download(_: Scene) -> Verdict:
    """Pip is installed: `models pull` downloads the demo base with it."""
    return Verdict("pip is installed") if find_spec("pip") else Verdict("no pip", "run `python -m ensurepip`")


def load(scene: Scene) -> Verdict:
    """Other programs leave the engine its cores."""
    busy, cores = os.getloadavg()[0], os.cpu_count() or 1
    found = f"{busy:.1f} programs compete for {cores} cores"
    if busy < 4 * cores:
        return Verdict(found)
    return Verdict(found, "close some, or run `openledger-node pause --for 1h`", is_passing=True)


def _version_of(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
