"""Files that people bring: read in a process of their own, shown, and taken only when the person says so."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from openledger_protocol.datanet import Row
from openledger_protocol.errors import MalformedError

from ..errors import NodeError
from ..text import counted
from .reader import UnreadableFileError
from .reading import ReadOptions
from .rows import check_contributor, read_rows

READ_S_MAX: Final = 180.0
REPORT_BYTES_MAX: Final = 1 << 20
MODULE: Final = "openledger_node.datanets.reading_process"


class FilePreview:
    """The report of a file, and the file of rows that could be taken."""

    def __init__(self, report: dict[str, Any], rows_file: Path) -> None:
        self.report = report
        self.rows_file = rows_file

    def rows(self, contributor: str | None) -> tuple[Row, ...]:
        """Return the rows, by their own contributor or the given one.

        Raises:
            NodeError: there is no row, or a row has no contributor and none is given.
            MalformedError: the contributor is invalid.
        """
        self.check(contributor)
        return read_rows(self.rows_file, contributor=contributor)

    def check(self, contributor: str | None) -> None:
        """Check that the rows can be taken, without reading them.

        Raises:
            NodeError: there is no row, or a row has no contributor and none is given.
            MalformedError: the contributor is invalid.
        """
        if contributor is not None:
            check_contributor(contributor)
        elif nameless := self.report["without_contributor"]:
            raise NodeError(_explain_nameless(nameless, self.report["rows"]))
        if not self.report["rows"]:
            raise NodeError("no row of the file can be taken: correct what is reported, and try again")


def _explain_nameless(nameless: int, rows: int) -> str:
    """Explain how rows get a contributor, which must not take the others' pay away."""
    said = f"{counted(nameless, 'row')} without a contributor, so nobody could be paid"
    if nameless == rows:
        return f"{said}: give --contributor with a name or an address"
    return (
        f"{said}: name one in each row of the file. --contributor would also replace the contributors of the other "
        f"{counted(rows - nameless, 'row')}"
    )


@contextmanager
def open_preview(file: Path, options: ReadOptions) -> Iterator[FilePreview]:
    """Read a file into a temporary file of rows, which is deleted at the end.

    Raises:
        NodeError: the file can't be read; the message names it and says what to do.
    """
    with tempfile.TemporaryDirectory(prefix="openledger-rows-") as folder:
        rows_file = Path(folder) / "rows.jsonl"
        yield FilePreview(read_into(file, rows_file, options), rows_file)


def read_into(file: Path, rows_file: Path, options: ReadOptions) -> dict[str, Any]:
    """Read a file in a process of its own, write its good rows to `rows_file`, and return the report.

    Raises:
        UnreadableFileError: the file can't be read; the message names it and says what to do.
    """
    try:
        source = os.open(file, os.O_RDONLY | os.O_NONBLOCK)  # a pipe in its place must not make us wait
    except OSError as error:
        raise UnreadableFileError(f"cannot read rows from {file}: {error.strerror}") from error
    try:
        if not Path(file).is_file():
            raise UnreadableFileError(f"cannot read rows from {file}: it is no file")
        target = os.open(rows_file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            report = _run(source, target, options)
        finally:
            os.close(target)
    finally:
        os.close(source)
    if "error" in report:
        raise UnreadableFileError(f"cannot read rows from {options.name}: {report['error']}")
    return report


def _run(source: int, target: int, options: ReadOptions) -> dict[str, Any]:
    words = [sys.executable, "-X", "utf8", "-m", MODULE, json.dumps(asdict(options)), str(target)]
    try:
        ran = subprocess.run(
            words,
            stdin=source,
            pass_fds=(target,),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=READ_S_MAX,
            check=False,
            start_new_session=True,  # so that the terminal's Ctrl-C reaches the parent only, which then ends it
        )
    except subprocess.TimeoutExpired:
        return {"error": f"reading it took more than {READ_S_MAX:g} s: split it"}
    if ran.returncode < 0:
        return {"error": "reading it took too much processor time or memory: split it"}
    try:
        report = json.loads(ran.stdout[:REPORT_BYTES_MAX])
    except ValueError:
        return {"error": f"its reader has failed with status {ran.returncode}: save it in another format"}
    if not isinstance(report, dict):
        raise MalformedError("a reader's report is an object")
    return report
