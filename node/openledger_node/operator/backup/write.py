"""Write a backup. It may run beside the daemon: ledgers are copied by SQLite, in one consistent read."""

import io
import json
import os
import secrets
import tarfile
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Final

from ... import __version__
from ...errors import ConfigError
from ...home import Home, sync_folder
from ...ledger.store import copy_store
from ...text import rfc3339
from .contents import MANIFEST, LeftOut, files_of, is_ledger, left_out
from .sealed import SealedWriter

SCHEMA: Final = "openledger.backup/1"
FILE_MODE: Final = 0o600


@dataclass(frozen=True, slots=True, kw_only=True)
class WrittenBackup:
    """A backup on the disk, and what is in it."""

    file: Path
    size_bytes: int
    made_at: str  # RFC 3339
    num_files: int
    networks: tuple[str, ...]  # whose ledgers are in it
    left_out: tuple[LeftOut, ...]


def write_backup(
    home: Home, file: Path, passphrase: str, *, with_adapters: bool = False, may_replace: bool = False
) -> WrittenBackup:
    """Write everything that the node needs to come back into one encrypted file, atomically.

    Raises:
        ConfigError: the file exists already, or the data directory has nothing to keep.
        NodeError: a ledger can't be read.
    """
    if file.exists() and not may_replace:
        raise ConfigError(f"{file} exists already: choose another name, or replace it with --force")
    files = files_of(home, with_adapters=with_adapters)
    if not files:
        raise ConfigError(f"{home.root} has no keys, settings or ledger: there is nothing to back up")
    paths = {PurePosixPath(each.relative_to(home.root).as_posix()): each for each in files}
    made_at, missing = rfc3339(time.time()), left_out(home, with_adapters=with_adapters)
    networks = [path.parts[1] for path in paths if is_ledger(path)]
    manifest: dict[str, object] = {
        "schema": SCHEMA,
        "made_at": made_at,
        "version": __version__,
        "networks": networks,
        "files": [str(path) for path in paths],
        "left_out": [asdict(each) for each in missing],
    }
    with _replaced(file) as target:
        _write(home, target, passphrase, manifest, paths)
    return WrittenBackup(
        file=file,
        size_bytes=file.stat().st_size,
        made_at=made_at,
        num_files=len(paths),
        networks=tuple(networks),
        left_out=tuple(missing),
    )


@contextmanager
def _replaced(file: Path) -> Iterator[IO[bytes]]:
    """Open a file beside `file`, readable by its owner only, that takes its place once it is complete."""
    partial = file.with_name(f".{file.name}.{secrets.token_hex(4)}.partial")
    try:
        with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, FILE_MODE), "wb") as target:
            yield target
        partial.replace(file)
    finally:
        partial.unlink(missing_ok=True)
    sync_folder(file.absolute().parent)


def _write(
    home: Home,
    target: IO[bytes],
    passphrase: str,
    manifest: Mapping[str, object],
    paths: Mapping[PurePosixPath, Path],
) -> None:
    sealed = SealedWriter(target, passphrase)
    with (
        tempfile.TemporaryDirectory(dir=home.root, prefix=".backup-") as spare,
        tarfile.open(fileobj=sealed, mode="w|", format=tarfile.PAX_FORMAT) as archive,  # type: ignore[call-overload]
    ):
        _add(archive, MANIFEST, io.BytesIO(json.dumps(manifest, indent=2).encode()))
        for path, file in paths.items():
            copy = copy_store(file, Path(spare) / file.name) if is_ledger(path) else file
            with copy.open("rb") as content:
                _add(archive, str(path), content)
    sealed.finish()


def _add(archive: tarfile.TarFile, name: str, content: IO[bytes]) -> None:
    member = tarfile.TarInfo(name)
    member.size = content.seek(0, io.SEEK_END)
    member.mode, member.mtime = FILE_MODE, int(time.time())
    content.seek(0)
    archive.addfile(member, content)
