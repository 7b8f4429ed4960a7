"""Ollama's store: a manifest by each model's name, and the files that it names in `blobs`, each under its SHA-256."""

import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from openledger_protocol.primitives import Digest

from ...errors import ModelError
from ..store import StoredModel, StoreListing, opening_command

FOLDERS: Final = ("~/.ollama/models", "/usr/share/ollama/.ollama/models")
"""The user's own store, and that of the service which Ollama's installer sets up on Linux."""

ROOTS: Final = ("manifests-v2", "manifests")
"""Ollama's newer versions write the first one, and look there first."""

REGISTRY, LIBRARY, TAG = "registry.ollama.ai", "library", "latest"
MANIFEST_BYTES_MAX = 1 << 20
LAYER: Final = "application/vnd.ollama.image."
MANIFEST_LIST: Final = "application/vnd.ollama.manifest.list.v2+json"

_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_DIGEST = re.compile(r"sha256[:-]([0-9a-fA-F]{64})")


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelName:
    """A name in full; each part is a folder of the store."""

    host: str
    owner: str
    model: str
    tag: str

    @property
    def short(self) -> str:
        """The name as Ollama's own commands print it."""
        owner = "" if (self.host, self.owner) == (REGISTRY, LIBRARY) else f"{self.owner}/"
        host = "" if self.host == REGISTRY else f"{self.host}/"
        return f"{host}{owner}{self.model}:{self.tag}"

    @property
    def title(self) -> str:
        """The name of the base: without the host, and without what is usual."""
        owner = "" if self.owner == LIBRARY else f"{self.owner}--"
        return f"{owner}{self.model}" if self.tag == TAG else f"{owner}{self.model}-{self.tag}"


class OllamaStore:
    """The models that `ollama pull` has brought."""

    scheme = "ollama"
    title = "Ollama"

    def __init__(self, folders: Sequence[Path] | None = None) -> None:
        self._folders = _usual_folders() if folders is None else folders

    def listing(self) -> StoreListing:
        """Every model of every store that this user can read."""
        models: dict[str, StoredModel] = {}
        refused: dict[str, str] = {}
        for folder in self._folders:
            try:
                found = list(_manifests(folder))
            except PermissionError:
                refused[str(folder)] = _closed(folder)
                continue
            for name in (name for name in found if _source(name) not in models):
                try:
                    models[_source(name)] = _read_model(folder, name)
                except ModelError as error:
                    refused.setdefault(_source(name), str(error))
        kept = [(source, reason) for source, reason in refused.items() if source not in models]
        return StoreListing(models=list(models.values()), refused=kept)

    def find(self, name: str) -> StoredModel:
        """Find NAME[:TAG], OWNER/NAME[:TAG] or HOST/OWNER/NAME[:TAG]."""
        wanted, closed = read_name(name), ""
        for folder in self._folders:
            try:
                if _manifest_file(folder, wanted):
                    return _read_model(folder, wanted)
            except PermissionError:
                closed = closed or _closed(folder)
        raise ModelError(
            closed
            or f"Ollama has no model {wanted.short} on this machine: run `ollama pull {wanted.short}` first, "
            "or see what is here with `openledger-node models list`"
        )


def read_name(text: str) -> ModelName:
    """Read a model's name as Ollama does.

    Raises:
        ModelError: a part of it is not a name, so that it could lead out of the store.
    """
    path, _, tag = text.partition(":")
    parts = path.split("/")
    named = [*(REGISTRY, LIBRARY)[: max(3 - len(parts), 0)], *parts, tag or TAG]
    if len(named) != 4 or not all(_PART.fullmatch(part) and ".." not in part for part in named):
        raise ModelError(f"{text[:80]!r} is not a name of Ollama's: give ollama:NAME, ollama:NAME:TAG or with OWNER/")
    host, owner, model, tag = named
    return ModelName(host=host, owner=owner, model=model, tag=tag)


def _usual_folders() -> list[Path]:
    chosen = os.environ.get("OLLAMA_MODELS")
    return [Path(folder).expanduser() for folder in ([chosen] if chosen else []) + list(FOLDERS)]


def _source(name: ModelName) -> str:
    return f"{OllamaStore.scheme}:{name.short}"


def _closed(folder: Path) -> str:
    return f"Ollama's store {folder} can't be read by this user: `{opening_command(folder)}` allows it"


def _manifests(folder: Path) -> Iterator[ModelName]:
    """The names of a store's models, in order; entries with other names are not Ollama's.

    Raises:
        PermissionError: the store can't be read.
    """
    for root in ROOTS:
        for parts in sorted(_paths_below(folder / root, depth=4)):
            if all(_PART.fullmatch(part) for part in parts):
                yield ModelName(host=parts[0], owner=parts[1], model=parts[2], tag=parts[3])


def _paths_below(folder: Path, depth: int) -> Iterator[tuple[str, ...]]:
    try:
        names = os.listdir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return
    for name in names:
        if depth == 1:
            yield (name,)
        else:
            yield from ((name, *rest) for rest in _paths_below(folder / name, depth - 1))


