"""Files that the page has uploaded: their rows wait in the data directory until the person takes or discards them."""

import secrets
import shutil
from pathlib import Path
from typing import Any, Final

from openledger_protocol.codec import to_plain
from openledger_protocol.primitives import check_name

from ..errors import NodeError
from ..home import Home
from .files import FilePreview, read_into
from .own_process import RunOrder, run_order
from .reading import ReadOptions
from .signed import is_signed_batch
from .store import OwnDatanets

FOLDER: Final = ".uploads"
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
        try:
            if is_signed_batch(folder / "upload"):
                raise NodeError(
                    "this file is signed by its contributor, and the page can't check that: take it with "
                    "`openledger-node datanet contribute DATANET FILE`"
                )
            report = read_into(folder / "upload", folder / "rows.jsonl", options)
        except NodeError:
            self.discard(name)
            raise
        if not folder.is_dir():
            raise NodeError("the file was discarded while it was read: drop it once more")
        (folder / "upload").unlink(missing_ok=True)
        self._previews[name] = FilePreview(report, folder / "rows.jsonl")
        while len(self._previews) > DRAFTS_MAX:
            self.discard(next(iter(self._previews)))
        return {**report, "draft": name}

    def take(self, name: str, datanet: str, contributor: str | None) -> dict[str, Any]:
        """Add the rows of a draft to a Datanet as a batch that waits for approval.

        Raises:
            NodeError: there is no such draft or Datanet, or the rows need a contributor.
            MalformedError: the contributor is invalid.
        """
        taken = self._give("contribute", name, datanet, contributor)
        self.discard(name)
        return taken

    def measure(self, name: str, datanet: str, contributor: str | None) -> dict[str, Any]:
        """Return the batch that `take` would add, with its numbers and copies, and add nothing.

        Raises:
            NodeError: as in `take`.
            MalformedError: as in `take`.
        """
        return self._give("measure", name, datanet, contributor)

    def _give(self, do: str, name: str, datanet: str, contributor: str | None) -> dict[str, Any]:
        preview = self._previews.get(name)
        if preview is None:
            raise NodeError(
                f"these rows are gone, because the node was started again or {DRAFTS_MAX} other files were read "
                "since: drop the file once more"
            )
        if contributor is not None:
            check_name(contributor)
        preview.check(contributor)
        return self.change(do, datanet, rows=str(preview.rows_file), contributor=contributor)

    def discard(self, name: str) -> None:
        """Delete a draft; one that is gone already is no mistake."""
        self._previews.pop(name, None)
        if name and "/" not in name and name not in (".", ".."):
            shutil.rmtree(self._folder / name, ignore_errors=True)

    def datanets(self) -> dict[str, Any]:
        """Return the Datanets that are owned here, as `datanet list --json` does."""
        return {"datanets": [to_plain(each) for each in self._own.all()]}

    def change(self, do: str, datanet: str, **more: Any) -> dict[str, Any]:
        """Carry out an order of `own_process` on a Datanet, in a process of its own.

        Raises:
            NodeError: there is no such Datanet or batch, or it can't be changed so.
            MalformedError: an argument is invalid.
        """
        self._own.get(datanet)
        return self._run({"home": str(self._home.root), "do": do, "datanet": datanet, **more})
