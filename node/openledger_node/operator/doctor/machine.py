"""Checks of the machine: what is installed, what it has, and what the engine will make of it."""

import os
import re
import shutil
import sys
from importlib.metadata import PackageNotFoundError, requires, version
from importlib.util import find_spec
from pathlib import Path

from ...engine.budget import check_disk_room
from .finding import Verdict
from .scene import Scene

PYTHON_MIN, PYTHON_BELOW = (3, 11), (3, 14)
DISK_FREE_MIN_BYTES = 2 << 30
GIB = 1 << 30
CPU_FLAG = "avx512_bf16"


def python(_: Scene) -> Verdict:
    """The interpreter is one that this release knows."""
    found = ".".join(map(str, sys.version_info[:3]))
    is_known = PYTHON_MIN <= sys.version_info < PYTHON_BELOW
    return Verdict(found, "" if is_known else "install Python 3.11, 3.12 or 3.13, then `make clean` and `make start`")


def packages(_: Scene) -> Verdict:
    """All that the node depends on is installed."""
    asked = [line for line in requires("openledger-node") or [] if "extra ==" not in line]
    names = [re.split(r"[\[<>=!~; ]", line)[0] for line in asked]
    missing = [name for name in names if not _version_of(name)]
    fix = f"run `pip install {' '.join(missing)}`, or `make clean` and `make start`" if missing else ""
    return Verdict(f"{len(names) - len(missing)} of {len(names)} here", fix)


def torch(_: Scene) -> Verdict:
    """Torch is installed; it is not imported, which takes seconds."""
    found = _version_of("torch")
    return Verdict(found or "missing", "" if found else "run `pip install 'torch>=2.6,<3'`")


def device(scene: Scene) -> Verdict:
    """Torch's build fits the card, and its driver answers, as far as can be seen without loading it."""
    if shutil.which("nvidia-smi") is None:
        return Verdict("no NVIDIA card: the engine runs on the CPU, or on Apple's GPU")
    machine = scene.machine
    if machine.gpu is None:
        fix = "run `nvidia-smi`: it says what its driver lacks; often a restart after an update is enough"
        return Verdict("an NVIDIA card whose driver does not answer", fix)
    if (_version_of("torch") or "").endswith("+cpu"):
        fix = 'run `make clean && make start TORCH_ARGS="--index-url <index of CUDA builds>"`'
        return Verdict(f"{machine.gpu}, and torch's CPU build", fix)
    return Verdict(f"{machine.gpu}, {machine.gpu_bytes / GIB:.1f} GiB")


def compiled(scene: Scene) -> Verdict:
    """Whether the compiled step is to be used on this processor; without it torch computes, and all works."""
    if scene.config.inference.acceleration == "off":
        return Verdict("off, by [inference] acceleration")
    flags = Path("/proc/cpuinfo").read_text(errors="replace") if Path("/proc/cpuinfo").exists() else ""
    if CPU_FLAG not in flags:
        return Verdict("not for this processor: torch computes")
    compiler = next((name for name in ("g++", "clang++", "c++") if shutil.which(name)), None)
    if compiler is None:
        return Verdict("no C++ compiler: torch computes", "install one for more speed: `apt-get install g++`")
    return Verdict(f"for this processor, by {compiler}")


def memory(scene: Scene) -> Verdict:
    """The base fits into memory, with as much again for everything else."""
    if not scene.has_base():
        return Verdict("not looked at before the base is here", is_known=False)
    machine, folder = scene.machine, scene.base.folder
    total = machine.gpu_bytes if machine.gpu and scene.config.inference.device != "cpu" else machine.ram_bytes
    needed = 2 * sum(file.stat().st_size for file in folder.glob("*.safetensors")) if folder else 0
    found = f"{total / GIB:.1f} GiB, the base wants about {needed / GIB:.1f}"
    fix = "`openledger-node setup` proposes a smaller base; or set [inference] quantisation"
    return Verdict(found, "" if total >= needed else fix)


def disk(scene: Scene) -> Verdict:
    """There is room for a base, adapters and the ledger, on the disk and under the owner's cap."""
    root = scene.home.root
    free = shutil.disk_usage(root).free
    if free < DISK_FREE_MIN_BYTES:
        fix = f"free some space on the disk of {root}, or set OPENLEDGER_HOME to a larger one"
        return Verdict(f"{free / GIB:.1f} GiB free", fix)
    check_disk_room(scene.home, scene.config.limits.disk_bytes)
    return Verdict(f"{free / GIB:.1f} GiB free")


def download(_: Scene) -> Verdict:
    """Pip is here, which `models pull` asks where the demo base lies."""
    return Verdict("pip is here") if find_spec("pip") else Verdict("no pip", "run `python -m ensurepip`")


def load(scene: Scene) -> Verdict:
    """Whether others leave the engine its cores."""
    busy, cores = os.getloadavg()[0], os.cpu_count() or 1
    found = f"{busy:.1f} programs want the {cores} cores"
    if busy < 4 * cores or scene.config.limits.pause_when_busy:
        return Verdict(found)
    return Verdict(found, "`openledger-node limits set --pause-when-busy` lets the node stand aside")


def _version_of(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
