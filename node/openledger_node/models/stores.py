"""GGUF files outside the data directory: by their path, or by their names in the stores of Ollama and LM Studio.

Those programs' folders are only read, and their files used in place. A folder may be missing, unreadable or changing
at any time, and its content may be damaged.
"""

import json
import os
import re
import shlex
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from openledger_protocol.primitives import Digest

from ..errors import ModelError
from .gguf_head import read_head
from .gguf_name import PART_OF_SPLIT, is_companion

OLLAMA_FOLDERS: Final = ("~/.ollama/models", "/usr/share/ollama/.ollama/models")
"""The user's own store, and that of the service which Ollama's installer sets up on Linux."""

MANIFEST_ROOTS: Final = ("manifests-v2", "manifests")
"""Newer versions of Ollama write the first one, and look there first."""

LMSTUDIO_HOMES: Final = ("~/.lmstudio", "~/.cache/lm-studio")
"""LM Studio's own folder, now and in older versions."""

LMSTUDIO_POINTER: Final = "~/.lmstudio-home-pointer"
"""A file with the path of LM Studio's own folder, if that is elsewhere."""

SPLIT_FIX: Final = "join its parts with `llama-gguf-split --merge`, and give the path of the joined file"
JSON_BYTES_MAX: Final = 1 << 20
LAYER: Final = "application/vnd.ollama.image."
NOT_TEXT: Final = frozenset({"adapter", "projector", "tensor"})
"""Layers of models that are more than one GGUF file of text, or none."""

_DIGEST: Final = re.compile(r"sha256[:-]([0-9a-fA-F]{64})")


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredModel:
    """One GGUF file outside the data directory."""

    source: str  # as `[inference] base` takes it, such as ollama:qwen3:8b
    title: str  # from which the base's name is made, such as qwen3-8b
    file: Path
    digest: Digest | None = None  # that the store states
    format: str | None = None  # of its numbers, such as Q4_K_M, that the store states


@dataclass(frozen=True, slots=True)
class StoreListing:
    """The models of a program by source, and why others can't be used, by source or folder."""

    models: dict[str, StoredModel] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)

    @contextmanager
    def refusing(self, source: str, store: Path) -> Iterator[None]:
        """Note why a model, or all of a store, can't be used; it hides no other model."""
        try:
            yield
        except PermissionError:
            why = f"{store} can't be read by this user: `{_opening_command(store)}` allows it"
            self.refused.setdefault(source, why)
        except (ModelError, OSError) as error:  # OSError: it was removed a moment ago
            self.refused.setdefault(source, str(error))


def locate(name: str) -> StoredModel | None:
    """Find the GGUF file that a base's name means; None if the name means a base of the data directory or of the hub.

    Raises:
        ModelError: it names a file or a store, and there is no such model, or it can't be used.
    """
    if name.partition(":")[0] in STORES and ":" in name:
        return _locate_stored(name)
    if not name.lower().endswith(".gguf"):
        return None
    file = Path(name).expanduser().absolute()
    if file.is_file():
        _check_one_part(file)
        return StoredModel(source=str(file), title=file.stem, file=file)
    if name.startswith(("/", ".", "~")) or name.count("/") < 2:  # otherwise it may be OWNER/NAME/FILE.gguf of the hub
        raise ModelError(f"there is no file {file}: give the path of a GGUF file, or put it back if it was there")
    return None


def find_elsewhere() -> tuple[list[dict[str, Any]], dict[str, str]]:
    """The models in other programs' stores as rows, and why others of theirs can't be used, by source or folder."""
    found: dict[str, dict[str, Any]] = {}
    refused: dict[str, str] = {}
    for title, list_models in STORES.values():
        listing = list_models()
        for source, model in listing.models.items():
            with listing.refusing(source, model.file):
                head = read_head(model.file, label=model.format)
                found[source] = {
                    "source": source,
                    "store": title,
                    "file": str(model.file),
                    "size_bytes": model.file.stat().st_size,
                    "family": head.architecture,
                    "format": head.format,
                    "backends": list(head.backends),  # that can serve it, the fastest first
                }
        refused |= listing.refused
    return list(found.values()), {source: why for source, why in refused.items() if source not in found}


