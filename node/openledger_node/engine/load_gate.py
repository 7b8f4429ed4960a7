"""The last check of an adapter's files before they are loaded: they must still be the files that were added.

After an adapter was added, its files may have been changed or truncated, or the node may serve another base now. The
gate checks their digest before the backend reads them, and checks afterwards that they did not change meanwhile.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from openledger_protocol.adapter import AdapterManifest, adapter_id
from openledger_protocol.errors import AdapterRefusedError
from openledger_protocol.primitives import Digest

from ..models.adapter_files.header import HEADER_BYTES_MAX
from ..models.adapter_files.known_files import KnownFiles, Stamp, stamp_of
from ..models.adapter_files.layout import WEIGHTS_FILE
from ..models.adapter_source import AdapterSource
from ..models.adapters import CHECKED_FOLDER, LIBRARY_FILES, MANIFEST_FILE, artifact_digest, read_manifest
from ..text import size_text
from .backend import HostAdapter

FILE_BYTES_PER_SERVED_MAX = 4
"""A number takes at most 4 bytes in a file, and at least 1 byte in memory."""


class LoadGate:
    """Lets files through to the device; files are hashed once, and again only after they change.

    Several threads may use it at once.
    """

    def __init__(
        self, base_digest: Digest | None, cache_folder: Path | None = None, *, budget_bytes: int | None = None
    ) -> None:
        self.base_digest = base_digest  # None: unknown, as for a base folder without `base.json`
        self._budget_bytes = budget_bytes  # of all adapters in memory; None: no limit
        self._known = KnownFiles(cache_folder / CHECKED_FOLDER if cache_folder else None)

    def reader(self, read: Callable[[AdapterSource], HostAdapter]) -> Callable[[AdapterSource], HostAdapter]:
        """Wrap a backend's `read_adapter` in the checks before and after it."""

        def read_watched(source: AdapterSource) -> HostAdapter:
            with self.watch(source):
                return read(source)

        return read_watched

    @contextmanager
    def watch(self, source: AdapterSource) -> Iterator[None]:
        """Check the files of `source`, let the caller read them, and check that they are still the same.

        Raises:
            AdapterRefusedError: they differ from their manifest, could never be served, or changed meanwhile.
        """
        folder = Path(source.folder)
        self._check_size(folder)
        stamp = self._check(folder, source)
        yield
        if stamp_of(folder, LIBRARY_FILES) != stamp:
            raise AdapterRefusedError(f"the files in {folder} were changed while they were read")
        self._known.note(folder, stamp)

    def _check_size(self, folder: Path) -> None:
        """Refuse a file that is too large even in the narrowest type, before it is read."""
        file = folder / WEIGHTS_FILE
        if self._budget_bytes is None or not os.path.lexists(file):
            return
        size_bytes = file.lstat().st_size
        if size_bytes - HEADER_BYTES_MAX > self._budget_bytes * FILE_BYTES_PER_SERVED_MAX:
            raise AdapterRefusedError(
                f"{file} has {size_text(size_bytes)}, far more than fits: [inference] adapter_cache_bytes is "
                f"{size_text(self._budget_bytes)}"
            )

    def _check(self, folder: Path, source: AdapterSource) -> Stamp:
        stamp = stamp_of(folder, LIBRARY_FILES)
        if (folder / MANIFEST_FILE).exists():
            manifest = read_manifest(folder)
            self._check_manifest(folder, manifest, source)
            if not self._known.knows(folder, stamp):
                _check_digest(folder, manifest)
        return stamp

    def _check_manifest(self, folder: Path, manifest: AdapterManifest, source: AdapterSource) -> None:
        if adapter_id(manifest) != source.id:
            raise AdapterRefusedError(f"{folder} holds {adapter_id(manifest)}, not {source.id}, which was requested")
        if self.base_digest not in (None, manifest.base.digest):
            raise AdapterRefusedError(
                f"{manifest.name} was made for base {manifest.base.name} ({manifest.base.digest[:10]}…), "
                "which is not the one that is served"
            )


def _check_digest(folder: Path, manifest: AdapterManifest) -> None:
    if (found := artifact_digest(folder)) != manifest.artifact_digest:
        raise AdapterRefusedError(
            f"the files in {folder} have digest {found}, their manifest says {manifest.artifact_digest}: "
            "remove the adapter and add or pull it again"
        )
