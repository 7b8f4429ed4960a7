"""The graphics card of this machine, its memory, and whether this build of torch can use it; torch is not loaded."""

import os
import platform
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from sysconfig import get_paths
from typing import Literal, NamedTuple
from xml.etree import ElementTree

NVIDIA_SMI = "nvidia-smi"
TIMEOUT_S = 5.0
PROC = Path("/proc")
CARDS = Path("/sys/class/drm")
VENDORS = {"0x10de": "nvidia", "0x1002": "amd"}
"""PCI vendor ids, as Linux writes them beside each card. Intel's are left out: torch needs another build for them."""

OURS = "openledger_node"
"""A part of the command line of every process that the node starts: engine, trainer, chain."""

AMD_LEAST_BYTES = 2 << 30
"""A processor's built-in graphics has less memory of its own, and torch's ROCm build does not support it."""

APPLE_SHARE_PERCENT = 66
"""Of a Mac's memory, Metal lets the GPU use two thirds, or three quarters if there are more than 36 GB."""

DRIVER_MIN = {11: 450, 12: 525, 13: 580}
"""The least NVIDIA driver for each major version of CUDA. Source: NVIDIA, CUDA minor version compatibility."""

TRITON_MIN = (3, 4)
"""The least version of Triton that the engine's kernels are written for."""

TRITON_FIX = "torch 2.8 or later brings it, in its builds for CUDA and ROCm on Linux: `make clean && make start`"

ARCHITECTURES = ("Kepler", "Maxwell", "Pascal", "Volta", "Turing", "Ampere", "Ada Lovelace", "Hopper", "Blackwell")
"""NVIDIA's generations as nvidia-smi names them, the oldest first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """One graphics card; `total_bytes` is 0 if its driver does not answer."""

    vendor: Literal["nvidia", "amd", "apple"]
    name: str
    total_bytes: int = 0
    taken_bytes: int = 0  # now, by the driver and by programs that are not known to be this node's
    own_bytes: int = 0  # now, by programs that the driver lists and that are this node's
    driver: str = ""
    architecture: str = ""  # one of ARCHITECTURES, if the driver says so

    @property
    def free_bytes(self) -> int:
        """The memory that the engine may take now."""
        return max(0, self.total_bytes - self.taken_bytes)

    def without(self, held_bytes: int) -> "Card":
        """The card as it is once an engine that holds `held_bytes` has ended.

        AMD's driver counts the engine as any other program, and so does NVIDIA's in a container.
        """
        unlisted_bytes = max(0, held_bytes - self.own_bytes)
        return replace(self, taken_bytes=max(0, self.taken_bytes - unlisted_bytes))


class TorchBuild(NamedTuple):
    """The torch that is installed, and the versions of CUDA and ROCm that it was built for."""

    version: str
    cuda: str | None
    hip: str | None


class Trouble(NamedTuple):
    """The reason why the engine can't use a card, and the operator's remedy."""

    found: str
    fix: str


def find_card(ram_bytes: int) -> Card | None:
    """Ask the driver of the first card; `ram_bytes`: the machine's memory, which a Mac's GPU shares."""
    if sys.platform == "darwin":
        return _apple_card(ram_bytes)
    if shutil.which(NVIDIA_SMI) is not None:
        return _nvidia_card()
    if any(_vendor(card) == "nvidia" for card in CARDS.glob("card*")):
        return Card(vendor="nvidia", name="NVIDIA card")
    return _amd_card()


def find_torch() -> TorchBuild | None:
    """Read what torch was built for from its own files; None if it is not installed."""
    try:
        found = version("torch")
    except PackageNotFoundError:
        return None
    spec = find_spec("torch")
    file = Path(spec.origin).with_name("version.py") if spec and spec.origin else None
    text = file.read_text() if file and file.exists() else ""

    def built_for(name: str) -> str | None:
        line = re.search(rf"^{name}\b[^=]*= *'([^']+)'", text, re.MULTILINE)
        return line[1] if line else None

    return TorchBuild(built_for("__version__") or found, built_for("cuda"), built_for("hip"))


def has_card_for(build: TorchBuild | None) -> bool:
    """Return True if torch will find a card of its kind here; asks no driver, so it is quick."""
    if build is None:
        return False
    if build.hip:
        return any(_vendor(card) == "amd" for card in CARDS.glob("card*"))
    return build.cuda is not None and shutil.which(NVIDIA_SMI) is not None


def trouble_with(card: Card, build: TorchBuild | None) -> Trouble | None:
    """The reason why the engine can't use this card; None if nothing is known against it."""
    if card.vendor == "apple" or build is None:
        return None
    if card.vendor == "amd":
        return None if build.hip else _amd_trouble(card)
    if not card.total_bytes:
        return _driver_trouble()
    if build.cuda is None:
        kind = "ROCm" if build.hip else "CPU"
        return Trouble(f"{card.name}, but torch is its {kind} build", _another_torch("CUDA"))
    return _old_driver(card, build.cuda) or _unknown_architecture(card, build.cuda)


