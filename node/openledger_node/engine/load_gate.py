"""The last look at an adapter's files, when they are about to be loaded: they are still what was let in.

Between the day an adapter was added and the moment it is loaded, its files may have been changed, cut off or made for
a base that is not the one in memory now. Their digest is taken before the backend reads them, and they must not have
changed when it has read them.
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
from ..models.adapters import CHECKED_FOLDER, MANIFEST_FILE, SHELF_FILES, artifact_digest, read_manifest
from .backend import HostAdapter

FILE_BYTES_PER_SERVED_MAX = 4
"""A number takes 4 bytes of a file at most, and a byte of memory at least."""

MIB = 1 << 20


class LoadGate:
    """Lets files through to the device; what it has hashed once it knows again until the files change.

    Any thread may use it, several at once.
    """

    def __init__(
        self, base_digest: Digest | None, cache_folder: Path | None = None, *, budget_bytes: int | None = None
    ) -> None:
        self.base_digest = base_digest  # None: not known, as of a folder that nobody registered
        self._budget_bytes = budget_bytes  # of all adapters in memory; None: whatever there is
        self._known = KnownFiles(cache_folder / CHECKED_FOLDER if cache_folder else None)

    def reader(self, read: Callable[[AdapterSource], HostAdapter]) -> Callable[[AdapterSource], HostAdapter]:
        """A backend's `read_adapter`, with the gate before and behind it."""

        def read_watched(source: AdapterSource) -> HostAdapter:
            with self.watch(source):
                return read(source)

        return read_watched

    @contextmanager
    def watch(self, source: AdapterSource) -> Iterator[None]:
        """Check the files of `source`, have the caller read them, and check that they are still the same.

        Raises:
            AdapterRefusedError: they are not what their manifest says, could never be served, or changed meanwhile.
        """
        folders = [Path(part.folder) for part in source.parts]
        for folder in folders:
            self._check_size(folder)
        stamps = [self._check(folder, source) for folder in folders]
        yield
        for folder, stamp in zip(folders, stamps, strict=True):
            if stamp_of(folder, SHELF_FILES) != stamp:
                raise AdapterRefusedError(f"the files in {folder} were changed while they were read")
            self._known.note(folder, stamp)

    def _check_size(self, folder: Path) -> None:
        """Refuse what is too large however narrow it becomes, before all of it is read to find that out."""
        file = folder / WEIGHTS_FILE
        if self._budget_bytes is None or not os.path.lexists(file):
            return
        size_bytes = file.lstat().st_size
        if size_bytes - HEADER_BYTES_MAX > self._budget_bytes * FILE_BYTES_PER_SERVED_MAX:
            raise AdapterRefusedError(
                f"{file} has {size_bytes / MIB:.1f} MiB, far more than fits: [inference] adapter_cache_bytes is "
                f"{self._budget_bytes / MIB:.1f} MiB"
            )

    def _check(self, folder: Path, source: AdapterSource) -> Stamp:
        stamp = stamp_of(folder, SHELF_FILES)
        if (folder / MANIFEST_FILE).exists():
            manifest = read_manifest(folder)
            self._check_manifest(folder, manifest, source)
            if not self._known.knows(folder, stamp):
                _check_digest(folder, manifest)
        return stamp

    def _check_manifest(self, folder: Path, manifest: AdapterManifest, source: AdapterSource) -> None:
        is_alone = len(source.parts) == 1 and source.parts[0].weight == 1
        if is_alone and adapter_id(manifest) != source.id:
            raise AdapterRefusedError(f"{folder} holds {adapter_id(manifest)}, not {source.id} that was asked for")
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
