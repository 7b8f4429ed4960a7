"""The last lines of what the node and its parts have said."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from openledger_protocol.errors import MalformedError

from ..home import Home

SOURCES: Mapping[str, str] = {"node": "node.log", "engine": "engine.log", "chain": "chain.log"}
LINES_MAX = 10_000
BLOCK_BYTES = 64 * 1024


def log_file(home: Home, source: str) -> Path:
    """Where one of them writes.

    Raises:
        MalformedError: there is none such.
    """
    if source not in SOURCES:
        raise MalformedError(f"no log is called {source!r}: there are {', '.join(SOURCES)}")
    return home.logs / SOURCES[source]


def read_logs(home: Home, source: str, lines: int) -> dict[str, Any]:
    """The newest lines of one log, the oldest of them first.

    Raises:
        MalformedError: there is no such log.
    """
    file = log_file(home, source)
    return {"source": source, "file": str(file), "lines": tail(file, min(max(lines, 0), LINES_MAX))}


def tail(file: Path, count: int) -> list[str]:
    """The last lines of a file, read from its end; none of one that is not there."""
    if not count or not file.exists():
        return []
    with file.open("rb") as stream:
        position, content = stream.seek(0, os.SEEK_END), b""
        while position and content.count(b"\n") <= count:
            step = min(BLOCK_BYTES, position)
            position -= step
            stream.seek(position)
            content = stream.read(step) + content
    return content.decode(errors="replace").splitlines()[-count:]