# ---- What the engine's own kernels for a card need besides torch


def missing_for_kernels() -> Trouble | None:
    """The first thing that this machine lacks to run the engine's kernels; None if nothing is known.

    Triton builds a small C library that starts its kernels, so it needs a C compiler and Python's headers.
    """
    if sys.platform != "linux":
        return Trouble(f"Triton, which compiles them, has no build for {sys.platform}", "they need Linux")
    if (found := _triton_version()) is None:
        return Trouble("Triton is not installed", TRITON_FIX)
    if found < TRITON_MIN:
        return Trouble(f"Triton {'.'.join(map(str, found))} is too old for them", TRITON_FIX)
    if os.environ.get("TRITON_INTERPRET") == "1":
        return Trouble("TRITON_INTERPRET is set, with which Triton runs them in Python", "unset it")
    if "CC" not in os.environ and not (shutil.which("gcc") or shutil.which("clang")):
        return Trouble("there is no C compiler", "run `sudo apt install gcc`, or your system's command for it")
    if not (Path(get_paths()["include"]) / "Python.h").exists():
        fix = "run `sudo apt install python3-dev`, or your system's command for it"
        return Trouble("Python's header files are not installed", fix)
    return None


def _triton_version() -> tuple[int, int] | None:
    """The version in Triton's own file: the package has another name in torch's builds for ROCm."""
    spec = find_spec("triton")
    file = Path(spec.origin) if spec and spec.origin else None
    text = file.read_text() if file and file.exists() else ""
    found = re.search(r"^__version__ *= *['\"](\d+)\.(\d+)", text, re.MULTILINE)
    return (int(found[1]), int(found[2])) if found else None


# ---- What speaks against a card


def _driver_trouble() -> Trouble:
    if shutil.which(NVIDIA_SMI) is None:
        fix = "install NVIDIA's driver with your system's package manager, then restart the machine"
        return Trouble("an NVIDIA card without NVIDIA's driver", fix)
    fix = "run `nvidia-smi`, which says what is wrong; after a driver update a restart is often enough"
    return Trouble("an NVIDIA GPU whose driver does not answer", fix)


def _amd_trouble(card: Card) -> Trouble:
    found = f"{card.name}, which this build of torch can't use: the engine runs on the CPU"
    return Trouble(found, _another_torch("ROCm") if card.total_bytes >= AMD_LEAST_BYTES else "")


def _old_driver(card: Card, cuda: str) -> Trouble | None:
    least = DRIVER_MIN.get(_major(cuda), 0)
    if not card.driver or _major(card.driver) >= least:
        return None
    found = f"{card.name}, whose driver {card.driver} is too old for torch's build for CUDA {cuda}"
    return Trouble(found, f"update NVIDIA's driver to {least} or later, then restart the machine")


