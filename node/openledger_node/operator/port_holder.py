"""The program that listens on a TCP port of this machine, as far as Linux says so."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ..card import OURS

PROC = Path("/proc")
LISTENING = "0A"  # the state in /proc/net/tcp


@dataclass(frozen=True, slots=True, kw_only=True)
class PortHolder:
    """A program that listens."""

    process_id: int
    name: str
    is_node: bool  # another node of this machine

    def __str__(self) -> str:
        called = "another openledger-node" if self.is_node else self.name
        return f"{called} (process {self.process_id})"


def find_port_holder(port: int, proc: Path = PROC) -> PortHolder | None:
    """Find the program; None if the system does not say, as for the programs of another user."""
    inodes = set(_listening_inodes(port, proc))
    wanted = {f"socket:[{inode}]" for inode in inodes}
    for folder in proc.glob("[0-9]*") if wanted else ():
        if wanted & set(_open_files(folder)):
            return _holder(folder)
    return None


def _listening_inodes(port: int, proc: Path) -> Iterator[str]:
    for table in ("tcp", "tcp6"):
        for line in _text(proc / "net" / table).splitlines()[1:]:
            columns = line.split()
            if columns[3] == LISTENING and int(columns[1].rpartition(":")[2], 16) == port:
                yield columns[9]


def _open_files(folder: Path) -> Iterator[str]:
    try:
        files = list((folder / "fd").iterdir())
    except OSError:
        return
    for file in files:
        try:
            yield os.readlink(file)
        except OSError:  # it was closed a moment ago
            continue


def _holder(folder: Path) -> PortHolder:
    return PortHolder(
        process_id=int(folder.name),
        name=_text(folder / "comm").strip() or "a program",
        is_node=OURS in _text(folder / "cmdline") or "openledger-node" in _text(folder / "cmdline"),
    )


def _text(file: Path) -> str:
    try:
        return file.read_text(errors="replace")
    except OSError:
        return ""
