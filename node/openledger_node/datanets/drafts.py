"""Files that the page has uploaded: their rows wait in the data directory until the person takes or discards them."""

import secrets
import shutil
from pathlib import Path
from typing import Any, Final

from openledger_protocol.codec import to_plain
from openledger_protocol.primitives import check_name

from ..errors import NodeError
from ..home import Home
from .curator_files import ROWS_SHOWN, kind_of, show_rows
from .files import FilePreview, read_into
from .own_process import RunOrder, run_order
from .proposals import read_decision
from .reading import ReadOptions
from .row_pages import RowPages
from .rows import write_rows
from .signed import is_signed_batch, open_signed_preview, read_signed
from .store import OwnDatanets

FOLDER: Final = ".uploads"
DIGESTS_MAX: Final = 512
"""Rows that one transaction withdraws."""

DRAFTS_MAX: Final = 4
"""Drafts that are kept; the oldest goes first."""


class FileDrafts:
    """Reads uploaded files and keeps their rows. Every method blocks."""

    def __init__(self, home: Home, run: RunOrder = run_order) -> None:
        self._home = home
        self._run = run
        self._folder = home.root / FOLDER
        self._own = OwnDatanets(home)
        self._previews: dict[str, FilePreview] = {}
        self._proposals: dict[str, dict[str, Any]] = {}  # by draft, those that were shown
        self._pages = RowPages()
        shutil.rmtree(self._folder, ignore_errors=True)  # nobody can take what an earlier process has read

    def begin(self) -> tuple[str, Path]:
        """Return the name of a new draft, and the file to which the upload is written."""
        name = secrets.token_urlsafe(16)
        folder = self._folder / name
        folder.mkdir(mode=0o700, parents=True)
        return name, folder / "upload"

    def read(self, name: str, options: ReadOptions) -> dict[str, Any]:
        """Read the upload of a draft, delete it, and return the report with the name of the draft.

        Raises:
            NodeError: the file can't be read; the message says what to do.
        """
        folder = self._folder / name
        upload, rows_file = folder / "upload", folder / "rows.jsonl"
        try:
            report = _read(upload, rows_file, options)
        except NodeError as error:
            self.discard(name)
            raise NodeError(str(error).replace(str(upload), options.name)) from error
        if not folder.is_dir():
            raise NodeError("the file was discarded while it was read: drop it once more")
        if report["kind"] == "rows":
            upload.unlink(missing_ok=True)
        self._previews[name] = FilePreview(report, rows_file)
        while len(self._previews) > DRAFTS_MAX:
            self.discard(next(iter(self._previews)))
        return {**report, "draft": name}

    def kind(self, name: str) -> str:
        """Return the kind of a draft: "rows", "signed", "proposal" or "decision".

        Raises:
            NodeError: there is no such draft.
        """
        return str(self._find(name).report["kind"])

    def file(self, name: str) -> Path:
        """Return the upload of a signed batch, a proposal or a decision; of others, their rows.

        Raises:
            NodeError: there is no such draft.
        """
        preview = self._find(name)
        return preview.rows_file if preview.report["kind"] == "rows" else self._folder / name / "upload"

    def take(
        self, name: str, datanet: str, contributor: str | None, curators: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        """Add the rows of a draft to a Datanet as a batch that waits for approval.

        `curators`: what the network has told of the Datanet, which a signed batch needs.

        Raises:
            NodeError: there is no such draft or Datanet, or the rows need a contributor.
            MalformedError: the contributor is invalid.
        """
        taken = self._give("contribute", name, datanet, contributor, curators)
        self.discard(name)
        return taken

    def measure(
        self, name: str, datanet: str, contributor: str | None, curators: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        """Return the batch that `take` would add, with its numbers and copies, and add nothing.

        Raises:
            NodeError: as in `take`.
            MalformedError: as in `take`.
        """
        return self._give("measure", name, datanet, contributor, curators)

    def _find(self, name: str) -> FilePreview:
        preview = self._previews.get(name)
        if preview is None:
            raise NodeError(
                f"these rows are gone, because the node was started again or {DRAFTS_MAX} other files were read "
                "since: drop the file once more"
            )
        return preview

    def _give(
        self, do: str, name: str, datanet: str, contributor: str | None, curators: dict[str, Any] | None
    ) -> dict[str, Any]:
        preview = self._find(name)
        if preview.report["kind"] == "signed":
            return self.change(do, datanet, signed=str(self.file(name)), curators=curators)
        if contributor is not None:
            check_name(contributor)
        preview.check(contributor)
        return self.change(do, datanet, rows=str(preview.rows_file), contributor=contributor)

    def discard(self, name: str) -> None:
        """Delete a draft; one that is gone already is no mistake."""
        self._previews.pop(name, None)
        self._proposals.pop(name, None)
        if name and "/" not in name and name not in (".", ".."):
            shutil.rmtree(self._folder / name, ignore_errors=True)

    def datanets(self) -> dict[str, Any]:
        """Return the Datanets that are owned here, as `datanet list --json` does."""
        return {"datanets": [to_plain(each) for each in self._own.all()]}

    def show_proposal(self, name: str, offset: int) -> dict[str, Any]:
        """Show a proposal that was dropped, with some of its new rows.

        Raises:
            NodeError: it is no proposal.
        """
        file, rows_file = self.file(name), self._find(name).rows_file
        told = self._proposals.get(name)
        if told is None:  # its rows are compared with its roots once, and then only those of a page are read
            try:
                told = self._run(
                    {"home": str(self._home.root), "do": "show", "file": str(file), "rows": str(rows_file)}
                )
            except NodeError as error:
                raise NodeError(str(error).replace(str(file), self._find(name).report["name"])) from error
            self._proposals[name] = told
        known = {key: value for key, value in told.items() if key != "new_digest"}
        offset = max(0, offset)
        numbers = range(1, told["num_new"] + 1)[offset : offset + ROWS_SHOWN]
        rows = self._pages.read(rows_file, told["new_digest"], numbers)
        shown = show_rows(rows, before=told["rows"] - told["num_new"] + offset)
        return {**known, "offset": offset, "shown": shown, "draft": name}

    def change(self, do: str, datanet: str, **more: Any) -> dict[str, Any]:
        """Carry out an order of `own_process` on a Datanet, in a process of its own.

        Raises:
            NodeError: there is no such Datanet or batch, or it can't be changed so.
            MalformedError: an argument is invalid.
        """
        self._own.get(datanet)
        return self._run({"home": str(self._home.root), "do": do, "datanet": datanet, **more})


def _read(upload: Path, rows_file: Path, options: ReadOptions) -> dict[str, Any]:
    """Read a file of rows, a signed batch, or a file that owner and curators send each other."""
    named = {"name": options.name}
    match kind_of(upload):
        case "proposal":
            return {**named, "kind": "proposal"}  # its rows are read when they are shown
        case "decision":
            decision: Any = to_plain(read_decision(upload))
            return {**named, **decision, "kind": "decision"}
    if is_signed_batch(upload):
        return _read_signed(upload, rows_file, options)
    return {**read_into(upload, rows_file, options), "kind": "rows"}


def _read_signed(upload: Path, rows_file: Path, options: ReadOptions) -> dict[str, Any]:
    """Read a signed batch, and report its rows as those of any file, with digests if one transaction takes them."""
    batch = read_signed(upload)
    offer = batch.offer
    with open_signed_preview(batch, Path(options.name), keep=options.keep) as preview:
        write_rows(rows_file, batch.rows)
        digests = list(offer.rows) if len(offer.rows) <= DIGESTS_MAX else []
        signed = {"account": offer.account, "datanet_id": offer.datanet_id, "licence": offer.licence, "rows": digests}
        return {**preview.report, "kind": "signed", "signed": signed}