def _locate_stored(name: str) -> StoredModel:
    """Find a model by its source; Ollama's tag `latest`, and LM Studio's only file of a model, may be left out."""
    scheme, _, rest = name.partition(":")
    title, list_models = STORES[scheme]
    listing = list_models()
    known = {**listing.refused, **listing.models}
    wanted = [each for each in (name, f"{name}:latest") if each in known]
    wanted = wanted or [each for each in known if each.startswith(f"{name}/")]
    models = [listing.models[each] for each in wanted if each in listing.models]
    if len(models) == 1:
        return models[0]
    if models:
        raise ModelError(f"{title} has several files of {rest}: choose one of {', '.join(wanted)}")
    for source, reason in listing.refused.items():
        if source in wanted or source.startswith("/"):  # a folder, in which it may be
            raise ModelError(f"{name} can't be used: {reason}")
    get = f"run `ollama pull {rest}`" if scheme == "ollama" else "download it there"
    look = "see what is here with `openledger-node models list`"
    raise ModelError(f"{title} has no model {rest[:80]} on this machine: {get} first, or {look}")


def list_ollama() -> StoreListing:
    """The models that `ollama pull` has brought."""
    listing, chosen = StoreListing(), os.environ.get("OLLAMA_MODELS")
    for store in (Path(each).expanduser() for each in filter(None, (chosen, *OLLAMA_FOLDERS))):
        with listing.refusing(str(store), store):
            for file in (each for root in MANIFEST_ROOTS for each in _paths_below(store / root, depth=4)):
                host, owner, model, tag = file.parts[-4:]
                named = (host, owner) if host != "registry.ollama.ai" else (owner,) if owner != "library" else ()
                source = f"ollama:{'/'.join((*named, model))}:{tag}"  # as Ollama's own commands print it
                if source not in listing.models:
                    with listing.refusing(source, store):
                        listing.models[source] = _read_ollama(store, file, source)
    return listing


def list_lmstudio() -> StoreListing:
    """The GGUF files that LM Studio has downloaded, OWNER/NAME/FILE.gguf below each of its folders."""
    listing = StoreListing()
    for root in _lmstudio_folders():
        with listing.refusing(str(root), root):
            for file in _paths_below(root, depth=3):
                if file.suffix == ".gguf" and not is_companion(file.name):
                    source = f"lmstudio:{'/'.join(file.parts[-3:])}"
                    with listing.refusing(source, root):
                        _check_one_part(file)
                        _check_readable(file)
                        found = StoredModel(source=source, title=file.stem, file=file)
                        listing.models.setdefault(source, found)
    return listing


STORES: Final[Mapping[str, tuple[str, Callable[[], StoreListing]]]] = {
    "ollama": ("Ollama", list_ollama),
    "lmstudio": ("LM Studio", list_lmstudio),
}
"""The programs by the word before the colon of a source: their names, and what lists their models."""


def _check_one_part(file: Path) -> None:
    if PART_OF_SPLIT.search(file.name):
        raise ModelError(f"{file} is one part of several: {SPLIT_FIX}")


def _check_readable(file: Path) -> None:
    if not file.is_file():
        raise ModelError(f"{file} is missing: download it again")
    if not _may(file, os.R_OK):
        raise PermissionError(file)


