"""Rows on disk: JSONL, one row a line, and the digest that a manifest names them by."""

import json
from collections.abc import Iterable
from pathlib import Path

from openledger_protocol.codec import canonical_digest, to_plain
from openledger_protocol.datanet import Row, row_from_json
from openledger_protocol.errors import MalformedError
from openledger_protocol.primitives import Digest

from ..errors import NodeError

EXAMPLE = '{"prompt": "Who …?", "completion": "… does.", "contributor": "name"}'


def read_rows(file: Path, *, contributor: str | None = None) -> tuple[Row, ...]:
    """Read a rows file; blank lines are passed over, and `contributor` stands for whatever the rows say or leave out.

    Raises:
        NodeError: there is no such file, it holds no row, or a line is none (naming the line).
    """
    try:
        lines = file.read_text(encoding="utf-8").split("\n")  # splitlines also cuts at what JSON allows in a text
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise NodeError(f"cannot read rows from {file}: {reason}") from error
    rows = tuple(_read_row(file, number, line, contributor) for number, line in enumerate(lines, 1) if line.strip())
    if not rows:
        raise NodeError(f"{file} holds no rows: write one a line, such as {EXAMPLE}")
    return rows


def write_rows(file: Path, rows: Iterable[Row]) -> None:
    """Write a rows file through a temporary one: it is there whole or not at all.

    Raises:
        NodeError: the place cannot be written to.
    """
    partial = file.with_name(file.name + ".partial")
    lines = [json.dumps(to_plain(row), ensure_ascii=False) + "\n" for row in rows]
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        partial.write_text("".join(lines), encoding="utf-8")
        partial.replace(file)
    except OSError as error:
        raise NodeError(f"cannot write rows to {file}: {error.strerror}") from error


def rows_digest(rows: Iterable[Row]) -> Digest:
    """SHA-256 over the rows' canonical JSON, in their order."""
    return canonical_digest(tuple(rows))


def _read_row(file: Path, number: int, line: str, contributor: str | None) -> Row:
    try:
        content = json.loads(line)
        if contributor is not None and isinstance(content, dict):
            content["contributor"] = contributor
        return row_from_json(content)
    except (ValueError, RecursionError, MalformedError) as error:
        raise NodeError(f"{file}, line {number}: {error}; a row looks like {EXAMPLE}") from error
