"""LM Studio's store: `OWNER/NAME/FILE.gguf` below a folder that its settings may move."""

import contextlib
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from ...errors import ModelError
from ..gguf_name import PART_OF_SPLIT, is_companion
from ..store import SPLIT_FIX, StoredModel, StoreListing, opening_command

POINTER: Final = "~/.lmstudio-home-pointer"
"""A file with the path of LM Studio's own folder."""

FOLDERS: Final = ("~/.lmstudio", "~/.cache/lm-studio")
"""LM Studio's own folder, now and in older versions."""

MODEL = "lmstudio:OWNER/NAME or lmstudio:OWNER/NAME/FILE.gguf"


class LmStudioStore:
    """The models that LM Studio has downloaded."""

    scheme = "lmstudio"
    title = "LM Studio"

    def __init__(self, folders: Sequence[Path] | None = None) -> None:
        self._folders = _usual_folders() if folders is None else folders

    def listing(self) -> StoreListing:
        """Every GGUF file of every folder that this user can read."""
        models: dict[str, StoredModel] = {}
        refused: dict[str, str] = {}
        for root in self._folders:
            try:
                for folder in _model_folders(root):
                    for file in _gguf_files(folder):
                        _sort(_model(file), models, refused)
            except PermissionError:
                refused[str(root)] = _closed(root)
        return StoreListing(models=list(models.values()), refused=list(refused.items()))

    def find(self, name: str) -> StoredModel:
        """Find OWNER/NAME, if it has one GGUF file, or OWNER/NAME/FILE.gguf."""
        owner, model, *file = _parts(name)
        closed = ""
        for root in self._folders:
            try:
                files = [each for each in _gguf_files(root / owner / model) if not file or each.name == file[0]]
            except PermissionError:
                closed = closed or _closed(root)
                continue
            if files:
                return _only(name, files)
        raise ModelError(
            closed
            or f"LM Studio has no GGUF model {name} on this machine: download it there first, "
            "or see what is here with `openledger-node models list`"
        )


def _parts(name: str) -> list[str]:
    """The folders and the file of a name.

    Raises:
        ModelError: they could lead out of the store.
    """
    parts = name.split("/")
    if len(parts) not in (2, 3) or any(part in ("", ".", "..") or "\0" in part for part in parts):
        raise ModelError(f"{name[:80]!r} is not a name of LM Studio's: give {MODEL}")
    return parts


def _usual_folders() -> list[Path]:
    """The folders of models: the one that the settings name, and the usual ones."""
    homes = [Path(folder).expanduser() for folder in FOLDERS]
    with contextlib.suppress(OSError, UnicodeDecodeError, IndexError):
        homes.insert(0, Path(Path(POINTER).expanduser().read_text().strip().splitlines()[0]).expanduser())
    chosen = [_chosen_folder(home) for home in homes]
    return list(dict.fromkeys([*filter(None, chosen), *(home / "models" for home in homes)]))


def _chosen_folder(home: Path) -> Path | None:
    """The folder of models that LM Studio's settings name; settings that can't be read name none."""
    try:
        content = json.loads((home / "settings.json").read_text())
    except (OSError, ValueError, RecursionError):
        return None
    folder = content.get("downloadsFolder") if isinstance(content, dict) else None
    return Path(folder).expanduser() if isinstance(folder, str) and folder else None


def _closed(root: Path) -> str:
    return f"LM Studio's models in {root} can't be read by this user: `{opening_command(root)}` allows it"


def _model_folders(root: Path) -> Iterator[Path]:
    for owner in _entries(root):
        yield from _entries(owner)


def _gguf_files(folder: Path) -> list[Path]:
    """The GGUF files of a model, without those that are no model."""
    return [file for file in _entries(folder) if file.suffix == ".gguf" and not is_companion(file.name)]


def _entries(folder: Path) -> list[Path]:
    """The entries of a folder in order of names; none if it is not a folder."""
    try:
        names = sorted(os.listdir(folder))
    except (FileNotFoundError, NotADirectoryError):
        return []
    return [folder / name for name in names if not name.startswith(".")]


def _only(name: str, files: Sequence[Path]) -> StoredModel:
    if len(files) > 1 and not PART_OF_SPLIT.search(files[0].name):
        several = ", ".join(_source(file) for file in files)
        raise ModelError(f"LM Studio has several files of {name}: choose one of {several}")
    if PART_OF_SPLIT.search(files[0].name):
        raise ModelError(f"{_source(files[0])} is one part of several: {SPLIT_FIX}")
    if not os.access(files[0], os.R_OK, effective_ids=os.access in os.supports_effective_ids):
        raise ModelError(_closed(files[0].parents[2]))
    return _model(files[0])


def _sort(model: StoredModel, models: dict[str, StoredModel], refused: dict[str, str]) -> None:
    """Put a file to those that can be used, or to the others with the reason."""
    if PART_OF_SPLIT.search(model.file.name):
        refused[model.source] = f"it is one part of several: {SPLIT_FIX}"
    elif not model.file.is_file():
        refused[model.source] = f"{model.file} is missing: download it again in LM Studio"
    else:
        models.setdefault(model.source, model)


def _model(file: Path) -> StoredModel:
    return StoredModel(source=_source(file), title=file.stem, file=file)


def _source(file: Path) -> str:
    return f"{LmStudioStore.scheme}:{'/'.join(file.parts[-3:])}"
