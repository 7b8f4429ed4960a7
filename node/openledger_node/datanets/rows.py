"""Rows on disk as JSONL, one row per line, and their digest in a manifest."""

import hashlib
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from string import hexdigits

from openledger_protocol.codec import canonical_json, to_plain
from openledger_protocol.datanet import Row, row_from_json
from openledger_protocol.errors import MalformedError
from openledger_protocol.primitives import Digest, check_address

from ..errors import NodeError

ADDRESS_DIGITS, NEAR_DIGITS = 40, (37, 43)
"""Hex digits of an address, and numbers of them that a typing error may leave."""

EXAMPLE = '{"prompt": "Who …?", "completion": "… does.", "contributor": "name"}'


def read_rows(file: Path, *, contributor: str | None = None, is_ours: bool = False) -> tuple[Row, ...]:
    """Read a rows file, skipping blank lines; `contributor` overrides the one in each row.

    `is_ours`: this node wrote the file, so that its contributors were checked before.

    Raises:
        NodeError: the file is missing or has no rows, or a line is not a row; the message names the line.
        MalformedError: the `contributor` looks like a mistyped address.
    """
    if contributor is not None:
        check_contributor(contributor)
    check = _keep if is_ours else check_contributor
    try:
        # One line is in memory at a time. It ends at a line end only, and not where str.splitlines would split JSON.
        with file.open(encoding="utf-8-sig") as lines:
            rows = tuple(
                _read_row(file, number, line, contributor, check)
                for number, line in enumerate(lines, 1)
                if line.strip()
            )
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise NodeError(f"cannot read rows from {file}: {reason}") from error
    if not rows:
        raise NodeError(f"{file} holds no rows: write one per line, such as {EXAMPLE}")
    return rows


def write_rows(file: Path, rows: Iterable[Row]) -> None:
    """Write a rows file through a temporary one, so that it is complete or absent.

    Raises:
        NodeError: the file can't be written.
    """
    partial = file.with_name(file.name + ".partial")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("w", encoding="utf-8") as lines:
            lines.writelines(json.dumps(to_plain(row), ensure_ascii=False) + "\n" for row in rows)
        partial.replace(file)
    except OSError as error:
        raise NodeError(f"cannot write rows to {file}: {error.strerror}") from error


def rows_digest(rows: Iterable[Row]) -> Digest:
    """SHA-256 over the rows' canonical JSON, in their order.

    It is hashed row by row: the JSON of all rows at once takes three times their memory.
    """
    digest, gap = hashlib.sha256(b"["), b""
    for row in rows:
        digest.update(gap + canonical_json(row))
        gap = b","
    digest.update(b"]")
    return Digest("0x" + digest.hexdigest())


def damaged_rows(file: Path) -> NodeError:
    """The error of a file whose rows are not those that its digest names."""
    return NodeError(f"{file} is damaged: contribute these rows again, or restore the file from a backup")


def check_contributor(text: str) -> str:
    """Return a contributor's name or address.

    Raises:
        MalformedError: it looks like an address and is none. As a name it would send its earnings to the treasury.
    """
    digits = text[2:] if text[:2].lower() == "0x" else text
    is_hex = all(letter in hexdigits for letter in digits)
    has_prefix = len(digits) < len(text)
    if not (has_prefix or is_hex) or not NEAR_DIGITS[0] <= len(digits) <= NEAR_DIGITS[1]:
        return text
    if text.startswith("0x") and is_hex and len(digits) == ADDRESS_DIGITS:
        check_address(text)
        return text
    if not has_prefix and len(digits) != ADDRESS_DIGITS:
        return text
    raise MalformedError(
        f"the contributor {text!r} looks like an address, and one is 0x and {ADDRESS_DIGITS} hex digits. As a name "
        "its earnings would go to the treasury: correct it, or use another name"
    )


def _keep(contributor: str) -> str:
    return contributor


def _read_row(file: Path, number: int, line: str, contributor: str | None, check: Callable[[str], str]) -> Row:
    try:
        content = _parse(line)
        if contributor is not None and isinstance(content, dict):
            content["contributor"] = contributor
        row = row_from_json(content)
        check(row.contributor)
        return row
    except (ValueError, RecursionError, MalformedError) as error:
        raise NodeError(f"{file}, line {number}: {error}; a row looks like {EXAMPLE}") from error


def _parse(line: str) -> object:
    try:
        content = json.loads(line)
        json.dumps(content, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise MalformedError("it holds half a character (a lone surrogate), which is no text") from error
    except ValueError as error:
        raise MalformedError("it is not a JSON object") from error
    return content
