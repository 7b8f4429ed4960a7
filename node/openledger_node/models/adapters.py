"""The adapter library: one folder an adapter in the data directory, and the meaning of model names on this node."""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from openledger_protocol.adapter import AdapterManifest, BaseReference, adapter_id, manifest_from_json
from openledger_protocol.codec import canonical_digest, to_plain
from openledger_protocol.errors import AdapterRefusedError, MalformedError, UnknownModelError
from openledger_protocol.primitives import AdapterId, Digest, check_name

from ..errors import ModelError
from ..home import Home
from .adapter_files.known_files import KnownFiles, stamp_of
from .adapter_files.layout import CONFIG_BYTES_MAX, CONFIG_FILE, WEIGHTS_FILE, LoraLayout, read_layout
from .adapter_files.numbers import check_numbers
from .adapter_files.plain_file import copy_plain, plain_digest, read_json
from .bases import Base
from .decoder_config import check_fits_base

MANIFEST_FILE = "adapter.json"
INDEX_FOLDER = "attribution"
ARTIFACT_FILES = (CONFIG_FILE, WEIGHTS_FILE)
LIBRARY_FILES = (MANIFEST_FILE, *ARTIFACT_FILES)
CHECKED_FOLDER = "checked"
"""The cache folder that lists files whose digest was checked, so that the engine need not check it again."""

SHORT_ID_DIGITS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Adapter:
    """One adapter of the library."""

    id: AdapterId
    folder: Path
    manifest: AdapterManifest
    rank_max: int
    size_bytes: int
    num_parameters: int

    @property
    def name(self) -> str:
        """The name that its trainer chose; not unique."""
        return self.manifest.name

    @property
    def full_name(self) -> str:
        """`name@<8 hex of the id>`, which is unique on this node."""
        return full_name(self.manifest)


def add_adapter(home: Home, source: Path, base: Base, *, name: str | None = None) -> Adapter:
    """Check an adapter folder and copy it to the library; a plain PEFT folder gets an `adapter.json`.

    Adding the same adapter twice changes nothing.

    Raises:
        AdapterRefusedError: the files are invalid, or were made for another base.
    """
    layout = read_layout(source)
    if base.folder:
        check_fits_base(layout, base.folder)
    manifest = _manifest_for(source, base, name)
    if name == base.name:
        raise AdapterRefusedError(f"{base.name} is the name of the base: give the adapter another one with --name")
    _check_base(manifest, base)
    target = home.adapters / full_name(manifest)
    if not target.exists():
        _copy_whole(source, target, manifest)
    return _admitted(home, target, manifest)


def full_name(manifest: AdapterManifest) -> str:
    """The full name of the adapter with this manifest, which also names its folder in the library."""
    return f"{manifest.name}@{adapter_id(manifest)[2 : 2 + SHORT_ID_DIGITS]}"


def is_completion(manifest: AdapterManifest, *, of: AdapterManifest) -> bool:
    """Return True if a manifest only adds an owner, and the ids of its Datanets, to one without an owner."""
    is_owned = of.owner is None and manifest.owner is not None
    return is_owned and replace(manifest, owner=None, datanets=of.datanets) == of


def complete_adapter(home: Home, adapter: Adapter, manifest: AdapterManifest) -> Adapter:
    """Copy an adapter of the library under a manifest that completes its own; doing so twice changes nothing.

    Raises:
        AdapterRefusedError: its files are damaged.
    """
    target = home.adapters / full_name(manifest)
    if not target.exists():
        _copy_whole(adapter.folder, target, manifest)
    return _admitted(home, target, manifest)


def artifact_digest(folder: Path) -> Digest:
    """Digest of all files that determine an adapter's output: its weights, and the config that scales them."""
    return canonical_digest({file: plain_digest(folder / file) for file in ARTIFACT_FILES})


def read_adapter(folder: Path) -> Adapter:
    """Read one adapter of the library.

    Raises:
        AdapterRefusedError: its files are damaged.
    """
    layout: LoraLayout = read_layout(folder)
    manifest = read_manifest(folder)
    return Adapter(
        id=adapter_id(manifest),
        folder=folder,
        manifest=manifest,
        rank_max=layout.rank_max,
        size_bytes=layout.size_bytes,
        num_parameters=layout.num_parameters,
    )


def read_manifest(folder: Path) -> AdapterManifest:
    """Read an adapter's `adapter.json`.

    Raises:
        AdapterRefusedError: it is not a manifest.
    """
    file = folder / MANIFEST_FILE
    fields = read_json(file, size_bytes_max=CONFIG_BYTES_MAX)
    try:
        return manifest_from_json(fields)
    except MalformedError as error:
        raise AdapterRefusedError(f"{file}: {error}") from error


