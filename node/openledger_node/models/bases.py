"""Base models on disk: a folder each in Hugging Face format, described by its `base.json`.

The weights are `*.safetensors` in the folder, or one GGUF file, which may lie anywhere.
"""

import hashlib
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from openledger_protocol.codec import canonical_digest, sha256_digest
from openledger_protocol.primitives import Digest, check_name

from ..errors import ModelError
from ..home import Home

BASE_SCHEMA = "openledger.base/1"
FAKE_BASE_NAME = "fake"


@dataclass(frozen=True, slots=True, kw_only=True)
class Base:
    """One base model, ready to load; `folder` is None for the fake base, which has no files."""

    name: str
    digest: Digest
    folder: Path | None
    tokenizer_digest: Digest | None
    chat_template_digest: Digest | None
    source: str | None = None  # the origin of a pulled base; None for the operator's own folder
    gguf: Path | None = None  # the file that holds its weights; None if they are safetensors in the folder


FAKE_BASE = Base(
    name=FAKE_BASE_NAME,
    digest=sha256_digest(FAKE_BASE_NAME.encode()),
    folder=None,
    tokenizer_digest=None,
    chat_template_digest=None,
)


def list_bases(home: Home) -> list[Base]:
    """The complete bases in the data directory."""
    if not home.models.exists():
        return []
    return [read_base(folder) for folder in sorted(home.models.iterdir()) if (folder / "base.json").exists()]


def is_here(home: Home, name: str) -> bool:
    """Return True if the data directory holds a complete base of this name."""
    return (home.models / name / "base.json").exists()


def find_base(home: Home, name: str) -> Base:
    """Find a base by name, or register a folder given by its path.

    Raises:
        ModelError: there is no such base, or its GGUF file is gone; the message says how to get it.
    """
    if name == FAKE_BASE_NAME:
        return FAKE_BASE
    if os.sep in name:
        folder, hub_name = Path(name).expanduser().resolve(), name.partition("@")[0].replace("/", "--")
        if folder.exists() or not is_here(home, hub_name):
            return describe_folder(folder)
        name = hub_name
    if not is_here(home, name):
        raise ModelError(f"base {name!r} is not on this machine: run `openledger-node models pull {name}`")
    return _checked(read_base(home.models / name))


def describe_folder(folder: Path) -> Base:
    """Describe the operator's own Hugging Face folder in a `base.json`, with a digest of its content."""
    if gguf_of(folder):
        return _checked(read_base(folder))
    if not (folder / "config.json").exists() or not list(folder.glob("*.safetensors")):
        raise ModelError(
            f"{folder} is not a base model: it needs config.json and *.safetensors "
            "(to get a model of the Hugging Face hub, run `openledger-node models pull OWNER/NAME`)"
        )
    if not _is_described(folder):
        write_base_json(folder, name=check_name(folder.name), digest=folder_digest(folder), source=None)
    return read_base(folder)


def _is_described(folder: Path) -> bool:
    """Return True if `base.json` describes these very files; hashing gigabytes at each start would take too long."""
    if not (folder / "base.json").exists():
        return False
    return _read_json(folder / "base.json").get("files") == _hashed_files(folder, gguf_of(folder))


def _checked(base: Base) -> Base:
    """Require that a base's GGUF file is still the one that was described."""
    if base.gguf is None or base.folder is None:
        return base
    again = f"put it back, or delete {base.folder} and add the base again"
    if not base.gguf.is_file():
        raise ModelError(f"the weights of {base.name} are gone: there is no {base.gguf}: {again}")
    if not _is_described(base.folder):
        raise ModelError(f"{base.gguf} is not the file that {base.name} was made from: {again}")
    return base


def gguf_of(folder: Path) -> Path | None:
    """The GGUF file that holds a base's weights; None if they are safetensors in its folder.

    Raises:
        ModelError: base.json is damaged.
    """
    return _gguf_path(folder, _read_json(folder / "base.json").get("gguf"))


def _gguf_path(folder: Path, written: object) -> Path | None:
    """The path of base.json's key `gguf`, which is absolute or the name of a file in the folder."""
    return folder / written if isinstance(written, str) else None


def weight_files(folder: Path) -> list[Path]:
    """The files that hold a base's weights."""
    gguf = gguf_of(folder)
    return [gguf] if gguf else sorted(folder.glob("*.safetensors"))


