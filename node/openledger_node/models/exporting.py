"""An adapter as files for other programs: a PEFT folder, merged weights, or a GGUF LoRA for llama.cpp."""

import fcntl
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import Any, Final

from openledger_protocol.codec import to_plain

from ..errors import ModelError, explain_disk
from .adapter_files.layout import CONFIG_BYTES_MAX, CONFIG_FILE, WEIGHTS_FILE
from .adapter_files.plain_file import read_json
from .adapter_source import AdapterPart
from .adapters import INDEX_FOLDER, MANIFEST_FILE, Adapter, card_of
from .bases import Base, gguf_of
from .gguf_files.header import read_header
from .gguf_files.lora import convert_lora, target_of_folder, target_of_gguf, write_lora
from .merging import open_base_weights, write_merged
from .readme import CARD_FILE, ExportForm, taught_by_of, write_card_text

TEXT_SUFFIXES: Final = (".json", ".jinja", ".txt", ".model")
MERGED_FILE: Final = "model.safetensors"
MARK: Final = ".export"
OWN_FIELDS: Final = ("gguf", "quantization_config")
"""Fields of a base's config.json that describe how its weights were stored before."""


def export_adapter(adapter: Adapter, base: Base, form: ExportForm, out: Path) -> list[Path]:
    """Write the adapter into the new folder `out`, whole or not at all; return its files.

    Raises:
        ModelError: the folder has files, the base is not the adapter's or has no weights, or the disk is full.
        AdapterRefusedError: the adapter does not fit the form.
    """
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise ModelError(f"{out} exists and is not an empty folder, and nothing is written over: name a new one")
    if adapter.manifest.base.digest != base.digest:
        raise ModelError(
            f"{adapter.full_name} was made for another {adapter.manifest.base.name} than the one here: "
            f"run `openledger-node models pull {adapter.manifest.base.name}`"
        )
    try:
        with _new_folder_beside(out) as partial:
            WRITERS[form](adapter, base, partial)
            card = write_card_text(adapter.manifest, taught_by_of(card_of(adapter)), form=form)
            (partial / CARD_FILE).write_text(card, encoding="utf-8")
            (partial / MARK).unlink()
            partial.rename(out)
    except OSError as error:
        raise explain_disk(error, out.parent) from error
    return sorted(file for file in out.rglob("*") if file.is_file())


@contextmanager
def _new_folder_beside(out: Path) -> Iterator[Path]:
    """A folder that did not exist, because one with a likely name may be somebody's; deleted at the end.

    A mark in it is locked meanwhile, so that the next export knows what a killed one has left.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    _discard_left(out.parent)
    partial = _make_folder(out)
    try:
        with (partial / MARK).open("x") as mark:
            fcntl.flock(mark, fcntl.LOCK_EX)
            mark.write(f"{os.getpid()}\n")  # only a lock that was taken has text
            mark.flush()
            yield partial
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _make_folder(out: Path) -> Path:
    for number in count(1):
        partial = out.with_name(f".{out.name}.partial-{number}")
        with suppress(FileExistsError):
            partial.mkdir()
            return partial
    raise AssertionError("the numbers do not end")


def _discard_left(folder: Path) -> None:
    """Delete what exports into a folder have left that were killed."""
    for file in folder.glob(f".*.partial-*/{MARK}"):
        with suppress(OSError), file.open("r+") as mark:
            fcntl.flock(mark, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if mark.read():
                shutil.rmtree(file.parent)


def _write_peft(adapter: Adapter, _: Base, folder: Path) -> None:
    for name in (CONFIG_FILE, WEIGHTS_FILE, MANIFEST_FILE):
        shutil.copy(adapter.folder / name, folder / name)
    if (adapter.folder / INDEX_FOLDER).is_dir():
        shutil.copytree(adapter.folder / INDEX_FOLDER, folder / INDEX_FOLDER)


def _write_gguf(adapter: Adapter, base: Base, folder: Path) -> None:
    weights = _folder_of(base)
    gguf = gguf_of(weights)
    target = target_of_gguf(read_header(gguf)) if gguf else target_of_folder(weights)
    sites = convert_lora((AdapterPart(folder=str(adapter.folder)),), target)
    write_lora(folder / f"{adapter.name}-lora.gguf", target, sites)


def _write_merged(adapter: Adapter, base: Base, folder: Path) -> None:
    source = _folder_of(base)
    weights = open_base_weights(source)
    write_merged(folder / MERGED_FILE, weights, adapter.folder)
    for file in sorted(source.iterdir()):
        is_ours = file.name == "base.json" or file.name.endswith(".index.json")  # the latter lists files of weights
        if file.is_file() and file.suffix in TEXT_SUFFIXES and not is_ours:
            shutil.copy(file, folder / file.name)
    config: dict[str, Any] = read_json(source / "config.json", size_bytes_max=CONFIG_BYTES_MAX)
    kept = {name: value for name, value in config.items() if name not in OWN_FIELDS}
    if gguf_of(source):
        kept["dtype"] = "bfloat16"
    (folder / "config.json").write_text(json.dumps(to_plain(kept), indent=2) + "\n")


def _folder_of(base: Base) -> Path:
    if base.folder is None:
        raise ModelError(f"base {base.name} has no weights: only `--as peft` works with it")
    return base.folder


WRITERS: Final[dict[ExportForm, Callable[[Adapter, Base, Path], None]]] = {
    "peft": _write_peft,
    "merged": _write_merged,
    "gguf": _write_gguf,
}
