"""Restore a backup into an empty data directory, in steps that can be repeated after a crash.

The whole file is checked first. Then it is unpacked into a folder of its own, which gets its name once everything is
on the disk. From then on, files only move to their places, and a second call moves the rest. While that folder is
there, no daemon starts.
"""

import io
import json
import os
import shutil
import tarfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any, Final

from ...errors import ConfigError, NodeError
from ...home import Home, sync_folder
from ...ledger.ledger import open_ledger
from .contents import MANIFEST, is_path_of_backup
from .sealed import SealedReader
from .write import FILE_MODE, SCHEMA

ID_FILE: Final = "backup.id"
MANIFEST_BYTES_MAX: Final = 64 << 20
COPY_BYTES: Final = 1 << 20
FAIL_POINTS: Final = ("restore:checked", "restore:unpacked", "restore:complete", "restore:moved")
"""Points at which a crash test may kill the restore, in order; `restore:moved` comes after each file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Restored:
    """A data directory that was restored."""

    made_at: str
    num_files: int
    generations: dict[str, str]  # of the ledgers, by network
    left_out: list[dict[str, Any]]
    was_interrupted: bool  # an earlier call had begun it


def restore_backup(
    home: Home, file: Path, passphrase: str, fail_point: Callable[[str], None] = lambda _: None
) -> Restored:
    """Restore a data directory; the caller holds its lock.

    Raises:
        ConfigError: the data directory has files that the backup would replace.
        KeyFileError: the passphrase is wrong.
        NodeError: the file is damaged, or is not a backup.
    """
    backup_id, manifest = _check(file, passphrase)
    fail_point("restore:checked")
    was_interrupted = home.restoring.exists()
    if was_interrupted:
        _check_same(home, backup_id)
    else:
        _check_is_free(home, manifest)
        _unpack(home, file, passphrase, backup_id, fail_point)
    _move_into_place(home, fail_point)
    return Restored(
        made_at=str(manifest["made_at"]),
        num_files=len(manifest["files"]),
        generations={network: _new_generation(home, network) for network in manifest["networks"]},
        left_out=manifest["left_out"],
        was_interrupted=was_interrupted,
    )


# ---- the file


def _check(file: Path, passphrase: str) -> tuple[str, dict[str, Any]]:
    """Read the whole file, and return its id and its manifest."""
    with _opened(file, passphrase) as (reader, members):
        first, content = next(members)
        manifest = _read_manifest(file, first, content)
        for _, content in members:
            while content.read(COPY_BYTES):
                pass
        reader.check_rest()
        return reader.salt.hex(), manifest


@contextmanager
def _opened(file: Path, passphrase: str) -> Iterator[tuple[SealedReader, Iterator[tuple[str, IO[bytes]]]]]:
    try:
        with file.open("rb") as source:
            reader = SealedReader(source, str(file), passphrase)
            with tarfile.open(fileobj=reader, mode="r|") as archive:  # type: ignore[call-overload]
                yield reader, _members(file, archive)
    except tarfile.TarError as error:
        raise NodeError(f"{file} can't be unpacked ({error}): use another copy of the backup") from error


def _members(file: Path, archive: tarfile.TarFile) -> Iterator[tuple[str, IO[bytes]]]:
    for member in archive:
        content = archive.extractfile(member) if member.isreg() else None
        if content is None or not is_path_of_backup(member.name):
            raise NodeError(
                f"{file} contains {member.name!r}, which is no file of a data directory: nothing is restored"
            )
        yield member.name, content


def _read_manifest(file: Path, name: str, content: IO[bytes]) -> dict[str, Any]:
    try:
        manifest = json.loads(content.read(MANIFEST_BYTES_MAX)) if name == MANIFEST else None
    except ValueError:
        manifest = None
    if not isinstance(manifest, dict) or manifest.get("schema") != SCHEMA:
        raise NodeError(f"{file} was made by another version: restore it with that version of openledger-node")
    return manifest


# ---- the data directory


def _check_is_free(home: Home, manifest: dict[str, Any]) -> None:
    """Require that nothing would be replaced: a ledger or key that is lost can't be made again."""
    money = [home.keys, *sorted((home.root / "networks").glob("*/keys")), *home.root.glob("networks/*/ledger.db")]
    taken = [each for each in money if each.is_file() or (each.is_dir() and any(each.iterdir()))]
    taken += [file for path in manifest["files"] if (file := home.root / path).exists()]
    if taken:
        raise ConfigError(
            f"{taken[0]} exists already, and a restore replaces nothing: move it away, or restore into an empty data "
            "directory with `openledger-node --home FOLDER restore FILE`"
        )


def _unpack(home: Home, file: Path, passphrase: str, backup_id: str, fail_point: Callable[[str], None]) -> None:
    """Unpack into a folder beside the final places; it gets its name once all of it is on the disk."""
    partial = _partial(home)
    shutil.rmtree(partial, ignore_errors=True)  # of an earlier call
    partial.mkdir(mode=0o700)
    with _opened(file, passphrase) as (_, members):
        for name, content in members:
            _write(partial / name, content)
    _write(partial / ID_FILE, io.BytesIO(backup_id.encode()))
    fail_point("restore:unpacked")
    for folder, _, _ in os.walk(partial):
        sync_folder(Path(folder))
    partial.rename(home.restoring)
    sync_folder(home.root)
    fail_point("restore:complete")


def _write(file: Path, content: IO[bytes]) -> None:
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, FILE_MODE), "wb") as target:
        shutil.copyfileobj(content, target, COPY_BYTES)
        target.flush()
        os.fsync(target.fileno())


def _check_same(home: Home, backup_id: str) -> None:
    if (home.restoring / ID_FILE).read_text() != backup_id:
        raise ConfigError(
            f"a restore of another backup was interrupted here: repeat it with that file, or delete {home.restoring}"
        )


def _move_into_place(home: Home, fail_point: Callable[[str], None]) -> None:
    """Move the files that have not been moved yet, and end the restore by removing their folder."""
    for file in sorted(path for path in home.restoring.rglob("*") if path.is_file()):
        path = PurePosixPath(file.relative_to(home.restoring).as_posix())
        if str(path) in (MANIFEST, ID_FILE):
            continue
        target = home.root / path
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        file.rename(target)
        sync_folder(target.parent)
        fail_point("restore:moved")
    done = _partial(home)  # it must not be there under its own name and without its id
    home.restoring.rename(done)
    sync_folder(home.root)
    shutil.rmtree(done)


def _partial(home: Home) -> Path:
    return home.restoring.with_name(f"{home.restoring.name}.partial")


def _new_generation(home: Home, network: str) -> str:
    """Open a restored ledger once; it sees that it is a copy, and draws a new generation."""
    with closing(open_ledger(home.ledger(network))) as ledger:
        return ledger.generations.current.generation
