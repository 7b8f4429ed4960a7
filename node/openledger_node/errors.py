"""Errors that the operator can fix. Each message says how, and each class has a documented exit code.

NodeError           1  failure
├── LedgerError     1  the ledger can't be written
├── DiskError       1  the disk is full, or may not be written
├── InputError      2  a value or a word that was typed can't be understood
├── ConfigError     3  a setting, or another daemon on the same data directory
├── KeyFileError    4  a key is missing, locked, or its password is wrong
├── ChainError      5  the chain's RPC is down, silent, or of another chain
├── NetworkError    6  a download or a peer
└── ModelError      7  GPU, base model, adapter files
    └── DeviceError 7  the GPU or its memory; the node goes on without its engine
"""

import errno
from pathlib import Path
from typing import Final


class NodeError(Exception):
    """A problem that only the operator can fix; the message says how."""

    exit_code: int = 1


class InputError(NodeError):
    """A word or a value on the command line can't be understood."""

    exit_code = 2


class ConfigError(NodeError):
    """A setting is wrong, or the data directory is in use."""

    exit_code = 3


class LedgerError(NodeError):
    """The ledger can't be written now: the disk is full, or another program holds it."""


class DiskError(NodeError, OSError):
    """A file can't be written: its disk is full or read-only, or belongs to another user.

    It is an OSError too, so that code that handles a failed write also handles this one.
    """

    def __init__(self, number: int, message: str) -> None:
        super().__init__(message)
        self.errno = number
        self.strerror = message

    def __str__(self) -> str:
        """The message without the number."""
        return str(self.strerror)


WHY_NOT_WRITTEN: Final = {
    errno.ENOSPC: "is full: free some space, and try again",
    errno.EDQUOT: "is full for this user: free some space, and try again",
    errno.EFBIG: "takes no larger files: raise this user's limit of file sizes, and try again",
    errno.EROFS: "is read-only: make it writable, or set OPENLEDGER_HOME to another folder",
    errno.EACCES: "may not be written by this user: change its permissions, or set OPENLEDGER_HOME to another folder",
}
WHY_NOT_WRITTEN[errno.EPERM] = WHY_NOT_WRITTEN[errno.EACCES]


def explain_disk(error: OSError, folder: Path | str | None = None) -> NodeError:
    """Say in plain words why a file could not be written, and what helps.

    `folder`: the folder that was written to; None: that of the file which the error names. A file that this user may
    not open was perhaps only read, so without a folder no advice is given on it.
    """
    if isinstance(error, DiskError):
        return error
    place = folder or (Path(str(error.filename)).parent if error.filename else "the data directory")
    is_forbidden = isinstance(error, PermissionError)
    if (why := WHY_NOT_WRITTEN.get(error.errno or 0)) and (folder or not is_forbidden):
        return DiskError(error.errno or 0, f"the disk of {place} {why}")
    return NodeError(f"{error.filename}: {error.strerror}" if error.filename and error.strerror else str(error))


class KeyFileError(NodeError):
    """A key is missing, or its password is wrong."""

    exit_code = 4


class ChainError(NodeError):
    """The chain does not answer, or gives an invalid answer."""

    exit_code = 5


class NetworkError(NodeError):
    """A download failed, or no peer answered."""

    exit_code = 6


class ModelError(NodeError):
    """The base, an adapter or the device can't be used."""

    exit_code = 7


class DeviceError(ModelError):
    """The device can't run the base now. The rest of the node goes on, and the message says what helps.

    `can_recover`: False if only a change by the operator and a new start can help, as with an outdated driver.
    """

    def __init__(self, message: str, *, can_recover: bool = True) -> None:
        super().__init__(message)
        self.can_recover = can_recover
