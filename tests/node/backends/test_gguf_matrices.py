"""Each GGUF format in the engine's layout: its values are those of llama.cpp's own library, to the bit."""

from pathlib import Path

import gguf
import numpy as np
import pytest
import torch
from gguf import GGMLQuantizationType as Type
from support.gguf_models import pack

from openledger_node.backends.torch_lora.gguf_matrices import GgufReader
from openledger_node.backends.torch_lora.group_matrix import GroupMatrix
from openledger_node.errors import ModelError
from openledger_node.models.gguf_files.weights import NARROW, open_weights

ROWS, COLUMNS, HEADS = 24, 512, 3
SEEDS = range(2)
NAME = "model.layers.0.self_attn.q_proj.weight"


def write(file: Path, type: Type, rows: np.ndarray, arch: str = "qwen2") -> Path:
    """A file with one matrix, as q of the first layer."""
    writer = gguf.GGUFWriter(file, arch)
    writer.add_head_count(HEADS)
    writer.add_tensor("blk.0.attn_norm.weight", np.ones(COLUMNS, np.float32))
    writer.add_tensor("blk.0.attn_q.weight", rows, raw_dtype=type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file


def random_rows(type: Type, seed: int) -> np.ndarray:
    """Rows with every bit random, except that no scale is infinite or no number."""
    random = np.random.default_rng(seed)
    count, size = gguf.GGML_QUANT_SIZES[type]
    blocks = random.integers(0, 256, (ROWS * COLUMNS // count, size), dtype=np.uint8)
    for at in {Type.Q4_1: (0, 2), Type.Q5_1: (0, 2), Type.Q4_K: (0, 2), Type.Q5_K: (0, 2), Type.Q6_K: (208,)}.get(
        type, (0,)
    ):
        scales = random.choice([0.0, -0.0, 6e-8, 1e-4, -0.3, 1.0, 7.7, 500.0], len(blocks)).astype(np.float16)
        blocks[:, at : at + 2] = scales.view(np.uint8).reshape(-1, 2)
    return blocks.reshape(ROWS, -1)


def bits(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.view(torch.int32)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("type", NARROW, ids=lambda type: type.name)
def test_values_are_those_of_the_library_to_the_bit(tmp_path: Path, type: Type, seed: int) -> None:
    rows = random_rows(type, seed)
    read = GgufReader(open_weights(write(tmp_path / "a.gguf", type, rows)), torch.float32)
    matrix = read.matrix(NAME)
    wanted = torch.from_numpy(gguf.dequantize(rows, type))
    assert isinstance(matrix, GroupMatrix)
    assert matrix.shape == read.shape(NAME) == (ROWS, COLUMNS)
    assert torch.equal(bits(matrix.wide()), bits(wanted))
    assert torch.equal(bits(read(NAME)), bits(wanted))
    assert matrix.bits == (4 if type in (Type.Q4_0, Type.Q4_1, Type.Q4_K) else 8)
    assert matrix.size_bytes == ROWS * COLUMNS * NARROW[type] / 8, "as planned"


@pytest.mark.parametrize("type", [*NARROW, Type.F16, Type.BF16, Type.F32], ids=lambda type: type.name)
def test_rows_of_llamas_q_are_put_back_without_widening(tmp_path: Path, type: Type) -> None:
    numbers = np.random.default_rng(0).normal(size=(ROWS, COLUMNS)).astype(np.float32)
    packed = pack(numbers, type, 0)
    rows = packed.rows.reshape(HEADS, 2, ROWS // HEADS // 2, -1).swapaxes(1, 2).reshape(ROWS, -1)  # as the converter
    if type == Type.F32:
        rows = rows.view(np.float32)
    elif type == Type.F16:
        rows = rows.view(np.float16)
    file = write(tmp_path / "a.gguf", type, np.ascontiguousarray(rows), arch="llama")
    matrix = GgufReader(open_weights(file), torch.float32).matrix(NAME)
    found = matrix.wide() if isinstance(matrix, GroupMatrix) else matrix
    assert torch.equal(found, torch.from_numpy(packed.wide.reshape(ROWS, COLUMNS)))


@pytest.mark.parametrize("type", [Type.Q2_K, Type.IQ4_XS, Type.MXFP4])
def test_other_formats_are_refused_by_name(tmp_path: Path, type: Type) -> None:
    count, size = gguf.GGML_QUANT_SIZES[type]
    rows = np.zeros((ROWS, COLUMNS // count * size), np.uint8)
    read = GgufReader(open_weights(write(tmp_path / "a.gguf", type, rows)), torch.float32)
    for ask in (read, read.matrix, read.shape):
        with pytest.raises(ModelError, match=f"is quantised as {type.name}, which the backend llamacpp serves"):
            ask(NAME)
