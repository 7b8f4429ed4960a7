"""Cores, memory and graphics card that this process can use.

A container or CPU affinity allows less than the machine has. The limits of cgroups version 2 are read. Under
version 1, the limits are those of the machine.
"""

import os
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from .card import Card, TorchBuild, Trouble, find_card, find_torch, trouble_with

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


# ---- Memory for serving


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """Memory of this machine, and its first graphics card if there is one."""

    ram_bytes: int
    card: Card | None = None
    torch: TorchBuild | None = None

    @property
    def gpu_bytes(self) -> int:
        """Memory of an NVIDIA or AMD card, also of one that only another program's torch can use; 0 without one."""
        return self.card.total_bytes if self.card and self.card.vendor != "apple" else 0

    @property
    def trouble(self) -> Trouble | None:
        """The reason why the engine can't use the card."""
        return trouble_with(self.card, self.torch) if self.card else None

    @property
    def usable_card(self) -> Card | None:
        """The card, if the engine can use it."""
        return self.card if self.card and self.card.total_bytes and not self.trouble else None

    def without(self, held_bytes: int) -> "Machine":
        """The machine as it is once an engine that holds `held_bytes` of the card has ended."""
        return replace(self, card=self.card.without(held_bytes)) if self.card else self


def look_at_machine() -> Machine:
    """Ask the system and, if there is a graphics card, its driver."""
    ram_bytes = usable_bytes()
    return Machine(ram_bytes=ram_bytes, card=find_card(ram_bytes), torch=find_torch())


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
