"""The shelf: adapters in the home, a folder each, and what a model name means here."""

import json
import shutil
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from openledger_protocol.adapter import AdapterManifest, BaseReference, adapter_id, manifest_from_json
from openledger_protocol.codec import canonical_digest, to_plain
from openledger_protocol.errors import AdapterRefusedError, MalformedError, ProtocolError, UnknownModelError
from openledger_protocol.primitives import AdapterId, Digest, check_name

from ..errors import ModelError
from ..home import Home
from .bases import Base, file_digest
from .decoder_config import check_fits, read_config
from .peft_format import CONFIG_BYTES_MAX, CONFIG_FILE, WEIGHTS_FILE, LoraLayout, read_layout

MANIFEST_FILE = "adapter.json"
INDEX_FOLDER = "attribution"
ARTIFACT_FILES = (CONFIG_FILE, WEIGHTS_FILE)
SHORT_ID_DIGITS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Adapter:
    """One adapter of the shelf."""

    id: AdapterId
    folder: Path
    manifest: AdapterManifest
    rank_max: int
    size_bytes: int
    num_parameters: int

    @property
    def name(self) -> str:
        """What its maker called it; not unique."""
        return self.manifest.name

    @property
    def full_name(self) -> str:
        """`name@<8 hex of the id>`: unique here."""
        return f"{self.name}@{self.id[2 : 2 + SHORT_ID_DIGITS]}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Shelf:
    """All that lies on the shelf: what can be served, and what can't and why."""

    adapters: list[Adapter]
    refused: dict[Path, str]


class ShelfReader:
    """Reads the shelf again and again; a folder is parsed once, and anew only when its files have changed."""

    def __init__(self, home: Home) -> None:
        self._root = home.adapters
        self._reading = threading.Lock()
        self._read: dict[Path, tuple[_Stamp, Adapter | str]] = {}  # an adapter, or why it is refused

    def read(self) -> Shelf:
        """Look at every folder, by name; a bad one hides itself and nothing else. Any thread may ask."""
        with self._reading:
            return self._read_all()

    def _read_all(self) -> Shelf:
        folders = sorted(self._root.iterdir()) if self._root.exists() else []
        stamps = {folder: stamp for folder in folders if (stamp := _stamp(folder))}
        self._read = {folder: self._look(folder, stamp) for folder, stamp in stamps.items()}
        found = {folder: content for folder, (_, content) in self._read.items()}
        return Shelf(
            adapters=[content for content in found.values() if isinstance(content, Adapter)],
            refused={folder: content for folder, content in found.items() if isinstance(content, str)},
        )

    def _look(self, folder: Path, stamp: "_Stamp") -> "tuple[_Stamp, Adapter | str]":
        if folder in self._read and self._read[folder][0] == stamp:
            return self._read[folder]
        try:
            return stamp, read_adapter(folder)
        except (ProtocolError, OSError) as error:
            return stamp, str(error)


_Stamp = tuple[int, ...]
"""Times and sizes of an adapter's files: they change when the files do."""


def _stamp(folder: Path) -> _Stamp | None:
    """None for a copy that was cut off, and for whatever else somebody put there."""
    try:
        if folder.name.startswith(".") or not (folder / MANIFEST_FILE).is_file():
            return None
        files = [folder / file for file in (MANIFEST_FILE, *ARTIFACT_FILES) if (folder / file).exists()]
        return tuple(number for file in files for number in (file.stat().st_mtime_ns, file.stat().st_size))
    except OSError:  # removed while we look, or not ours to read
        return None


def read_shelf(home: Home) -> Shelf:
    """Read the shelf once."""
    return ShelfReader(home).read()


def list_adapters(home: Home) -> list[Adapter]:
    """Adapters that can be served, by name."""
    return read_shelf(home).adapters


def add_adapter(home: Home, source: Path, base: Base, *, name: str | None = None) -> Adapter:
    """Check an adapter folder and copy it to the shelf; a plain PEFT folder gets its `adapter.json`.

    Adding the same adapter twice changes nothing.

    Raises:
        AdapterRefusedError: the files are not what they must be, or were made for another base.
    """
    layout = read_layout(source)
    if base.folder:
        check_fits(layout, read_config(base.folder))
    manifest = _manifest_for(source, base, name)
    if manifest.base.digest != base.digest:
        raise AdapterRefusedError(
            f"{manifest.name} was made for base {manifest.base.name} ({manifest.base.digest[:10]}…), "
            f"not for {base.name} ({base.digest[:10]}…)"
        )
    target = home.adapters / f"{manifest.name}@{adapter_id(manifest)[2 : 2 + SHORT_ID_DIGITS]}"
    if not target.exists():
        _copy_whole(source, target, manifest)
    found = read_adapter(target)
    if found.id != adapter_id(manifest):
        raise AdapterRefusedError(f"{target} is another adapter, whose id begins alike: remove it first")
    return found