def find_adapter(adapters: list[Adapter], name: str) -> Adapter:
    """Find an adapter by `name` if that is unique, or by `name@<8 hex>`.

    Raises:
        UnknownModelError: there is none, or several, which the message lists.
    """
    return only_adapter([adapter for adapter in adapters if name in (adapter.name, adapter.full_name)], name)


def only_adapter(found: list[Adapter], name: str) -> Adapter:
    """The one adapter that `name` means.

    Raises:
        UnknownModelError: there is none, or several, which the message lists.
    """
    if len(found) == 1:
        return found[0]
    if found:
        names = ", ".join(adapter.full_name for adapter in found)
        raise UnknownModelError(f"{name!r} means several adapters here: {names}", several=names)
    raise UnknownModelError(f"no adapter {name!r} here: `openledger-node adapters list` shows those there are")


def shortest_name(adapter: Adapter, adapters: list[Adapter]) -> str:
    """`name` if no other adapter here has it, else `name@<8 hex>`."""
    is_unique = [other.name for other in adapters].count(adapter.name) <= 1
    return adapter.name if is_unique else adapter.full_name


FindAdapter = Callable[[str], Adapter]
"""Finds an adapter by name; raises UnknownModelError if there is none, or several."""


def resolve_model(base: Base, find: FindAdapter, model: str) -> Adapter | None:
    """Find the adapter of a request's `model`, which is the base (None), an adapter, or `base:adapter`.

    Raises:
        UnknownModelError: there is no such model.
    """
    base_name, separator, adapter_name = model.partition(":")
    if separator and base_name != base.name:
        raise UnknownModelError(f"base {base_name!r} is not served here, {base.name!r} is")
    if model == base.name:
        return None
    try:
        return find(adapter_name if separator else model)
    except UnknownModelError as error:
        if separator or error.values:
            raise
        raise UnknownModelError(
            f"{error.message}. The base here is {base.name!r}, and `openledger-node models list` shows all bases"
        ) from error


def adapter_to_json(adapter: Adapter) -> dict[str, Any]:
    """An adapter in the form of `--json`."""
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
        manifest = read_manifest(source)
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


def _admitted(home: Home, target: Path, manifest: AdapterManifest) -> Adapter:
    found = read_adapter(target)
    if found.id != adapter_id(manifest):
        raise AdapterRefusedError(f"{target} is another adapter, whose id begins alike: remove it first")
    _known_files(home).note(target, stamp_of(target, LIBRARY_FILES))
    return found


def forget_checked(home: Home, adapter: Adapter) -> None:
    """Drop the note that an adapter's files were checked, because it is removed."""
    _known_files(home).forget(adapter.folder)


def _known_files(home: Home) -> KnownFiles:
    return KnownFiles(home.cache / CHECKED_FOLDER)


def _check_base(manifest: AdapterManifest, base: Base) -> None:
    if manifest.base.digest != base.digest:
        raise AdapterRefusedError(
            f"{manifest.name} was made for base {manifest.base.name} ({manifest.base.digest[:10]}…), "
            f"not for {base.name} ({base.digest[:10]}…)"
        )
    digests = {manifest.tokenizer_digest, base.tokenizer_digest} - {None}
    if len(digests) > 1:
        raise AdapterRefusedError(f"{manifest.name} was made with another tokenizer than {base.name} has here")


def _copy_whole(source: Path, target: Path, manifest: AdapterManifest) -> None:
    """Copy an adapter's known files, check the copy, then rename it, so that the library never shows half of one.

    The copy is checked and not the source, which may change meanwhile.
    """
    partial = target.with_name(f".{target.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        for file in ARTIFACT_FILES:
            copy_plain(source / file, partial / file)
        _copy_index(source / INDEX_FOLDER, partial / INDEX_FOLDER)
        if (found := artifact_digest(partial)) != manifest.artifact_digest:
            raise AdapterRefusedError(
                f"the files have digest {found}, their manifest says {manifest.artifact_digest}"
            )
        check_numbers(partial, read_layout(partial))
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    (partial / MANIFEST_FILE).write_text(json.dumps(to_plain(manifest), indent=2) + "\n")
    partial.rename(target)


def _copy_index(source: Path, target: Path) -> None:
    """Copy the regular files of an attribution index; links and pipes are skipped, because they may lead anywhere."""
    if not source.is_dir() or source.is_symlink():
        return
    target.mkdir()
    for file in source.iterdir():
        if file.is_file() and not file.is_symlink():
            copy_plain(file, target / file.name)