def _manifest_file(folder: Path, name: ModelName) -> Path | None:
    """The manifest of a model, or None.

    Raises:
        PermissionError: the store can't be read.
    """
    for root in ROOTS:
        file = folder / root / name.host / name.owner / name.model / name.tag
        try:
            os.stat(file)
        except (FileNotFoundError, NotADirectoryError):
            continue
        return file
    return None


def _read_model(folder: Path, name: ModelName) -> StoredModel:
    """Find the one GGUF file that a manifest names; its template and parameters are not used.

    Raises:
        ModelError: it names none, or more than a base can be; or the file is missing or torn.
    """
    again = f"run `ollama pull {name.short}` again"
    file = _manifest_file(folder, name)
    manifest = _read_manifest(folder, file, again) if file else {}
    layer = _model_layer(manifest, name)
    blob = _blob(folder, layer.get("digest"), again)
    try:
        size_bytes = blob.stat().st_size
    except FileNotFoundError as error:
        raise ModelError(f"the weights of {_source(name)} are missing, {blob}: {again}") from error
    except PermissionError as error:
        raise ModelError(_closed(folder)) from error
    if not os.access(blob, os.R_OK, effective_ids=os.access in os.supports_effective_ids):
        raise ModelError(_closed(folder))
    if size_bytes != layer.get("size", size_bytes):
        raise ModelError(f"{blob} has {size_bytes} bytes, and {_source(name)} needs {layer['size']}: {again}")
    return StoredModel(
        source=_source(name),
        title=name.title,
        file=blob,
        digest=Digest("0x" + blob.name.removeprefix("sha256-")),
        format=_format(folder, manifest),
    )


def _model_layer(manifest: Mapping[str, Any], name: ModelName) -> Mapping[str, Any]:
    """The layer with the GGUF file.

    Raises:
        ModelError: there is none, there are several, or other layers change its answers.
    """
    layers = _objects(manifest.get("layers"))
    kinds = [str(layer.get("mediaType")).removeprefix(LAYER) for layer in layers]
    models = [layer for layer, kind in zip(layers, kinds, strict=True) if kind == "model"]
    if "adapter" in kinds:
        raise ModelError(
            f"{_source(name)} has an adapter (layer {LAYER}adapter): use the model that it was made from"
        )
    if "projector" in kinds:
        raise ModelError(f"{_source(name)} reads pictures (layer {LAYER}projector): only text models are served")
    if "tensor" in kinds:
        raise ModelError(f"{_source(name)} is stored for MLX, not as GGUF: pull a tag of it that is GGUF")
    if not models:
        raise ModelError(
            f"{_source(name)} has no weights here, as models that run in Ollama's cloud: pull another tag"
        )
    if len(models) > 1:
        raise ModelError(f"{_source(name)} has {len(models)} model files: only models of one GGUF file are served")
    return models[0]


def _format(folder: Path, manifest: Mapping[str, Any]) -> str | None:
    """The number format that the model's configuration states, such as Q4_K_M."""
    config = manifest.get("config")
    digest = config.get("digest") if isinstance(config, dict) else None
    try:
        found = _read_json(folder, _blob(folder, digest, ""), "").get("file_type")
    except ModelError:  # the model runs without it
        return None
    return found if isinstance(found, str) and found != "unknown" else None


def _read_manifest(folder: Path, file: Path, again: str) -> Mapping[str, Any]:
    """A model's manifest; of a list of them, the first one of a GGUF file."""
    manifest = _read_json(folder, file, again)
    if manifest.get("mediaType") != MANIFEST_LIST:
        return manifest
    for child in _objects(manifest.get("manifests")):
        if child.get("format", "gguf") == "gguf" and child.get("runner") != "mlx":
            return (
                child if "layers" in child else _read_json(folder, _blob(folder, child.get("digest"), again), again)
            )
    return {}


def _objects(found: object) -> list[dict[str, Any]]:
    return [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []


def _blob(folder: Path, digest: object, again: str) -> Path:
    """The file of a digest.

    Raises:
        ModelError: the digest is none, so that it could lead out of the store.
    """
    found = _DIGEST.fullmatch(str(digest))
    if found is None:
        raise ModelError(f"a manifest in {folder} names {str(digest)[:80]!r}, which is not a digest: {again}")
    return folder / "blobs" / f"sha256-{found[1].lower()}"


def _read_json(folder: Path, file: Path, again: str) -> Mapping[str, Any]:
    try:
        with file.open("rb") as stream:
            content = json.loads(stream.read(MANIFEST_BYTES_MAX))
    except PermissionError as error:
        raise ModelError(_closed(folder)) from error
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"Ollama's manifest {file} is damaged ({error}): {again}") from error
    if not isinstance(content, dict):
        raise ModelError(f"Ollama's manifest {file} is damaged: {again}")
    return content
