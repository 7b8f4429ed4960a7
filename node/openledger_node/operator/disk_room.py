"""Room on the data directory's disk, and the one mark below which the log's event and the alert call it low."""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Final

GIB: Final = 1 << 30
LOW_PART, LOW_BYTES_MIN, LOW_BYTES_MAX = 0.05, GIB, 10 * GIB
ENOUGH_FACTOR: Final = 1.2
"""Free space, as a multiple of the mark, at which a low disk is free again. One around its mark is told once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DiskRoom:
    """A disk as far as this user may write to it."""

    free_bytes: int
    size_bytes: int

    def is_low(self, *, was_low: bool) -> bool:
        """Return True if less is free than the mark; a disk that was low needs a fifth more to be free again."""
        return self.free_bytes < round(low_mark_bytes(self.size_bytes) * (ENOUGH_FACTOR if was_low else 1))

    def __str__(self) -> str:
        return f"{self.free_bytes / 1e9:.1f} GB of {self.size_bytes / 1e9:.1f} GB are free"


def low_mark_bytes(size_bytes: int) -> int:
    """The free space below which a disk is low: a twentieth of it, but from 1 to 10 GiB."""
    return max(LOW_BYTES_MIN, min(round(size_bytes * LOW_PART), LOW_BYTES_MAX))


def read_disk_room(folder: Path) -> DiskRoom | None:
    """The room on a folder's disk; None if the system does not tell."""
    try:
        usage = shutil.disk_usage(folder)
    except OSError:
        return None
    return DiskRoom(free_bytes=usage.free, size_bytes=usage.used + usage.free)
