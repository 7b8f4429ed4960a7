"""How much of the machine this process may use: less than there is in a container, or when its cores are chosen.

Limits of control groups are read in their second version; under the first, those of the machine hold.
"""

import os
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

GROUPS_FOLDER = Path("/sys/fs/cgroup")
OWN_GROUPS_FILE = Path("/proc/self/cgroup")


def usable_cores() -> int:
    """Cores that this process may keep busy."""
    has_affinity = hasattr(os, "sched_getaffinity")  # only Linux has
    there = len(os.sched_getaffinity(0)) if has_affinity else os.cpu_count() or 1
    return cores_within(there, _limits("cpu.max"))


def usable_bytes() -> int:
    """Memory that this process may take, if nobody else wants it."""
    return bytes_within(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"), _limits("memory.max"))


def cores_within(there: int, limits: Iterable[str]) -> int:
    """Cores, bounded by texts of cpu.max, "QUOTA PERIOD" in µs: a part of a core counts as one."""
    quotas = [tuple(map(int, limit.split())) for limit in limits if not limit.startswith("max")]
    return min([there, *(-(-quota // period) for quota, period in quotas)])


def bytes_within(there: int, limits: Iterable[str]) -> int:
    """Memory, bounded by texts of memory.max."""
    return min([there, *(int(limit) for limit in limits if not limit.startswith("max"))])


def group_folders(own_groups: str) -> list[PurePosixPath]:
    """The folders of a process's group and of those around it, from its /proc/self/cgroup; none under version 1."""
    path = next((line.removeprefix("0::/") for line in own_groups.splitlines() if line.startswith("0::/")), None)
    if path is None:
        return []
    group = PurePosixPath(path)
    return [] if ".." in group.parts else [group, *group.parents]


def _limits(name: str) -> list[str]:
    """What each group that this process is in says under a name."""
    return [
        text for folder in group_folders(_read(OWN_GROUPS_FILE)) if (text := _read(GROUPS_FOLDER / folder / name))
    ]


def _read(file: Path) -> str:
    try:
        return file.read_text().strip()
    except OSError:
        return ""
