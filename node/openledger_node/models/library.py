"""The adapter library read again and again: its listing, and an adapter by name or id in the same time however many.

A folder is parsed again only when its files have changed.
"""

import os
import shutil
import stat
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from openledger_protocol.errors import ProtocolError, UnknownModelError
from openledger_protocol.inference import ServedModel
from openledger_protocol.primitives import AdapterId

from ..home import Home
from .adapters import LIBRARY_FILES, Adapter, find_adapter, forget_checked, only_adapter, read_adapter, resolve_model
from .bases import Base

SETTLED_NS = 100_000_000
"""A folder's time has the grain of the kernel's clock. One that is younger than this may change again unnoticed."""

LOOK_AGAIN_NS = 1_000_000_000
"""The whole library is read again at most this often for names that it does not have."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LibraryListing:
    """The content of the library: adapters that can be served, and the reasons why others can't."""

    adapters: list[Adapter]
    refused: dict[Path, str]


class AdapterLibrary:
    """Reads the library repeatedly; a folder is parsed again only when its files have changed.

    `named` and `with_id` take the same time however many adapters there are: they look at the library's own folder,
    which changes when an adapter comes or goes, and at the files of the adapter that they find.
    """

    def __init__(self, home: Home, *, now_ns: Callable[[], int] = time.time_ns) -> None:
        self._root = home.adapters
        self._now_ns = now_ns
        self._reading = threading.Lock()
        self._read: dict[Path, tuple[_Stamp, Adapter | str]] = {}  # an adapter, or the reason why it is refused
        self._found: dict[_Key, list[Adapter]] = {}
        self._read_at_ns = 0
        self._root_changed_ns = -1  # the root's time when it was read; -1: it must be read again

    def read(self) -> LibraryListing:
        """List every folder in order of names; a bad folder does not affect the others. Any thread may call this."""
        with self._reading:
            return self._read_all()

    def named(self, name: str) -> list[Adapter]:
        """The adapters whose name or full name is `name`. Any thread may call this."""
        return self._look_up(("name", name))

    def with_id(self, id: AdapterId) -> Adapter | None:
        """The adapter with this id, or None. Any thread may call this."""
        return next(iter(self._look_up(("id", id))), None)

    def _look_up(self, key: "_Key") -> list[Adapter]:
        with self._reading:
            if self._root_changed_ns != _changed_ns(self._root):
                self._read_all()
            found = self._found.get(key, [])
            is_changed = any(_stamp(adapter.folder) != self._read[adapter.folder][0] for adapter in found)
            is_old = self._now_ns() - self._read_at_ns >= LOOK_AGAIN_NS
            if is_changed or (not found and is_old):
                self._read_all()
            return self._found.get(key, [])

    def _read_all(self) -> LibraryListing:
        self._read_at_ns, changed_ns = self._now_ns(), _changed_ns(self._root)
        self._root_changed_ns = changed_ns if self._read_at_ns - changed_ns >= SETTLED_NS else -1
        folders = sorted(self._root.iterdir()) if self._root.exists() else []
        stamps = {folder: stamp for folder in folders if (stamp := _stamp(folder))}
        self._read = {folder: self._look(folder, stamp) for folder, stamp in stamps.items()}
        found = {folder: content for folder, (_, content) in self._read.items()}
        adapters = [content for content in found.values() if isinstance(content, Adapter)]
        self._found = _by_key(adapters)
        return LibraryListing(
            adapters=adapters,
            refused={folder: content for folder, content in found.items() if isinstance(content, str)},
        )

    def _look(self, folder: Path, stamp: "_Stamp") -> "tuple[_Stamp, Adapter | str]":
        if folder in self._read and self._read[folder][0] == stamp:
            return self._read[folder]
        try:
            return stamp, read_adapter(folder)
        except (ProtocolError, OSError) as error:
            return stamp, str(error)


