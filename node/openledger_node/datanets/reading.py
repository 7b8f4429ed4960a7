"""Rows from one file: the reader of its format, the form of its records, and the checks that each row passes.

`reading_process` runs this with limits. Nothing here decides to take a row. Good rows are written to a file, and the
others are reported.
"""

import hashlib
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import PurePath
from typing import Any, BinaryIO, Final

from openledger_protocol.datanet import row_from_json
from openledger_protocol.errors import MalformedError

from ..plugs import load_plug
from ..text import counted
from .forms import Pair, RowForm, pairs_of, parse_columns, recognise
from .own import ROWS_MAX
from .reader import FILE_BYTES_MAX, Piece, Reader, Record, UnreadableFileError
from .rows import check_contributor
from .screening import acting_characters, personal_data, secrets_in, without_zero_width
from .text_lines import ENCODINGS

READER_BY_SUFFIX: Final = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "json",
    ".csv": "table",
    ".tsv": "table",
    ".md": "markdown",
    ".markdown": "markdown",
    ".txt": "plain_text",
    ".text": "plain_text",
}
SAVE_AS_TEXT: Final = "write its questions and answers as a table, or save its text as .md or .txt"
NO_READER: Final = {
    ".xlsx": "save each sheet as CSV",
    ".xls": "save each sheet as CSV",
    ".ods": "save each sheet as CSV",
    **dict.fromkeys((".pdf", ".docx", ".doc", ".odt", ".rtf", ".html", ".htm", ".epub"), SAVE_AS_TEXT),
    ".zip": "unpack it, and give its files one by one",
    ".gz": "unpack it first",
    ".parquet": "export it as JSONL",
}
"""Formats that people have and that are not read, and what they can do."""

OTHER_MARKS: Final = (b"%PDF-", b"PK\x03\x04", b"\xd0\xcf\x11\xe0")
"""First bytes of PDF, of zip archives such as DOCX, and of older Word files."""

HEAD_BYTES: Final = 1 << 12
SAMPLE_ROWS: Final = 3
SAMPLE_CHARACTERS: Final = 2_000
FLAWS_LISTED: Final = 100
COLUMNS_LISTED: Final = 20
NAME_CHARACTERS: Final = 80
NO_CONTRIBUTOR: Final = "nobody"
"""Stands for the contributor while a row without one is checked."""