def _unknown_architecture(card: Card, cuda: str) -> Trouble | None:
    """Builds for CUDA 12.8 begin with Volta, those for 13 with Turing, and those before 12.8 end with Hopper."""
    if card.architecture not in ARCHITECTURES:
        return None
    place = ARCHITECTURES.index(card.architecture)
    numbers = tuple(int(part) for part in re.findall(r"\d+", cuda)[:2])
    first = "Turing" if numbers >= (13,) else "Volta" if numbers >= (12, 8) else "Maxwell"
    found = f"{card.name}, a {card.architecture} card, for which torch's build for CUDA {cuda} has no code"
    if card.architecture == "Kepler":
        return Trouble(found, 'set [inference] device = "cpu": no torch that this release runs on supports the card')
    if place < ARCHITECTURES.index(first):
        return Trouble(found, _another_torch("CUDA 12.6"))
    if card.architecture == "Blackwell" and numbers < (12, 8):
        return Trouble(found, _another_torch("CUDA 12.8"))
    return None


def _another_torch(kind: str) -> str:
    return f'run `make clean && make start TORCH_ARGS="--index-url <index of {kind} builds>"`'


def _major(version_text: str) -> int:
    found = re.match(r"\d+", version_text)
    return int(found[0]) if found else 0


# ---- What the drivers say


def _nvidia_card() -> Card:
    try:
        run = subprocess.run([NVIDIA_SMI, "-q", "-x"], capture_output=True, text=True, timeout=TIMEOUT_S, check=True)
        return card_from_xml(run.stdout)
    except (OSError, subprocess.SubprocessError, ElementTree.ParseError, ValueError):
        return Card(vendor="nvidia", name="NVIDIA card")


def card_from_xml(text: str) -> Card:
    """The first card in the output of `nvidia-smi -q -x`.

    Raises:
        ValueError: it names no card with its memory.
    """
    log = ElementTree.fromstring(text)  # trusted: it comes from the driver's own program
    gpu = log.find("gpu")
    if gpu is None:
        raise ValueError("no card")
    total, free = (_mib(gpu.findtext(f"fb_memory_usage/{name}")) for name in ("total", "free"))
    if not total:
        raise ValueError("a card without memory")
    ours = sum(_mib(each.findtext("used_memory")) for each in gpu.iter("process_info") if _is_ours(each))
    return Card(
        vendor="nvidia",
        name=gpu.findtext("product_name") or "NVIDIA card",
        total_bytes=total,
        taken_bytes=max(0, total - free - ours),
        own_bytes=ours,
        driver=log.findtext("driver_version") or "",
        architecture=gpu.findtext("product_architecture") or "",
    )


def _is_ours(process: ElementTree.Element) -> bool:
    try:
        return OURS.encode() in (PROC / (process.findtext("pid") or "") / "cmdline").read_bytes()
    except OSError:
        return False


def _mib(text: str | None) -> int:
    """The bytes of a text such as "8188 MiB"; 0 for "N/A"."""
    words = (text or "").split()
    return int(words[0]) << 20 if words and words[0].isdecimal() else 0


def _amd_card() -> Card | None:
    """The AMD card with the most memory."""
    found = [
        Card(
            vendor="amd",
            name="an AMD GPU",
            total_bytes=_number(card / "device" / "mem_info_vram_total"),
            taken_bytes=_number(card / "device" / "mem_info_vram_used"),
        )
        for card in CARDS.glob("card*")
        if _vendor(card) == "amd"
    ]
    return max(found, key=lambda card: card.total_bytes, default=None)


def _apple_card(ram_bytes: int) -> Card | None:
    """A Mac's GPU; an Intel Mac has none that torch uses well."""
    if platform.machine() != "arm64":
        return None
    return Card(vendor="apple", name="Apple's GPU", total_bytes=ram_bytes * APPLE_SHARE_PERCENT // 100)


def _vendor(card: Path) -> str | None:
    try:
        return VENDORS.get((card / "device" / "vendor").read_text().strip())
    except OSError:
        return None


def _number(file: Path) -> int:
    try:
        return int(file.read_text())
    except (OSError, ValueError):
        return 0
