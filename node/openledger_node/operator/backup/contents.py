"""The contents of a backup: the files that only this machine has, and the folders that are left out."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from ...home import Home

MANIFEST: Final = "backup.json"
FILES: Final = ("node.toml", "pins.json", "paused.json")
FOLDERS: Final = ("keys", "networks", "datanets", "withdrawals", "bootstrap")
ADAPTERS: Final = "adapters"
LEDGER: Final = "ledger.db"

GUEST: Final = "guest"
"""Folder of a development network's guest, who is made anew."""

WHY_LEFT_OUT: Final = {
    "models": "downloaded again by `models pull`",
    ADAPTERS: "included by --with-adapters; published ones can be pulled again",
    "training": "working files of trainings",
    "devnet": "the chain of this machine; a backup can't bring it back",
    "cache": "made again",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftOut:
    """A folder that a backup does not have."""

    path: str
    size_bytes: int
    why: str


def files_of(home: Home, *, with_adapters: bool) -> list[Path]:
    """List the files of a backup, ledgers included, in a fixed order."""
    folders = (*FOLDERS, ADAPTERS) if with_adapters else FOLDERS
    found = [home.root / name for name in FILES if (home.root / name).is_file()]
    for name in folders:
        found += [file for file in _walk(home.root / name) if _belongs(file.relative_to(home.root))]
    return found


def left_out(home: Home, *, with_adapters: bool) -> list[LeftOut]:
    """List what a backup does not have, largest first."""
    names = [name for name in WHY_LEFT_OUT if name != ADAPTERS or not with_adapters]
    sizes = {name: sum(file.stat().st_size for file in _walk(home.root / name)) for name in names}
    found = [LeftOut(path=name, size_bytes=size, why=WHY_LEFT_OUT[name]) for name, size in sizes.items() if size]
    return sorted(found, key=lambda each: -each.size_bytes)


def is_ledger(path: PurePosixPath) -> bool:
    """Return True for the path of a network's ledger."""
    return len(path.parts) == 3 and path.parts[0] == "networks" and path.name == LEDGER


def is_path_of_backup(text: str) -> bool:
    """Return True if a backup may contain this path; it is relative, and stays in the data directory."""
    path = PurePosixPath(text)
    is_inside = not path.is_absolute() and ".." not in path.parts and str(path) == text
    return is_inside and (
        text in (MANIFEST, *FILES) or (path.parts[0] in (*FOLDERS, ADAPTERS) and len(path.parts) > 1)
    )


def _walk(folder: Path) -> Iterator[Path]:
    """Yield regular files; a link is not followed, because it may lead out of the data directory."""
    for file in sorted(folder.rglob("*")):
        if file.is_file() and not file.is_symlink():
            yield file


def _belongs(path: Path) -> bool:
    """Return False for files in the making, a ledger's own side files, and the guest's."""
    if path.name.endswith(".partial") or path.parts[1].startswith(".pull-"):
        return False
    if path.parts[0] == "networks" and GUEST in path.parts[2:3]:
        return False
    return not (path.name.startswith(f"{LEDGER}-") or path.name == f"{LEDGER}.mark")
