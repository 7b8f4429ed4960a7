"""A folder that describes a tiny GGUF base, as `models pull` would write it."""

import shutil
from pathlib import Path
from typing import Any

from openledger_node.models.bases import file_digest, write_base_json
from support.gguf_models import write_gguf


def make_gguf_base(base: Path, folder: Path, **how: Any) -> Path:
    """Write a base's weights as a GGUF file into a new folder, with the base's own tokenizer and config."""
    folder.mkdir(parents=True)
    for file in base.iterdir():
        if file.suffix in (".json", ".jinja"):
            shutil.copy(file, folder)
    gguf = write_gguf(base, folder / "model.gguf", **how)
    write_base_json(folder, name=folder.name, digest=file_digest(gguf), source=None, gguf=gguf)
    return folder
