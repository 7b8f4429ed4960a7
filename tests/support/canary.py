"""Words that nobody else says, and every way in which a file might still hold them in clear."""

import base64
import json
from collections.abc import Iterator
from pathlib import Path

PIECE = 9
"""Bytes; of a longer text each piece is looked for, since a log may hold a part of it."""


def forms(words: str) -> Iterator[bytes]:
    """As text of two kinds, in hex, in base64 at any place of three, and as a list of the fake model's tokens."""
    plain = words.encode()
    yield plain
    yield words.encode("utf-16-le")
    yield plain.hex().encode()
    yield plain.hex().upper().encode()
    for shift in range(3):
        whole = base64.b64encode(b"\0" * shift + plain)
        yield whole[4 if shift else 0 : -4]  # without the ends, which depend on what stands beside
    yield json.dumps(list(plain)).encode()[1:-1]
    yield json.dumps(list(plain), separators=(",", ":")).encode()[1:-1]
    yield plain[::-1]


def files_with(words: str, *folders: Path) -> list[tuple[str, bytes]]:
    """Files under the folders that hold the words, or a piece of them, and the form in which they do."""
    pieces = [words[start : start + PIECE] for start in range(0, len(words) - PIECE + 1, PIECE)]
    wanted = [*forms(words), *(piece.encode() for piece in pieces)]
    found = []
    for folder in folders:
        for file in sorted(folder.rglob("*")):
            if file.is_file() and not file.is_symlink():
                content = file.read_bytes()
                found += [(str(file.relative_to(folder)), form) for form in wanted if form in content]
    return found
