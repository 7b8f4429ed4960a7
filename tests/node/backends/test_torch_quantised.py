"""A base in 8 or 4 bits: how near it stays, and that a row does not depend on its neighbours."""

from pathlib import Path

import pytest
import torch
from support.tiny import make_adapter, make_base
from support.torch_bases import ADAPTER, load, open_backend, row

from openledger_node.backends.torch_lora.backend import TorchLoraBackend
from openledger_node.backends.torch_lora.quantised import quantise
from openledger_node.errors import ModelError
from openledger_protocol.primitives import AdapterId

ADAPTERS = (None, ADAPTER, AdapterId("0xbb"))
ERROR_MAX = {"int8": 0.01, "int4": 0.1, "nf4": 0.12}  # of a product, relative to its size
NARROW = ["int8", "int4", "nf4"]


def open_loaded(base: Path, quantisation: str, folders: list[Path]) -> TorchLoraBackend:
    backend = open_backend(base, quantisation=quantisation)
    for folder, adapter_id in zip(folders, ADAPTERS[1:], strict=True):
        load(backend, folder, adapter_id)
    return backend


def logits(backend: TorchLoraBackend, adapters: tuple[AdapterId | None, ...]) -> torch.Tensor:
    """Logits after a prompt and a decoded token, of each adapter, together: (adapters, vocabulary)."""
    found = []
    for number, adapter_id in enumerate(adapters):
        backend.join(str(number), adapter_id)
    for ids, position in ((tuple(range(5, 40)), 0), ((7,), 35)):
        rows = [row(str(n), ids, position=position, first=8 * n) for n in range(len(adapters))]
        found.append(backend.logits(tuple(rows)))
    for number in range(len(adapters)):
        backend.leave(str(number))
    return torch.cat(found, dim=1)


@pytest.mark.parametrize("quantisation", NARROW)
def test_a_narrow_matrix_is_smaller_and_multiplies_nearly_the_same(quantisation: str) -> None:
    torch.manual_seed(0)
    weight, inputs = torch.randn(96, 128), torch.randn(16, 128)
    narrow = quantise(weight, quantisation)
    assert not isinstance(narrow, torch.Tensor)
    error = inputs @ narrow.wide().T - inputs @ weight.T
    assert error.norm() / (inputs @ weight.T).norm() < ERROR_MAX[quantisation]
    assert narrow.size_bytes < weight.nbytes / {"int8": 3.5, "int4": 6.7, "nf4": 7}[quantisation]


def test_a_row_on_a_narrow_base_does_not_depend_on_its_neighbours(tmp_path: Path) -> None:
    base = make_base(tmp_path / "base")
    folders = [make_adapter(base, tmp_path / f"a{n}", seed=n, use_dora=n == 1) for n in range(2)]
    backend = open_loaded(base, "int4", folders)
    together = logits(backend, ADAPTERS)
    alone = torch.cat([logits(backend, (adapter_id,)) for adapter_id in ADAPTERS])
    assert torch.allclose(together, alone, atol=1e-4)
    wide = open_loaded(base, "none", folders)
    assert not torch.allclose(together, logits(wide, ADAPTERS), atol=1e-3)
    profile = backend.profile
    assert profile.quantisation == "int4"
    assert profile.base_bytes < wide.profile.base_bytes


@pytest.mark.parametrize("is_tied", [True, False])
def test_embedding_and_head_are_narrow_too_and_a_tied_one_is_there_once(is_tied: bool, tmp_path: Path) -> None:
    base = make_base(tmp_path / "base", tie_word_embeddings=is_tied, hidden_size=256, intermediate_size=512)
    bytes_of = {each: open_backend(base, quantisation=each).profile.base_bytes for each in ("none", "int4")}
    outer = 260 * 256 * (1 if is_tied else 2)
    assert bytes_of["int4"] < outer * 1.1 + (bytes_of["none"] - 4 * outer) / 6


def test_a_quantisation_that_nobody_knows_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="int8"):
        open_backend(make_base(tmp_path / "base"), quantisation="int3")
