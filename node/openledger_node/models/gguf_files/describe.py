"""Describes a GGUF file as a base: a folder with everything but the weights, which stay in the file."""

import json
import shutil
from pathlib import Path
from typing import Any

from openledger_protocol.primitives import Digest, check_name

from ...errors import ModelError
from ...home import Home
from ..bases import Base, file_digest, is_here, read_base, write_base_json
from ..sampling_defaults import sampling_of_gguf
from .config import check_config, config_of
from .header import read_header
from .tokenizer import GgufTokenizer, check_tokenizer


def describe_gguf(
    home: Home, file: Path, *, name: str | None = None, digest: Digest | None = None, source: str | None = None
) -> Base:
    """Make a base of a GGUF file that stays where it is.

    Args:
        home: the data directory; the description goes into its models.
        file: the GGUF file.
        name: the base's name; by default the file's, without its ending.
        digest: the file's SHA-256, if it is known; reading a large file takes a while.
        source: the origin of a base that was pulled.

    Raises:
        ModelError: the file can't be read, its tokenizer is not known, or there is another base of this name.
    """
    file = file.expanduser().absolute()
    name = check_name(name or file.name.removesuffix(".gguf"))
    digest = digest or file_digest(file)
    if is_here(home, name):
        return _same(read_base(home.models / name), digest, file)
    partial = home.models / f".{name}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(mode=0o700, parents=True)
    try:
        write_description(file, partial)
        write_base_json(partial, name=name, digest=digest, source=source, gguf=file)
        return read_base(partial.rename(home.models / name))
    except OSError as error:
        raise ModelError(f"cannot write {home.models / name}: {error.strerror}") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def write_description(file: Path, folder: Path) -> None:
    """Write config, tokenizer and chat template of a GGUF file into `folder`.

    Raises:
        ModelError: the file can't be read, or its tokenizer is not known.
    """
    header = read_header(file)
    config = config_of(header)
    check_config(header, config)
    tokenizer = GgufTokenizer(header)
    content = tokenizer.content()
    check_tokenizer(header, content)
    _write_json(folder / "config.json", config | tokenizer.ids())
    sampling = sampling_of_gguf(header.fields)
    _write_json(folder / "generation_config.json", {"eos_token_id": tokenizer.end_ids, **sampling})
    _write_json(folder / "tokenizer_config.json", tokenizer.settings())
    (folder / "tokenizer.json").write_text(json.dumps(content, ensure_ascii=False) + "\n")
    if template := header.text("tokenizer.chat_template", ""):
        (folder / "chat_template.jinja").write_text(template)


def _same(base: Base, digest: Digest, file: Path) -> Base:
    if (base.digest, base.gguf) == (digest, file):
        return base
    raise ModelError(f"{base.name} is here as another base: give this one another name, or delete {base.folder}")


def _write_json(file: Path, content: Any) -> None:
    file.write_text(json.dumps(content, indent=2) + "\n")