class Catalogue:
    """The adapters of one base in the library, as requests name them. Any thread may call this."""

    def __init__(self, library: AdapterLibrary, base: Base) -> None:
        self._library = library
        self._base = base

    def adapters(self) -> list[Adapter]:
        """All of them, by name. The whole library is looked at, so no request does this."""
        return self._of_base(self._library.read().adapters)

    def find(self, name: str) -> Adapter:
        """Find an adapter by its name or full name.

        Raises:
            UnknownModelError: there is none, or several.
        """
        return only_adapter(self._of_base(self._library.named(name)), name)

    def with_id(self, adapter_id: AdapterId) -> Adapter:
        """Find an adapter by its id.

        Raises:
            UnknownModelError: it is not here.
        """
        found = self._library.with_id(adapter_id)
        if found is None or not self._of_base([found]):
            raise UnknownModelError(f"adapter {adapter_id} is not here")
        return found

    def resolve(self, model: str) -> Adapter | None:
        """Find the adapter of a request's `model`; None for the base.

        Raises:
            UnknownModelError: there is no such model.
        """
        return resolve_model(self._base, self.find, model)

    def models(self, context_max: int | None) -> list[ServedModel]:
        """The base and all its adapters, each under a name that is unique here; blocks.

        `context_max`: tokens that the engine holds for one request; None: unknown.
        """
        adapters = self.adapters()
        counts = Counter([self._base.name, *(adapter.name for adapter in adapters)])
        named = ((each.name if counts[each.name] == 1 else each.full_name, each) for each in adapters)
        return [self._served(self._base.name, None, context_max), *(self._served(*one, context_max) for one in named)]

    def model(self, name: str, context_max: int | None) -> ServedModel:
        """One of them, by any name that a request may use; blocks.

        Raises:
            UnknownModelError: there is no such model.
        """
        return self._served(name, self.resolve(name), context_max)

    def _served(self, name: str, adapter: Adapter | None, context_max: int | None) -> ServedModel:
        folder = adapter.folder if adapter else self._base.folder
        parent = self._base.name if adapter else None
        created_s = _changed_ns(folder) // 10**9 if folder else 0
        return ServedModel(name=name, parent=parent, created_s=created_s, context_max=context_max)

    def _of_base(self, adapters: list[Adapter]) -> list[Adapter]:
        return [adapter for adapter in adapters if adapter.manifest.base.digest == self._base.digest]


def read_library(home: Home) -> LibraryListing:
    """Read the library once."""
    return AdapterLibrary(home).read()


def list_adapters(home: Home) -> list[Adapter]:
    """Adapters that can be served, by name."""
    return read_library(home).adapters


def remove_adapter(home: Home, name: str) -> Adapter:
    """Remove an adapter from the library."""
    adapter = find_adapter(list_adapters(home), name)
    forget_checked(home, adapter)
    going = adapter.folder.with_name(f".{adapter.folder.name}.removed")
    shutil.rmtree(going, ignore_errors=True)
    shutil.rmtree(adapter.folder.rename(going))  # the rename hides it at once; the files are deleted after that
    return adapter


_Stamp = tuple[int, ...]
"""Times and sizes of an adapter's files, which change when the files do."""


def _stamp(folder: Path) -> _Stamp | None:
    """The stamp of an adapter's folder; None for an interrupted copy and for foreign files."""
    manifest, *others = (_status(f"{folder}{os.sep}{file}") for file in LIBRARY_FILES)
    if folder.name.startswith(".") or manifest is None or not stat.S_ISREG(manifest.st_mode):
        return None
    return tuple(number for file in (manifest, *others) if file for number in (file.st_mtime_ns, file.st_size))


def _status(file: str) -> os.stat_result | None:
    """A file's status; None if it is missing, was removed meanwhile, or can't be read."""
    try:
        return os.stat(file)
    except OSError:
        return None


def _changed_ns(folder: Path) -> int:
    """The time at which an entry of a folder last came, went or was renamed; 0 without a folder."""
    found = _status(str(folder))
    return found.st_mtime_ns if found else 0


_Key = tuple[Literal["name", "id"], str]


def _by_key(adapters: Iterable[Adapter]) -> dict[_Key, list[Adapter]]:
    """Adapters by name, by full name and by id."""
    found: dict[_Key, list[Adapter]] = {}
    for adapter in adapters:
        keys: tuple[_Key, ...] = (("name", adapter.name), ("name", adapter.full_name), ("id", adapter.id))
        for key in keys:
            found.setdefault(key, []).append(adapter)
    return found
