"""Cores, memory and GPU that this process can use; a container or CPU affinity allows less than the machine has.

It reads the limits of cgroups version 2. Under version 1, the limits are those of the machine.
"""

import os
import shutil
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from openledger_protocol.constants import DEMO_BASE_NAME

GROUPS_FOLDER = Path("/sys/fs/cgroup")
OWN_GROUPS_FILE = Path("/proc/self/cgroup")
CPU_FILE = Path("/proc/cpuinfo")


def usable_cores() -> int:
    """Return the number of cores that this process can keep busy."""
    has_affinity = hasattr(os, "sched_getaffinity")  # Linux only
    there = len(os.sched_getaffinity(0)) if has_affinity else os.cpu_count() or 1
    return cores_within(there, _limits("cpu.max"))


def has_bfloat16() -> bool:
    """Return True if the CPU multiplies bfloat16; only Linux says so."""
    return " avx512_bf16" in _read(CPU_FILE)


def usable_bytes() -> int:
    """Return the memory in bytes that this process can use if no other program needs it."""
    return bytes_within(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"), _limits("memory.max"))


def cores_within(there: int, limits: Iterable[str]) -> int:
    """Limit cores by the contents of cpu.max, "QUOTA PERIOD" in µs; a part of a core counts as one."""
    quotas = [tuple(map(int, limit.split())) for limit in limits if not limit.startswith("max")]
    return min([there, *(-(-quota // period) for quota, period in quotas)])


def bytes_within(there: int, limits: Iterable[str]) -> int:
    """Limit bytes by the contents of memory.max."""
    return min([there, *(int(limit) for limit in limits if not limit.startswith("max"))])


def group_folders(own_groups: str) -> list[PurePosixPath]:
    """Return the folders of a process's cgroup and its parents, from /proc/self/cgroup; none under version 1."""
    path = next((line.removeprefix("0::/") for line in own_groups.splitlines() if line.startswith("0::/")), None)
    if path is None:
        return []
    group = PurePosixPath(path)
    return [] if ".." in group.parts else [group, *group.parents]


def _limits(name: str) -> list[str]:
    """Read one file of every cgroup that this process is in."""
    return [
        text for folder in group_folders(_read(OWN_GROUPS_FILE)) if (text := _read(GROUPS_FOLDER / folder / name))
    ]


def _read(file: Path) -> str:
    try:
        return file.read_text().strip()
    except OSError:
        return ""


# ---- Memory for serving, and the bases that fit it

NVIDIA_SMI = "nvidia-smi"
CARDS = Path("/sys/class/drm")
AMD = "0x1002"
"""AMD's PCI vendor id, as Linux writes it beside each card."""

TIMEOUT_S = 5.0
GIB = 1 << 30
BYTES_OF_PARAMETER = 2
"""In bfloat16; KV cache and adapters need about a third more."""

SPARE_PERCENT = 140
CPU_PARAMETERS_MAX = 500 * 10**6
"""A larger base on a CPU answers more slowly than people read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """Memory of this machine, and its first GPU if there is one."""

    ram_bytes: int
    gpu: str | None = None
    gpu_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Suited:
    """A known base, its memory needs, and `fits` if this machine serves it well."""

    name: str  # as `models pull` takes it
    num_parameters: int
    needs_bytes: int
    fits: bool

    @property
    def setting(self) -> str:
        """Name of the base in the setting `[inference] base`."""
        return self.name.replace("/", "--")


KNOWN_BASES = (
    (DEMO_BASE_NAME, 135 * 10**6),
    ("HuggingFaceTB/SmolLM2-360M-Instruct", 362 * 10**6),
    ("HuggingFaceTB/SmolLM2-1.7B-Instruct", 1_711 * 10**6),
    ("Qwen/Qwen3-4B-Instruct-2507", 4_022 * 10**6),
    ("Qwen/Qwen3-8B", 8_191 * 10**6),
    ("Qwen/Qwen3-14B", 14_768 * 10**6),
)
"""Openly licensed bases of the families that the engine serves, the smallest first."""


def look_at_machine() -> Machine:
    """Ask the system and, if there is a GPU, its driver."""
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
    """List the known bases; `fits` is set for those that this machine serves well."""
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
    """Return the largest base that fits the GPU; without a GPU the demo base, which downloads in a minute."""
    if not machine.gpu:
        return DEMO_BASE_NAME
    return next((each.name for each in reversed(suited_bases(machine)) if each.fits), DEMO_BASE_NAME)


# ---- Resident memory of a process, on Linux; other systems do not report it


def resident_bytes(process_id: int) -> int | None:
    """Return a process's resident memory; None if the system does not report it, or the process has ended."""
    return _status_bytes(process_id, "VmRSS")


def peak_bytes(process_id: int) -> int | None:
    """Return the peak resident memory; unlike getrusage, it excludes the parent's memory at the fork."""
    return _status_bytes(process_id, "VmHWM")


def _status_bytes(process_id: int, name: str) -> int | None:
    try:
        lines = Path(f"/proc/{process_id}/status").read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:")), None)


def has_amd_gpu() -> bool:
    """Return True if Linux lists a graphics card of AMD."""
    return any(_read(file) == AMD for file in CARDS.glob("card*/device/vendor"))