RowFields = dict[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadOptions:
    """Choices of the person who brings a file."""

    name: str  # of the file, for its suffix
    columns: str | None = None  # as `parse_columns` reads them
    encoding: str | None = None
    keep: bool = False  # also rows with personal data or secrets


@dataclass(slots=True, kw_only=True)
class FileReport:
    """The outcome of reading a file."""

    format: str
    unit: str  # of the places of flaws
    forms: "Counter[str]" = field(default_factory=Counter)
    rows: int = 0
    without_contributor: int = 0
    flagged: int = 0  # rows with personal data or secrets, left out or kept
    unused_columns: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    sample: list[RowFields] = field(default_factory=list)
    flaws: list[dict[str, Any]] = field(default_factory=list)  # the first ones
    num_flaws: int = 0

    def to_plain(self) -> dict[str, Any]:
        """Convert it for JSON."""
        return {**asdict(self), "forms": dict(self.forms)}


def read_file(file: BinaryIO, options: ReadOptions, write: Callable[[RowFields], None]) -> FileReport:
    """Read the rows of a file, and hand each good one to `write`.

    Raises:
        UnreadableFileError: the file can't be read, or it has no row; the message says what to do.
        MalformedError: the columns can't be read.
    """
    name, reader = open_reader(file, options)
    columns = parse_columns(options.columns) if options.columns else {}
    intake = RowIntake(FileReport(format=name, unit=reader.unit), options, columns, write)
    for piece in reader.read(file, options.encoding):
        intake.take(piece)
        if intake.report.rows >= ROWS_MAX:
            intake.note(f"only its first {ROWS_MAX} rows were read, because a Datanet holds no more")
            break
    intake.finish()
    report = intake.report
    if not report.rows and not report.num_flaws:
        raise UnreadableFileError("it is empty")
    return report


def open_reader(file: BinaryIO, options: ReadOptions) -> tuple[str, Reader]:
    """Choose the reader by the file's name, and check that its first bytes agree.

    Raises:
        UnreadableFileError: no reader can read it.
    """
    if options.encoding is not None and options.encoding.lower() not in ENCODINGS:
        raise UnreadableFileError(
            f"no encoding {options.encoding[:40]!r} is known: choose from {', '.join(ENCODINGS)}"
        )
    size = file.seek(0, 2)
    if size > FILE_BYTES_MAX:
        raise UnreadableFileError(f"it has {size} bytes, over {FILE_BYTES_MAX}: split it")
    file.seek(0)
    head = file.read(HEAD_BYTES)
    file.seek(0)
    name = _reader_name(PurePath(options.name).suffix.lower(), head)
    opened: Reader = load_plug("reader", name)()
    return name, opened


def _reader_name(suffix: str, head: bytes) -> str:
    if remedy := NO_READER.get(suffix):
        raise UnreadableFileError(f"{suffix} files can't be read: {remedy}")
    if suffix not in READER_BY_SUFFIX:
        known = ", ".join(sorted(READER_BY_SUFFIX))
        raise UnreadableFileError(f"a file's name must end with its format, one of {known}")
    name = READER_BY_SUFFIX[suffix]
    if head.startswith(OTHER_MARKS):
        raise UnreadableFileError(f"it is not what {suffix} says: give it the ending of its format")
    return "jsonl" if name == "json" and _is_by_line(head) else name


def _is_by_line(head: bytes) -> bool:
    """Return True if a JSON file begins with a whole object on one line."""
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n")
    first, newline, _ = text.partition(b"\n")
    begins_over_lines = bool(newline) and text.startswith(b"{") and not first.rstrip().endswith(b"}")
    return not text.startswith(b"[") and b"\0" not in head and not begins_over_lines


class RowIntake:
    """Takes the pieces of a file, checks them, and counts."""

    def __init__(
        self,
        report: FileReport,
        options: ReadOptions,
        columns: Mapping[str, str],
        write: Callable[[RowFields], None],
    ) -> None:
        self.report = report
        self._options = options
        self._columns = columns
        self._write = write
        self._form: RowForm | None = None
        self._zero_width = 0  # characters that were removed
        self._seen: dict[bytes, int] = {}  # digest of a row → its place

    def take(self, piece: Piece) -> None:
        """Take one piece; what can't be used is reported."""
        if isinstance(piece, Record):
            try:
                self._take_record(piece)
            except MalformedError as error:
                self._flaw(piece.place, str(error))
        else:
            self._flaw(piece.place, piece.reason)

    def finish(self) -> None:
        """Note what was removed from the texts."""
        if self._zero_width:
            self.note(f"{counted(self._zero_width, 'character')} without width were removed from its texts")

    def note(self, text: str) -> None:
        """Add a note about the whole file."""
        self.report.notes.append(text)

    def _take_record(self, record: Record) -> None:
        form = recognise(record.fields, self._columns)
        if form is None:
            raise MalformedError(self._explain_columns(record.fields))
        if self._form is None:
            self._form = form
            used = form.columns | ({"system"} if form.turns else set())
            unused = [key[:NAME_CHARACTERS] for key in record.fields if key not in used]
            more = [f"{len(unused) - COLUMNS_LISTED} more"] if len(unused) > COLUMNS_LISTED else []
            self.report.unused_columns = [*unused[:COLUMNS_LISTED], *more]
        elif form.name != self._form.name:
            raise MalformedError(
                f"its form is {form.name}, and this file began with {self._form.name}: split the file"
            )
        contributor = record.fields.get(form.contributor) if form.contributor else None
        if contributor is not None and not isinstance(contributor, str):
            raise MalformedError("its contributor must be a name or an address")
        contributor = (contributor or "").strip() or None  # an empty cell of a table names nobody
        for pair in pairs_of(form, record.fields):
            self._take_pair(record.place, pair, contributor, form.name)

    def _explain_columns(self, fields: Mapping[str, Any]) -> str:
        if self._columns:
            missing = next(name for role, name in self._columns.items() if role != "contributor")
            return f"it lacks one of the columns that you named, such as {missing[:NAME_CHARACTERS]!r}"
        names = ", ".join(repr(key[:NAME_CHARACTERS]) for key in list(fields)[:10]) or "nothing"
        return f"no known form of rows has {names}: name the columns with --columns prompt=COLUMN,completion=COLUMN"

    def _take_pair(self, place: int, pair: Pair, contributor: str | None, form: str) -> None:
        """Check a row and write it.

        Raises:
            MalformedError: it can't be taken.
        """
        prompt, completion = map(self._cleaned, (pair.prompt, pair.completion))
        row = row_from_json(
            {"prompt": prompt, "completion": completion, "contributor": contributor or NO_CONTRIBUTOR}
        )
        if contributor:
            check_contributor(row.contributor)
        text = f"{prompt}\n{completion}"
        self._check_characters(text)
        digest = hashlib.blake2b(f"{prompt}\0{completion}\0{contributor}".encode(), digest_size=16).digest()
        if first := self._seen.get(digest):
            raise MalformedError(f"it is the same as {self.report.unit} {first}")
        self._seen[digest] = place
        self._check_findings(text)
        self._count(prompt, completion, contributor, form)

    def _cleaned(self, text: str) -> str:
        cleaned = without_zero_width(text)
        self._zero_width += len(text) - len(cleaned)
        return cleaned.replace("\r\n", "\n").strip()

    def _check_characters(self, text: str) -> None:
        if found := acting_characters(text):
            raise MalformedError(f"it holds the invisible character {found}: remove it")
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise MalformedError("it holds half a character (a lone surrogate), which is no text") from error

    def _check_findings(self, text: str) -> None:
        found = [*secrets_in(text), *personal_data(text)]
        if not found:
            return
        self.report.flagged += 1
        if not self._options.keep:
            raise MalformedError(f"it holds {' and '.join(found)}: remove it, or take such rows with --keep")

    def _count(self, prompt: str, completion: str, contributor: str | None, form: str) -> None:
        row = {"prompt": prompt, "completion": completion, **({"contributor": contributor} if contributor else {})}
        self._write(row)
        report = self.report
        report.rows += 1
        report.forms[form] += 1
        report.without_contributor += contributor is None
        if len(report.sample) < SAMPLE_ROWS:
            report.sample.append({name: text[:SAMPLE_CHARACTERS] for name, text in row.items()})

    def _flaw(self, place: int, reason: str) -> None:
        self.report.num_flaws += 1
        if len(self.report.flaws) < FLAWS_LISTED:
            self.report.flaws.append({"place": place, "reason": reason})
