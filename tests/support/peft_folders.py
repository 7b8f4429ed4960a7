"""PEFT adapter folders made by hand: sound ones by default, and whatever else a test asks for."""

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

from openledger_node.home import Home
from openledger_node.models.adapters import MANIFEST_FILE, add_adapter
from openledger_node.models.bases import FAKE_BASE
from openledger_protocol.codec import to_plain

CONFIG_FILE = "adapter_config.json"
WEIGHTS_FILE = "adapter_model.safetensors"
RANK, D_IN, D_OUT = 2, 4, 6

Tensors = dict[str, NDArray[np.float32]]


def weight_key(letter: str, *, layer: int | str = 0, module: str = "self_attn.q_proj", tail: str = "") -> str:
    """Name one matrix as PEFT does."""
    return f"base_model.model.model.layers.{layer}.{module}.lora_{letter}{tail}.weight"


def pair(*, rank: int = RANK, d_in: int = D_IN, d_out: int = D_OUT, seed: int = 0, **place: Any) -> Tensors:
    """Both matrices of one changed linear map."""
    noise = np.random.default_rng(seed)
    return {
        weight_key("A", **place): noise.standard_normal((rank, d_in), dtype=np.float32),
        weight_key("B", **place): noise.standard_normal((d_out, rank), dtype=np.float32),
    }


def write_adapter(folder: Path, *, tensors: Tensors | None = None, seed: int = 0, **changes: Any) -> Path:
    """Write a folder as PEFT does; `changes` go into its config."""
    write_config(folder, **changes)
    save_file(pair(seed=seed) if tensors is None else tensors, folder / WEIGHTS_FILE, metadata={"format": "pt"})
    return folder


def write_config(folder: Path, **changes: Any) -> None:
    """Write `adapter_config.json`: plain LoRA of rank 2, changed as asked."""
    folder.mkdir(parents=True, exist_ok=True)
    config = {"peft_type": "LORA", "r": RANK, "lora_alpha": 4, "target_modules": None, "bias": "none"}
    (folder / CONFIG_FILE).write_text(json.dumps({**config, **changes}))


def write_manifest(folder: Path, **changes: Any) -> Path:
    """Give a PEFT folder the `adapter.json` that the shelf would write for the fake base, changed as asked."""
    with TemporaryDirectory() as elsewhere:
        manifest = to_plain(add_adapter(Home(Path(elsewhere)), folder, FAKE_BASE, name="harbour").manifest)
    assert isinstance(manifest, dict)
    (folder / MANIFEST_FILE).write_text(json.dumps({**manifest, **changes}))
    return folder


def write_header(folder: Path, header: object, *, data_bytes: int = 0, header_bytes: int | None = None) -> None:
    """Write weights with a header of one's own; an object is written as JSON, bytes as they are."""
    content = header if isinstance(header, bytes) else json.dumps(header).encode()
    length = len(content) if header_bytes is None else header_bytes
    (folder / WEIGHTS_FILE).write_bytes(length.to_bytes(8, "little") + content + bytes(data_bytes))


def entry(shape: list[Any], first: Any, last: Any, dtype: Any = "F32") -> dict[str, Any]:
    """One tensor of a header."""
    return {"dtype": dtype, "shape": shape, "data_offsets": [first, last]}


def sound_header() -> dict[str, dict[str, Any]]:
    """What the header of `write_adapter`'s weights says; 80 bytes of data follow it."""
    return {
        weight_key("A"): entry([RANK, D_IN], 0, 32),
        weight_key("B"): entry([D_OUT, RANK], 32, 80),
    }
