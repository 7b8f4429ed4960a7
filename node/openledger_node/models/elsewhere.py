"""GGUF files outside the data directory: by their path, or by their name in another program's store."""

from dataclasses import asdict, dataclass
from pathlib import Path

from ..errors import ModelError
from .gguf_head import read_head
from .gguf_name import PART_OF_SPLIT
from .store import SPLIT_FIX, ModelStore, StoredModel
from .stores import STORES

SUFFIX = ".gguf"


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundModel:
    """A model of another program that this node can use."""

    source: str  # as `[inference] base` takes it
    store: str  # the program's name
    file: Path
    size_bytes: int
    family: str  # GGUF's name of the architecture
    format: str | None  # of its numbers, such as Q4_K_M; None if unknown
    backends: tuple[str, ...]  # that can serve it, the fastest first


def locate(name: str) -> StoredModel | None:
    """Find the GGUF file that a base's name means; None if the name means a base of the data directory or of the hub.

    Raises:
        ModelError: it names a file or a store, and there is no such model, or it can't be used.
    """
    scheme, is_named, rest = name.partition(":")
    for store in STORES:
        if is_named and store.scheme == scheme:
            return store().find(rest)
    if not name.lower().endswith(SUFFIX):
        return None
    file = Path(name).expanduser().absolute()
    if not file.is_file():
        _refuse_missing(name, file)
        return None
    if PART_OF_SPLIT.search(file.name):
        raise ModelError(f"{file} is one part of several: {SPLIT_FIX}")
    return StoredModel(source=str(file), title=file.stem, file=file)


def _refuse_missing(name: str, file: Path) -> None:
    """Refuse a path without a file, unless it may be the name of a file on the hub, OWNER/NAME/FILE.gguf.

    Raises:
        ModelError: it can only be a path.
    """
    if name.startswith(("/", ".", "~")) or name.count("/") < 2:
        raise ModelError(f"there is no file {file}: give the path of a GGUF file, or put it back if it was there")


def find_elsewhere() -> tuple[list[FoundModel], list[tuple[str, str]]]:
    """The models in other programs' stores, and the reasons why others of theirs can't be used: (name, reason)."""
    found: list[FoundModel] = []
    refused: list[tuple[str, str]] = []
    for each in STORES:
        store: ModelStore = each()
        listing = store.listing()
        refused += listing.refused
        for model in listing.models:
            try:
                found.append(_look(store, model))
            except (ModelError, OSError) as error:  # OSError: it was removed a moment ago
                refused.append((model.source, str(error)))
    return found, refused


def _look(store: ModelStore, model: StoredModel) -> FoundModel:
    head = read_head(model.file, label=model.format)
    return FoundModel(
        source=model.source,
        store=store.title,
        file=model.file,
        size_bytes=model.file.stat().st_size,
        family=head.architecture,
        format=head.format,
        backends=head.backends,
    )


def found_to_json(model: FoundModel) -> dict[str, object]:
    """A model of another program in the form of `--json`."""
    return {**asdict(model), "file": str(model.file), "backends": list(model.backends)}
