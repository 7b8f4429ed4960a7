"""What this machine has to serve with, and which bases fit it."""

import shutil
import subprocess
from dataclasses import dataclass

from openledger_protocol.constants import DEMO_BASE_NAME

from ..allowance import usable_bytes

NVIDIA_SMI = "nvidia-smi"
TIMEOUT_S = 5.0
GIB = 1 << 30
BYTES_OF_PARAMETER = 2
"""In bfloat16; keys, values and adapters want about a third more."""

SPARE_PERCENT = 140
CPU_PARAMETERS_MAX = 500 * 10**6
"""A larger base on a CPU answers more slowly than people read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """Memory, and the first card if there is one."""

    ram_bytes: int
    gpu: str | None = None
    gpu_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Suited:
    """A base, and whether it fits."""

    name: str  # as `models pull` takes it
    num_parameters: int
    needs_bytes: int
    fits: bool

    @property
    def setting(self) -> str:
        """What `[inference] base` calls it."""
        return self.name.replace("/", "--")


KNOWN_BASES = (
    (DEMO_BASE_NAME, 135 * 10**6),
    ("HuggingFaceTB/SmolLM2-360M-Instruct", 362 * 10**6),
    ("HuggingFaceTB/SmolLM2-1.7B-Instruct", 1_711 * 10**6),
    ("Qwen/Qwen3-4B-Instruct-2507", 4_022 * 10**6),
    ("Qwen/Qwen3-8B", 8_191 * 10**6),
    ("Qwen/Qwen3-14B", 14_768 * 10**6),
)
"""Open ones of the families that the engine serves, the smallest first."""


def look_at_machine() -> Machine:
    """Ask the system and, where there is one, the card's driver."""
    ram_bytes = usable_bytes()
    if shutil.which(NVIDIA_SMI) is None:
        return Machine(ram_bytes=ram_bytes)
    asked = [NVIDIA_SMI, "--query-gpu=name,memory.total", "--format=csv,noheader,nounits"]
    try:
        said = subprocess.run(asked, capture_output=True, text=True, timeout=TIMEOUT_S, check=True).stdout
        name, _, mib = said.splitlines()[0].rpartition(",")
        return Machine(ram_bytes=ram_bytes, gpu=name.strip(), gpu_bytes=int(mib) << 20)
    except (OSError, subprocess.SubprocessError, ValueError, IndexError):
        return Machine(ram_bytes=ram_bytes)


def suited_bases(machine: Machine) -> list[Suited]:
    """The known bases, each with whether this machine serves it well."""
    found = []
    for name, num_parameters in KNOWN_BASES:
        needs = num_parameters * BYTES_OF_PARAMETER * SPARE_PERCENT // 100
        if machine.gpu:
            fits = needs <= machine.gpu_bytes
        else:
            fits = num_parameters <= CPU_PARAMETERS_MAX and needs <= machine.ram_bytes // 2
        found.append(Suited(name=name, num_parameters=num_parameters, needs_bytes=needs, fits=fits))
    return found


def propose(machine: Machine) -> str:
    """The largest base that fits a card; without one the demo base, which is here in a minute."""
    if not machine.gpu:
        return DEMO_BASE_NAME
    return next((each.name for each in reversed(suited_bases(machine)) if each.fits), DEMO_BASE_NAME)
