"""The shelf: adapters in the home, a folder each, and what a model name means here."""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from openledger_protocol.adapter import AdapterManifest, BaseReference, adapter_id, manifest_from_json
from openledger_protocol.codec import to_plain
from openledger_protocol.errors import AdapterRefusedError, MalformedError, UnknownModelError
from openledger_protocol.primitives import AdapterId, check_name

from ..errors import ModelError
from ..home import Home
from .bases import Base, file_digest
from .peft_format import CONFIG_FILE, WEIGHTS_FILE, LoraLayout, read_layout

MANIFEST_FILE = "adapter.json"
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


def list_adapters(home: Home) -> list[Adapter]:
    """Adapters on the shelf, by name; a folder that is no adapter (or not yet one) is passed over."""
    if not home.adapters.exists():
        return []
    folders = [folder for folder in sorted(home.adapters.iterdir()) if (folder / MANIFEST_FILE).exists()]
    return [read_adapter(folder) for folder in folders]


def add_adapter(home: Home, source: Path, base: Base, *, name: str | None = None) -> Adapter:
    """Check an adapter folder and copy it to the shelf; a plain PEFT folder gets its `adapter.json`.

    Adding the same adapter twice changes nothing.

    Raises:
        AdapterRefusedError: the files are not what they must be, or were made for another base.
    """
    read_layout(source)
    manifest = _manifest_for(source, base, name)
    if manifest.base.digest != base.digest:
        raise AdapterRefusedError(
            f"{manifest.name} was made for base {manifest.base.name} ({manifest.base.digest[:10]}…), "
            f"not for {base.name} ({base.digest[:10]}…)"
        )
    target = home.adapters / f"{manifest.name}@{adapter_id(manifest)[2 : 2 + SHORT_ID_DIGITS]}"
    if not target.exists():
        _copy_whole(source, target, manifest)
    return read_adapter(target)


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
    shutil.rmtree(adapter.folder)
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
        artifact_digest=file_digest(source / WEIGHTS_FILE),
        tokenizer_digest=base.tokenizer_digest,
        chat_template_digest=base.chat_template_digest,
    )


def _read_manifest(folder: Path) -> AdapterManifest:
    file = folder / MANIFEST_FILE
    try:
        manifest = manifest_from_json(json.loads(file.read_text()))
    except (ValueError, MalformedError) as error:
        raise AdapterRefusedError(f"{file}: {error}") from error
    return manifest


def _copy_whole(source: Path, target: Path, manifest: AdapterManifest) -> None:
    """Copy what is known of an adapter, then check the digest, then rename: the shelf never shows half of one."""
    partial = target.with_name(f".{target.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    for file in (CONFIG_FILE, WEIGHTS_FILE):
        shutil.copyfile(source / file, partial / file)
    if (source / "attribution").is_dir():
        shutil.copytree(source / "attribution", partial / "attribution")
    if (found := file_digest(partial / WEIGHTS_FILE)) != manifest.artifact_digest:
        shutil.rmtree(partial)
        raise AdapterRefusedError(f"{WEIGHTS_FILE} has digest {found}, its manifest says {manifest.artifact_digest}")
    (partial / MANIFEST_FILE).write_text(json.dumps(to_plain(manifest), indent=2) + "\n")
    partial.rename(target)
