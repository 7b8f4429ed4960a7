"""Base models on disk: a folder each in Hugging Face format, described by its `base.json`.

The weights are `*.safetensors` in the folder, or one GGUF file, which may lie anywhere.
"""

import hashlib
import json
import os
import re
import shlex
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from openledger_protocol.codec import canonical_digest, sha256_digest
from openledger_protocol.constants import DEMO_BASE_NAME
from openledger_protocol.primitives import Digest, check_name

from ..errors import ModelError
from ..home import Home
from .gguf_name import HubGguf, read_hub_gguf
from .stores import StoredModel, locate

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


DEMO_HUB_NAME: Final = "HuggingFaceTB/SmolLM2-135M-Instruct"
"""The hub's name of the demo base, which has the same weights in a wider format there."""

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

    A GGUF file, wherever it is, must have been described by `models pull`, because hashing it takes long.

    Raises:
        ModelError: there is no such base, or its GGUF file is gone or another one; the message says what to do.
    """
    if name == FAKE_BASE_NAME:
        return FAKE_BASE
    if os.sep in name and (folder := Path(name).expanduser().resolve()).is_dir():
        return describe_folder(folder)
    if known := base_here(home, name):
        return _checked(known)
    if stored := locate(name):
        raise ModelError(_undescribed(home, stored))
    if os.sep in name and not read_hub_gguf(name):
        return describe_folder(Path(name).expanduser().resolve())  # which says that it is none
    raise ModelError(f"base {name!r} is not on this machine: run `openledger-node models pull {name}`")


def base_here(home: Home, name: str) -> Base | None:
    """The base in the data directory that a name means, even if its GGUF file is gone; None if there is none.

    Raises:
        ModelError: it names a GGUF file or a store, and there is no such model.
    """
    if stored := locate(name):
        return next((base for base in list_bases(home) if base.gguf == stored.file), None)
    if on_hub := read_hub_gguf(name):
        return find_pulled(home, on_hub)
    folder = name.partition("@")[0].replace("/", "--")
    return read_base(home.models / folder) if is_here(home, folder) else None


def is_new_file(home: Home, name: str) -> bool:
    """Return True for a GGUF file on this machine of which no base was made yet; not if it took another's place.

    Raises:
        ModelError: it names a GGUF file or a store, and there is no such model.
    """
    stored = locate(name)
    return stored is not None and not any(
        base.gguf == stored.file or base.source == stored.source for base in list_bases(home)
    )


def _undescribed(home: Home, stored: StoredModel) -> str:
    """The reason why no base was made of a GGUF file yet."""
    pull = f"run `openledger-node models pull {shlex.quote(stored.source)}`"
    before = next((base for base in list_bases(home) if base.source == stored.source), None)
    if before is None:
        return f"{stored.source} is not described here yet: {pull}, which reads the file once and copies nothing"
    return (
        f"{stored.source} is another file now than the one that {before.name} was made from: {pull} to take the new "
        "one, which is another base and needs adapters of its own"
    )


def find_pulled(home: Home, wanted: HubGguf) -> Base | None:
    """The base that was made of a GGUF file of the hub; None if it was not pulled yet."""
    for base in list_bases(home):
        was = read_hub_gguf(base.source) if base.source else None
        if (
            was
            and (was.repository, was.revision) == (wanted.repository, wanted.revision)
            and wanted.means(was.wanted)
        ):
            return base
    return None


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


def changed_file(folder: Path) -> Path | None:
    """A file that is gone or has another size than `base.json` describes; None if all are as they were."""
    described = _read_json(folder / "base.json").get("files") or {}
    names = (name for name, (size, _) in described.items() if _size_of(folder / name) != size)
    return next((folder / name for name in names), None)


def _size_of(file: Path) -> int | None:
    return file.stat().st_size if file.is_file() else None


def _checked(base: Base) -> Base:
    """Require that a base's GGUF file is still the one that was described."""
    if problem := problem_of(base):
        raise ModelError(problem)
    return base


def pull_name(base: Base) -> str:
    """The name by which `models pull` brings a base of the data directory again."""
    if base.name == DEMO_BASE_NAME:
        return base.name
    return base.source or (str(base.gguf) if base.gguf else base.name.replace("--", "/", 1))


def check_base(folder: Path) -> None:
    """Require that a base's GGUF file, if it has one, is still the one that was described.

    Raises:
        ModelError: it is gone, or another one.
    """
    if gguf_of(folder):
        _checked(read_base(folder))


def problem_of(base: Base) -> str | None:
    """The reason why a base can't be served although it is here: its GGUF file is gone, or another one."""
    if base.gguf is None or base.folder is None:
        return None
    again = f"`openledger-node models pull {shlex.quote(pull_name(base))}`"
    if not os.path.isfile(base.gguf):
        return f"the weights of {base.name} are gone, there is no {base.gguf}: bring the file back, or run {again}"
    if not _is_described(base.folder):
        return (
            f"{base.gguf} is not the file that {base.name} was made from, by its size or time: put that one back, "
            f"or run {again} to read it again. If its content is another one, it is another base, and needs adapters "
            "of its own"
        )
    return None


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


def known_tokenizer_digest(folder: Path) -> Digest | None:
    """The tokenizer's digest as base.json has it, because computing it takes long; None without one.

    Raises:
        ModelError: base.json is damaged.
    """
    return _read_json(folder / "base.json").get("tokenizer_digest") if (folder / "base.json").exists() else None


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
        if not (isinstance(content["name"], str) and isinstance(content["digest"], str)):
            raise KeyError("name")
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


def stored_base(home: Home, name: str) -> Base:
    """Find a base in the data directory by its name or source.

    Raises:
        ModelError: there is none.
    """
    found = next((base for base in list_bases(home) if name in (base.name, base.source)), None)
    if found is None or found.folder is None:
        raise ModelError(f"no base {name!r} is in {home.models}: see `openledger-node models list`")
    return found


def remove_base(base: Base) -> int:
    """Remove a base from the data directory, and return the bytes that this frees.

    A GGUF file elsewhere, or a folder of the operator's that is linked here, stays as it is.
    """
    assert base.folder is not None  # the fake base is in no data directory
    if base.folder.is_symlink():
        base.folder.unlink()
        return 0
    files = [file for file in base.folder.rglob("*") if file.is_file() and not file.is_symlink()]
    freed_bytes = sum(file.stat().st_size for file in files)
    shutil.rmtree(base.folder)
    return freed_bytes


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


def hub_name(base: Base) -> str | None:
    """The base's name on the Hugging Face hub, by which other programs find it; None if it is not known."""
    if base.name == DEMO_BASE_NAME:
        return DEMO_HUB_NAME
    name = (base.source or "").partition("@")[0]
    return name if re.fullmatch(r"[\w.-]+/[\w.-]+", name) else None


def base_to_json(base: Base) -> dict[str, object]:
    """A base in the form of `--json`."""
    paths = {"folder": base.folder, "gguf": base.gguf}
    return {**asdict(base), **{key: str(path) if path else None for key, path in paths.items()}}
