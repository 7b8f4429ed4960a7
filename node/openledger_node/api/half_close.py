"""Clients that end their sending side and still read, told apart from those that have left.

TCP sends the same for both. The API listens on loopback alone, so the client's socket is on this machine, and Linux
lists it. Once its program has closed it, it has no inode. Elsewhere every such client counts as one that has left.
"""

import socket
import sys
from pathlib import Path
from typing import Any, Final

TABLES: Final = {socket.AF_INET: Path("/proc/net/tcp"), socket.AF_INET6: Path("/proc/net/tcp6")}

WORD_BYTES: Final = 4
LOCAL, REMOTE, INODE = 1, 2, 9
"""Columns of the tables."""


def still_reads(connection: Any) -> bool:
    """Return True if the program at the other end of a connection on loopback holds its socket open.

    `connection` is a socket of the standard library or of trio.
    """
    try:
        ours, theirs = connection.getsockname(), connection.getpeername()
        rows = TABLES[connection.family].read_text().splitlines()[1:]
    except (OSError, KeyError):
        return False
    ends = [_listed(connection.family, theirs), _listed(connection.family, ours)]
    columns = (row.split() for row in rows)
    return any(each[LOCAL : REMOTE + 1] == ends and each[INODE] != "0" for each in columns)


def _listed(family: int, address: tuple[Any, ...]) -> str:
    """An address as the tables have it: words in the machine's byte order, and the port."""
    host, port = address[:2]
    packed = socket.inet_pton(family, host)
    words = (packed[start : start + WORD_BYTES] for start in range(0, len(packed), WORD_BYTES))
    numbers = "".join(f"{int.from_bytes(word, sys.byteorder):08X}" for word in words)
    return f"{numbers}:{port:04X}"