def artifact_digest(folder: Path) -> Digest:
    """Digest of all that decides what an adapter does: its weights, and the config that scales them."""
    return canonical_digest({file: file_digest(folder / file) for file in ARTIFACT_FILES})


def read_adapter(folder: Path) -> Adapter:
    """Read one adapter of the shelf.

    Raises:
        AdapterRefusedError: it is torn.
    """
    layout: LoraLayout = read_layout(folder)
    manifest = _read_manifest(folder)
    return Adapter(
        id=adapter_id(manifest),
        folder=folder,
        manifest=manifest,
        rank_max=layout.rank_max,
        size_bytes=layout.size_bytes,
        num_parameters=layout.num_parameters,
    )


def find_adapter(adapters: list[Adapter], name: str) -> Adapter:
    """Find by `name` where that is unique here, or by `name@<8 hex>`.

    Raises:
        UnknownModelError: none, or several (all named).
    """
    found = [adapter for adapter in adapters if name in (adapter.name, adapter.full_name)]
    if len(found) == 1:
        return found[0]
    if found:
        names = ", ".join(adapter.full_name for adapter in found)
        raise UnknownModelError(f"{name!r} means several adapters here: {names}")
    raise UnknownModelError(f"no adapter {name!r} here: `openledger-node adapters list` shows those there are")


def shortest_name(adapter: Adapter, adapters: list[Adapter]) -> str:
    """`name` where no other adapter here shares it, else `name@<8 hex>`."""
    is_unique = [other.name for other in adapters].count(adapter.name) <= 1
    return adapter.name if is_unique else adapter.full_name


def resolve_model(base: Base, adapters: list[Adapter], model: str) -> Adapter | None:
    """What a request's `model` means: the base (None), an adapter, or `base:adapter`.

    Raises:
        UnknownModelError: neither.
    """
    base_name, separator, adapter_name = model.partition(":")
    if separator and base_name != base.name:
        raise UnknownModelError(f"base {base_name!r} is not served here, {base.name!r} is")
    if model == base.name:
        return None
    return find_adapter(adapters, adapter_name if separator else model)


def remove_adapter(home: Home, name: str) -> Adapter:
    """Take an adapter off the shelf."""
    adapter = find_adapter(list_adapters(home), name)
    going = adapter.folder.with_name(f".{adapter.folder.name}.removed")
    shutil.rmtree(going, ignore_errors=True)
    shutil.rmtree(adapter.folder.rename(going))  # gone at once for whoever looks, then file by file
    return adapter


def adapter_to_json(adapter: Adapter) -> dict[str, Any]:
    """An adapter as `--json` shows it."""
    return {
        "name": adapter.name,
        "full_name": adapter.full_name,
        "id": adapter.id,
        "rank_max": adapter.rank_max,
        "size_bytes": adapter.size_bytes,
        "folder": str(adapter.folder),
        "manifest": to_plain(adapter.manifest),
    }


def _manifest_for(source: Path, base: Base, name: str | None) -> AdapterManifest:
    if (source / MANIFEST_FILE).exists():
        manifest = _read_manifest(source)
        if name not in (None, manifest.name):
            raise ModelError(f"this adapter is called {manifest.name!r}: its name is part of its id")
        return manifest
    return AdapterManifest(
        name=check_name(name or source.resolve().name),
        base=BaseReference(name=base.name, digest=base.digest),
        artifact_digest=artifact_digest(source),
        tokenizer_digest=base.tokenizer_digest,
        chat_template_digest=base.chat_template_digest,
    )


def _read_manifest(folder: Path) -> AdapterManifest:
    file = folder / MANIFEST_FILE
    if not file.is_file() or file.stat().st_size > CONFIG_BYTES_MAX:
        raise AdapterRefusedError(f"{file} is no file, or too large")
    try:
        manifest = manifest_from_json(json.loads(file.read_text()))
    except (ValueError, RecursionError, MalformedError) as error:
        raise AdapterRefusedError(f"{file}: {error}") from error
    return manifest


def _copy_whole(source: Path, target: Path, manifest: AdapterManifest) -> None:
    """Copy what is known of an adapter, then check the digest, then rename: the shelf never shows half of one."""
    partial = target.with_name(f".{target.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    for file in ARTIFACT_FILES:
        shutil.copyfile(source / file, partial / file)
    _copy_index(source / INDEX_FOLDER, partial / INDEX_FOLDER)
    if (found := artifact_digest(partial)) != manifest.artifact_digest:
        shutil.rmtree(partial)
        raise AdapterRefusedError(f"the files have digest {found}, their manifest says {manifest.artifact_digest}")
    (partial / MANIFEST_FILE).write_text(json.dumps(to_plain(manifest), indent=2) + "\n")
    partial.rename(target)


def _copy_index(source: Path, target: Path) -> None:
    """Copy the plain files of an attribution index; a stranger's links and pipes lead anywhere and stay behind."""
    if not source.is_dir() or source.is_symlink():
        return
    target.mkdir()
    for file in source.iterdir():
        if file.is_file() and not file.is_symlink():
            shutil.copyfile(file, target / file.name)
