"""Install the build of torch that fits this machine, and say which one and why.

`make start` runs it with the Python of the fresh environment: `install_torch.py REQUIREMENT [ARGUMENT OF PIP …]`.
Without arguments for pip, a machine without a usable NVIDIA card gets torch's CPU build, a fifteenth of the download.
"""

import contextlib
import platform
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

CPU_INDEX = "https://download.pytorch.org/whl/cpu"
CARDS = Path("/sys/class/drm")
NVIDIA, AMD = "0x10de", "0x1002"
SIGN_OF_LIFE_S = 15.0
ANSWER_S = 10.0
BEGAN_S = time.monotonic()
PIP = [sys.executable, "-m", "pip", "install", "--disable-pip-version-check"]


@dataclass(frozen=True)
class Facts:
    """The facts that decide, each found without a library."""

    system: str  # as platform.system() says: Linux, Darwin
    vendors: frozenset[str] = frozenset()  # PCI ids of the makers of the cards
    has_nvidia_driver: bool = False
    arguments: tuple[str, ...] = ()  # for pip, by the operator


@dataclass(frozen=True)
class Choice:
    """The arguments for pip, and the sentence that says why."""

    why: str
    arguments: tuple[str, ...] = ()
    is_cpu_build: bool = False


def choose(facts: Facts) -> Choice:
    """Choose a build of torch."""
    if facts.arguments:
        return Choice(f"torch as TORCH_ARGS says: {' '.join(facts.arguments)}", facts.arguments)
    if facts.system != "Linux":
        return Choice("torch's usual build: on a Mac it runs on the CPU and on Apple's GPU")
    if facts.has_nvidia_driver:
        return Choice("torch's CUDA build, about 3 GB to download, because there is an NVIDIA driver")
    if NVIDIA in facts.vendors:
        why = "because the NVIDIA card has no driver. Install the driver, then run: make clean && make start"
    elif AMD in facts.vendors:
        why = (
            "because the AMD card needs a ROCm build, which you have to choose: "
            'make clean && make start TORCH_ARGS="--index-url <index of ROCm builds>"'
        )
    else:
        why = "because there is no graphics card that torch could use"
    return Choice(
        f"torch's CPU build, about 200 MB to download, {why}", ("--index-url", CPU_INDEX), is_cpu_build=True
    )


def look(arguments: Sequence[str]) -> Facts:
    """Look at this machine."""
    return Facts(
        system=platform.system(),
        vendors=frozenset(vendors_in(CARDS)),
        has_nvidia_driver=bool(shutil.which("nvidia-smi")) or Path("/proc/driver/nvidia/version").exists(),
        arguments=tuple(arguments),
    )


def vendors_in(cards: Path) -> set[str]:
    """The PCI ids of the makers of the cards, by Linux's files."""
    found = set()
    for file in cards.glob("card*/device/vendor"):
        with contextlib.suppress(OSError):
            found.add(file.read_text().strip())
    return found


def install(requirement: str, choice: Choice) -> int:
    """Install torch and uv, and return pip's exit status.

    Only torch itself comes from the index of the CPU builds. Its dependencies come from the operator's own index.
    """
    if choice.is_cpu_build:
        if not answers(CPU_INDEX):
            print(
                f"{CPU_INDEX} does not answer, so torch comes from your package index. Without a card this CUDA "
                "build works too, but it is a download of about 3 GB.",
                flush=True,
            )
        elif status := run_pip("--no-deps", *choice.arguments, requirement):
            return status  # such as a full disk, which a larger build would fill as well
        return run_pip(requirement, "uv")  # brings torch's dependencies, and torch only if it is not here yet
    return run_pip(requirement, *choice.arguments) or run_pip("uv")


def answers(index: str) -> bool:
    """Return True if an index of packages has torch."""
    request = urllib.request.Request(f"{index}/torch/", method="HEAD")
    try:
        with urllib.request.urlopen(request, timeout=ANSWER_S):
            return True
    except OSError:  # of the network, or a refusal
        return False


def run_pip(*arguments: str) -> int:
    """Run pip: with its own progress on a terminal, else with a line now and then."""
    is_terminal = sys.stderr.isatty()
    command = [*PIP, *(() if is_terminal else ("--quiet",)), *arguments]
    with subprocess.Popen(command) as pip:
        while True:
            try:
                return pip.wait(None if is_terminal else SIGN_OF_LIFE_S)
            except subprocess.TimeoutExpired:
                print(f"  still installing torch, {time.monotonic() - BEGAN_S:.0f} s", flush=True)


def main() -> None:
    requirement, *arguments = sys.argv[1:]
    choice = choose(look(arguments))
    print(f"installing {choice.why}", flush=True)
    sys.exit(install(requirement, choice))


if __name__ == "__main__":
    main()