def _read_ollama(store: Path, manifest_file: Path, source: str) -> StoredModel:
    """Find the one GGUF file that a manifest names; its template and parameters are not used."""
    again = f"run `ollama pull {source.removeprefix('ollama:')}` again"
    manifest = _read_json(manifest_file, again)
    for child in _objects(manifest.get("manifests")):  # of several forms of a model, the one for llama.cpp
        if child.get("format", "gguf") == "gguf" and child.get("runner") != "mlx":
            manifest = child if "layers" in child else _read_json(_blob(store, child, again), again)
            break
    layers = {str(each.get("mediaType")).removeprefix(LAYER): each for each in _objects(manifest.get("layers"))}
    if "model" not in layers or NOT_TEXT & layers.keys():
        raise ModelError(
            f"{source} is no text model in GGUF (its layers: {', '.join(layers)}): pull another tag of it"
        )
    blob = _blob(store, layers["model"], again)
    if not blob.exists() or blob.stat().st_size != layers["model"].get("size"):
        raise ModelError(f"the weights of {source} are missing or torn, {blob}: {again}")
    _check_readable(blob)
    label = None
    for config in _objects([manifest.get("config")]):
        with suppress(ModelError):  # it only states the format, and the model runs without it
            label = _read_json(_blob(store, config, ""), "").get("file_type")
    _, owner, model, tag = manifest_file.parts[-4:]
    return StoredModel(
        source=source,
        title="".join((f"{owner}--" if owner != "library" else "", model, f"-{tag}" if tag != "latest" else "")),
        file=blob,
        digest=Digest("0x" + blob.name.removeprefix("sha256-")),
        format=label if isinstance(label, str) and label != "unknown" else None,
    )


def _blob(store: Path, named: Mapping[str, Any], again: str) -> Path:
    """The file of a digest; anything else could lead out of the store."""
    digest = str(named.get("digest"))
    if (found := _DIGEST.fullmatch(digest)) is None:
        raise ModelError(f"a manifest in {store} names {digest[:80]!r}, which is not a digest: {again}")
    return store / "blobs" / f"sha256-{found[1].lower()}"


def _lmstudio_folders() -> list[Path]:
    """The folders of models: those that settings name, and the usual ones."""
    homes = [Path(folder).expanduser() for folder in LMSTUDIO_HOMES]
    with suppress(OSError, UnicodeDecodeError, IndexError):
        homes.insert(0, Path(Path(LMSTUDIO_POINTER).expanduser().read_text().splitlines()[0].strip()).expanduser())
    chosen = []
    for home in homes:
        with suppress(ModelError, PermissionError):  # settings that can't be read name none
            folder = _read_json(home / "settings.json", "").get("downloadsFolder")
            chosen += [Path(folder).expanduser()] if isinstance(folder, str) and folder else []
    return list(dict.fromkeys([*chosen, *(home / "models" for home in homes)]))


def _read_json(file: Path, again: str) -> dict[str, Any]:
    try:
        with file.open("rb") as stream:
            content = json.loads(stream.read(JSON_BYTES_MAX))
        if isinstance(content, dict):
            return content
        raise ValueError("no object")
    except PermissionError:
        raise
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"{file} is damaged ({error}): {again}") from error


def _objects(found: object) -> list[dict[str, Any]]:
    return [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []


def _paths_below(folder: Path, depth: int) -> list[Path]:
    """The paths so many levels below a folder, in order; none if it is not there."""
    try:
        names = sorted(os.listdir(folder))
    except (FileNotFoundError, NotADirectoryError):
        return []
    paths = [folder / name for name in names if not name.startswith(".")]
    return paths if depth == 1 else [path for each in paths for path in _paths_below(each, depth - 1)]


def _opening_command(folder: Path) -> str:
    """The command that lets everybody on this machine read a folder, without opening what is beside it."""
    closed = [str(parent) for parent in reversed(folder.parents) if not _may(parent, os.X_OK)]
    enter = f"sudo chmod a+x {shlex.join(closed)} && " if closed else ""
    return f"{enter}sudo chmod -R a+rX {shlex.quote(str(folder))}"


def _may(path: Path, mode: int) -> bool:
    return os.access(path, mode, effective_ids=os.access in os.supports_effective_ids)