def _hashed_files(folder: Path, gguf: Path | None) -> dict[str, list[int]]:
    """Size and modification time of each file that the digest covers."""
    files = [folder / "config.json", *([gguf] if gguf else sorted(folder.glob("*.safetensors")))]
    return {file.name: [file.stat().st_size, file.stat().st_mtime_ns] for file in files}


def folder_digest(folder: Path) -> Digest:
    """Digest of a Hugging Face folder: its weight files and its config, without any other file."""
    weights = {file.name: file_digest(file) for file in sorted(folder.glob("*.safetensors"))}
    config = canonical_digest(_read_json(folder / "config.json"))
    return canonical_digest({"weights": weights, "config": config})


def tokenizer_digest(folder: Path) -> Digest:
    """Digest of the tokenizer's meaning: vocabulary, merges and added tokens, but not the file's layout.

    Versions of the library write the same tokenizer differently, but its token ids stay the same.
    """
    content = json.loads((folder / "tokenizer.json").read_text())
    model = content["model"]
    merges = [pair if isinstance(pair, str) else " ".join(pair) for pair in model.get("merges", [])]
    added = [[token["id"], token["content"]] for token in content["added_tokens"]]
    vocabulary = model["vocab"]
    if isinstance(vocabulary, dict):
        vocabulary = sorted(vocabulary.items(), key=lambda item: item[1])
    return canonical_digest({"vocab": vocabulary, "merges": merges, "added": added})


def chat_template(folder: Path) -> str | None:
    """The base's chat template, from its file or from the tokenizer's settings."""
    if (file := folder / "chat_template.jinja").exists():
        return file.read_text()
    settings = _read_json(folder / "tokenizer_config.json")
    template = settings.get("chat_template")
    return template if isinstance(template, str) else None


def file_digest(file: Path) -> Digest:
    """SHA-256 of a file, read in pieces."""
    with file.open("rb") as stream:
        return Digest("0x" + hashlib.file_digest(stream, hashlib.sha256).hexdigest())


def write_base_json(folder: Path, *, name: str, digest: Digest, source: str | None, gguf: Path | None = None) -> None:
    """Write a folder's `base.json`, as the last file, so that a base that has it is complete.

    `gguf`: the file that holds the weights, if they are not safetensors in the folder.
    """
    template = chat_template(folder)
    has_tokenizer = (folder / "tokenizer.json").exists()
    content = {
        "schema": BASE_SCHEMA,
        "name": name,
        "digest": digest,
        "source": source,
        "files": _hashed_files(folder, gguf),
        "tokenizer_digest": tokenizer_digest(folder) if has_tokenizer else None,
        "chat_template_digest": sha256_digest(template.encode()) if template else None,
    }
    if gguf is not None:
        content["gguf"] = gguf.name if gguf.parent == folder else str(gguf.absolute())
    partial = folder / "base.json.partial"
    try:
        partial.write_text(json.dumps(content, indent=2) + "\n")
        partial.replace(folder / "base.json")
    except OSError as error:
        raise ModelError(
            f"cannot write {folder / 'base.json'} ({error.strerror}): copy the base to a folder that you can write"
        ) from error


def read_base(folder: Path) -> Base:
    """Read a folder's `base.json`.

    Raises:
        ModelError: it is damaged, or has another schema.
    """
    content = _read_json(folder / "base.json")
    try:
        if content["schema"] != BASE_SCHEMA:
            raise KeyError("schema")
        return Base(
            name=content["name"],
            digest=Digest(content["digest"]),
            folder=folder,
            tokenizer_digest=content["tokenizer_digest"],
            chat_template_digest=content["chat_template_digest"],
            source=content["source"],
            gguf=_gguf_path(folder, content.get("gguf")),
        )
    except KeyError as error:
        raise ModelError(f"{folder / 'base.json'} is not {BASE_SCHEMA}: delete it and pull again") from error


def _read_json(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text())
    except FileNotFoundError:
        return {}
    except (ValueError, RecursionError) as error:
        raise ModelError(
            f"{file} is damaged ({error}): delete that file, and pull the base again if it was pulled"
        ) from error
    return content if isinstance(content, dict) else {}


def base_to_json(base: Base) -> dict[str, object]:
    """A base in the form of `--json`."""
    paths = {"folder": base.folder, "gguf": base.gguf}
    return {**asdict(base), **{key: str(path) if path else None for key, path in paths.items()}}
