"""GGUF files outside the data directory: by their path, or by their name in another program's store."""

from pathlib import Path
from typing import Any

from ..errors import ModelError
from .gguf_head import read_head
from .gguf_name import PART_OF_SPLIT
from .stores import SPLIT_FIX, STORES, StoredModel

SUFFIX = ".gguf"


def locate(name: str) -> StoredModel | None:
    """Find the GGUF file that a base's name means; None if the name means a base of the data directory or of the hub.

    Raises:
        ModelError: it names a file or a store, and there is no such model, or it can't be used.
    """
    if name.partition(":")[0] in STORES and ":" in name:
        return _locate_stored(name)
    if not name.lower().endswith(SUFFIX):
        return None
    file = Path(name).expanduser().absolute()
    if not file.is_file():
        _refuse_missing(name, file)
        return None
    if PART_OF_SPLIT.search(file.name):
        raise ModelError(f"{file} is one part of several: {SPLIT_FIX}")
    return StoredModel(source=str(file), title=file.stem, file=file)


def find_elsewhere() -> tuple[list[dict[str, Any]], dict[str, str]]:
    """The models in other programs' stores as rows, and why others of theirs can't be used, by source or folder."""
    found: list[dict[str, Any]] = []
    refused: dict[str, str] = {}
    for title, list_models in STORES.values():
        listing = list_models()
        for model in listing.models.values():
            with listing.refusing(model.source, model.file):
                found.append(_row(title, model))
        refused |= listing.refused
    known = {each["source"] for each in found}
    return found, {source: reason for source, reason in refused.items() if source not in known}


def _row(store: str, model: StoredModel) -> dict[str, Any]:
    head = read_head(model.file, label=model.format)
    return {
        "source": model.source,
        "store": store,
        "file": str(model.file),
        "size_bytes": model.file.stat().st_size,
        "family": head.architecture,
        "format": head.format,
        "backends": list(head.backends),  # that can serve it, the fastest first
    }


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
    raise ModelError(
        f"{title} has no model {rest[:80]} on this machine: {get} first, "
        "or see what is here with `openledger-node models list`"
    )


def _refuse_missing(name: str, file: Path) -> None:
    """Refuse a path without a file, unless it may be the name of a file on the hub, OWNER/NAME/FILE.gguf.

    Raises:
        ModelError: it can only be a path.
    """
    if name.startswith(("/", ".", "~")) or name.count("/") < 2:
        raise ModelError(f"there is no file {file}: give the path of a GGUF file, or put it back if it was there")
