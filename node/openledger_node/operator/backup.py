"""Backup and restore: one encrypted file with what only this machine has.

A backup may be written beside the daemon, because SQLite copies a ledger as of one moment. A restore checks the whole
file before it writes. While it writes, a mark keeps every daemon away; repeating the same command finishes it.
"""

import json
import os
import secrets
import shutil
import tarfile
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path, PurePosixPath
from typing import IO, Any, Final

from ..errors import ConfigError, NodeError
from ..home import Home, open_private, sync_folder, write_private
from ..ledger.ledger import open_ledger
from ..ledger.store import copy_store
from ..text import rfc3339
from .sealed import seal, unseal

MANIFEST: Final = "backup.json"
ADAPTERS: Final = "adapters"
FILES: Final = ("node.toml", "pins.json", "paused.json")
CONTENTS: Final = (*FILES, "keys", "networks", "datanets", "bootstrap")
WHY_LEFT_OUT: Final = {
    "models": "downloaded again by `models pull`",
    ADAPTERS: "included by --with-adapters; published ones can be pulled again",
    "training": "working files of trainings",
    "devnet": "the chain of this machine; a backup can't bring it back",
    "cache": "made again",
}


def write_backup(
    home: Home, file: Path, password: str, *, with_adapters: bool = False, may_replace: bool = False
) -> dict[str, Any]:
    """Write everything that the node needs to come back into one encrypted file, atomically.

    Returns `made_at`, `num_files`, `networks` (whose ledgers are in it) and `left_out`: path, size_bytes and why.

    Raises:
        ConfigError: the file exists already, its folder does not, or the data directory has nothing to keep.
        NodeError: a ledger can't be read, or the disk is full.
    """
    if file.exists() and not may_replace:
        raise ConfigError(f"{file} exists already: choose another name, or replace it with --force")
    if not file.absolute().parent.is_dir():  # perhaps of a disk that is not mounted
        raise ConfigError(f"{file.absolute().parent} is not a folder: create it, or choose another")
    names = (*CONTENTS, ADAPTERS) if with_adapters else CONTENTS
    paths = [path for name in names for path in _files(home, name) if _is_kept(path)]
    if not paths:
        raise ConfigError(f"{home.root} has no keys, settings or ledger: there is nothing to back up")
    manifest = {
        "made_at": rfc3339(time.time()),
        "num_files": len(paths),
        "networks": [path.parts[1] for path in paths if _is_ledger(path)],
        "left_out": _left_out(home, names),
    }
    with tempfile.TemporaryFile(dir=home.root) as archive:
        _pack(home, archive, {"id": secrets.token_hex(16), **manifest}, paths)
        archive.seek(0)
        with open_private(file, is_new=False) as target:
            seal(archive, target, password)
    return manifest


def restore_backup(home: Home, file: Path, password: str) -> dict[str, Any]:
    """Restore a data directory, or finish a restore that was interrupted; the caller holds the directory's lock.

    Returns `made_at`, `num_files` and `left_out` of the backup, `was_interrupted`, and each network's new generation.

    Raises:
        ConfigError: the data directory has something that a backup could replace.
        KeyFileError: the password is wrong.
        NodeError: the file is damaged, or is not a backup.
    """
    with tempfile.TemporaryFile(dir=home.root) as archive:
        with file.open("rb") as source:
            unseal(source, archive, password)
        archive.seek(0)
        with tarfile.open(fileobj=archive, mode="r:") as members:
            contents = {name: _content(members, name) for name in members.getnames()}
            manifest = json.load(contents.pop(MANIFEST))
            was_interrupted = _begin(home, manifest)
            for name, content in contents.items():
                if not (home.root / name).exists():  # no earlier call has written it
                    with open_private(home.root / name, is_new=False) as target:
                        shutil.copyfileobj(content, target)
    for folder in {folder for name in contents for folder in PurePosixPath(name).parents}:
        sync_folder(home.root / folder)
    told = {name: manifest[name] for name in ("made_at", "num_files", "left_out")}
    generations = {network: _new_generation(home, network) for network in manifest["networks"]}
    home.restoring.unlink()
    return {**told, "generations": generations, "was_interrupted": was_interrupted}


# ---- writing


def _files(home: Home, name: str) -> list[PurePosixPath]:
    """List a file, or a folder's files without its links, which may lead out of the data directory."""
    place = home.root / name
    found = sorted(file for file in place.rglob("*") if file.is_file() and not file.is_symlink())
    return [PurePosixPath(file.relative_to(home.root)) for file in ([place] if place.is_file() else found)]


def _is_kept(path: PurePosixPath) -> bool:
    """Return False for files in the making, those of a development network's guest, and a ledger's side files."""
    is_guests = path.parts[0] == "networks" and path.parts[2:3] == ("guest",)
    is_partial = path.suffix == ".partial" or any(part.startswith(".pull-") for part in path.parts)
    return not (is_guests or is_partial or path.name.startswith(("ledger.db-", "ledger.db.mark")))


def _is_ledger(path: PurePosixPath) -> bool:
    return path.match("networks/*/ledger.db")


def _left_out(home: Home, names: Sequence[str]) -> list[dict[str, Any]]:
    """List the folders that a backup does not have, largest first."""
    sizes = {name: sum((home.root / path).stat().st_size for path in _files(home, name)) for name in WHY_LEFT_OUT}
    chosen = sorted(sizes.keys() - set(names), key=lambda name: (-sizes[name], name))
    return [{"path": name, "size_bytes": sizes[name], "why": WHY_LEFT_OUT[name]} for name in chosen if sizes[name]]


def _pack(home: Home, archive: IO[bytes], manifest: Mapping[str, Any], paths: Sequence[PurePosixPath]) -> None:
    with (
        tempfile.TemporaryDirectory(dir=home.root, prefix=".backup-") as folder,
        tarfile.open(fileobj=archive, mode="w", dereference=True) as members,
    ):
        spare = Path(folder) / "spare"
        spare.write_text(json.dumps(manifest))
        members.add(spare, MANIFEST)
        for path in paths:
            file = home.root / path
            members.add(copy_store(file, spare) if _is_ledger(path) else file, str(path))


# ---- restoring


def _content(members: tarfile.TarFile, name: str) -> IO[bytes]:
    path, content = PurePosixPath(name), members.extractfile(name)
    if content is None or ".." in path.parts or path.parts[0] not in (MANIFEST, *CONTENTS, ADAPTERS):
        raise NodeError(f"the backup contains {name!r}, which is not a file of a data directory: nothing is restored")
    return content


def _begin(home: Home, manifest: Mapping[str, Any]) -> bool:
    """Mark the data directory, and return True if an earlier call has: a ledger or key that is replaced is lost."""
    if home.restoring.exists():
        if json.loads(home.restoring.read_text()) != manifest:
            raise ConfigError(
                "a restore of another backup was interrupted here: repeat it with that file, or name an empty data "
                "directory with --home"
            )
        return True
    for place in (home.root / name for name in (*CONTENTS, ADAPTERS)):
        is_empty = place.is_dir() and not place.is_symlink() and not any(place.iterdir())
        if os.path.lexists(place) and not is_empty:
            raise ConfigError(
                f"{place} exists already, and a restore replaces nothing: move it away, or name an empty data "
                "directory with --home"
            )
    write_private(home.restoring, json.dumps(manifest), is_new=False)
    return False


def _new_generation(home: Home, network: str) -> str:
    """Open a restored ledger once; it sees that it is a copy, and draws a new generation."""
    with closing(open_ledger(home.ledger(network))) as ledger:
        return ledger.generations.current.generation
