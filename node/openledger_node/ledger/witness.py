"""The witness of a ledger: a small file beside it, by which the ledger notices that it is not where it was.

A copy or a restored backup knows less than this node has signed. SQLite can't tell, because such a file is a sound
database. The file's inode can. So can the inode's version, which ext4, xfs, btrfs and f2fs draw anew when a new file
reuses an inode. A file that was overwritten in place is told by the count of commits that is also kept beside it.
"""

import contextlib
import fcntl
import os
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from openledger_protocol.errors import MalformedError
from openledger_protocol.primitives import Generation, check_digest

FS_IOC_GETVERSION: Final = 0x80087601 if struct.calcsize("l") == 8 else 0x80047601
"""Linux's request for the version of an inode: _IOR('v', 1, long)."""

SUFFIX: Final = ".mark"
COUNT_DIGITS: Final = 20
LINE_BYTES_MAX: Final = 128


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """A ledger's generation, and the number of its commits."""

    generation: Generation
    num_commits: int


class Witness:
    """The file beside one ledger."""

    def __init__(self, ledger: Path) -> None:
        self._file = witness_file(ledger)
        self._descriptor: int | None = None

    def read(self) -> Mark | None:
        """Read the mark; None if there is none that can be read."""
        try:
            generation, count = self._file.read_bytes()[:LINE_BYTES_MAX].decode().split()
            return Mark(generation=Generation(check_digest(generation)), num_commits=int(count))
        except (OSError, ValueError, MalformedError):
            return None

    def write(self, mark: Mark) -> None:
        """Write the mark of a commit that is on the disk.

        It is not flushed, so that a commit costs no second wait. After a power cut it may lag behind, and then it
        only proves less. For the same reason an error is no failure of the commit.
        """
        line = f"{mark.generation} {mark.num_commits:0{COUNT_DIGITS}d}\n"
        with contextlib.suppress(OSError):
            if self._descriptor is None:
                self._descriptor = os.open(self._file, os.O_WRONLY | os.O_CREAT, 0o600)
            os.pwrite(self._descriptor, line.encode(), 0)  # always as long as before, in one sector

    def close(self) -> None:
        """Close the file."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def witness_file(ledger: Path) -> Path:
    """Return the path of a ledger's witness."""
    return ledger.with_name(ledger.name + SUFFIX)


def identity_of(file: Path) -> str:
    """Name a file by its inode and that inode's version, which is 0 where the file system has none; create a new one.

    The device is left out, because its number may change when the machine starts.
    """
    descriptor = os.open(file, os.O_RDONLY | os.O_CREAT, 0o600)
    try:
        return f"{os.fstat(descriptor).st_ino}:{_inode_version(descriptor)}"
    finally:
        os.close(descriptor)


def _inode_version(descriptor: int) -> int:
    answer = bytearray(struct.calcsize("l"))
    try:
        fcntl.ioctl(descriptor, FS_IOC_GETVERSION, answer)
    except OSError:
        return 0
    return int(struct.unpack("I", answer[:4])[0])  # file systems fill in 32 bits
