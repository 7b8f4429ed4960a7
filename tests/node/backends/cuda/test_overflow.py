"""In float16 an adapter may overflow. Its own rows are refused, and nobody else's numbers change by a bit."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from support.plain_adapter import write_adapter
from support.tiny import make_base
from support.torch_bases import cpu_settings, row
from torch import Tensor

from openledger_node.backends.cuda.backend import CudaBackend
from openledger_node.backends.torch_lora.placement import Placement
from openledger_node.engine.backend import BatchRow
from openledger_node.models.adapter_source import AdapterSource
from openledger_protocol.primitives import AdapterId

TARGETS = ("v_proj", "down_proj")
LARGE = 30_000.0  # doubled by alpha over rank, which float16 still holds, but not its products
FIRST = {"bad": 0, "good": 2, "bare": 4, "next": 0}
TOGETHER = ("bad", "good", "bare")
PROMPT = 18


@pytest.fixture
def backend(tmp_path: Path, fewer_programs: None) -> CudaBackend:
    """A base in float16 with three adapters of one shape, of which one overflows."""
    base = make_base(tmp_path / "base", model_type="gemma2", num_hidden_layers=1)
    settings = cpu_settings(base, dtype="float16", context_max=64, adapter_bytes=1 << 20)
    opened = CudaBackend(settings, Placement(torch.device("cpu"), torch.float16))
    for seed, name in enumerate(("overflows", "harmless", "healthy")):
        folder = write_adapter(base, tmp_path / name, seed=seed, targets=TARGETS)
        if name == "overflows":
            enlarge(folder / "adapter_model.safetensors")
        source = AdapterSource(id=AdapterId(name), folder=str(folder))
        opened.load_adapter(source.id, opened.read_adapter(source))
    return opened


def enlarge(file: Path) -> None:
    tensors = load_file(file)
    large = {name: each.sign() * LARGE if "lora_B" in name else each for name, each in tensors.items()}
    save_file(large, file, metadata={"format": "pt"})


def rows(position: int, length: int, *names: str) -> tuple[BatchRow, ...]:
    """Rows of sequences, each in the blocks of its name."""
    ids = tuple((7 * at + 5) % 250 for at in range(position, position + length))
    return tuple(row(name, ids, position, first=FIRST[name], is_tapped=True) for name in names)


def run(backend: CudaBackend, bad: str) -> tuple[Tensor, dict[str, int]]:
    """The logits after the prompts of three sequences, and the tokens that they draw one token later."""
    for name, adapter in (("bad", bad), ("good", "healthy"), ("bare", None)):
        backend.join(name, AdapterId(adapter) if adapter else None)
    logits = backend.logits(rows(0, PROMPT, *TOGETHER)).clone()
    drawn = backend.step(rows(PROMPT, 1, *TOGETHER))
    assert all((each.taps is not None) == (name != "bare") for name, each in drawn.items())
    assert all(np.isfinite(each.taps.activations).all() for each in drawn.values() if each.taps)
    for name in TOGETHER:
        backend.leave(name)
    return logits, {name: each.token for name, each in drawn.items()}


def answer_in_its_blocks(backend: CudaBackend) -> Tensor:
    backend.join("next", AdapterId("healthy"))
    logits = backend.logits(rows(0, 2, "next")).clone()
    backend.leave("next")
    return logits


def test_an_adapter_that_overflows_refuses_its_own_rows_only(backend: CudaBackend) -> None:
    wanted_next = answer_in_its_blocks(backend)
    wanted, wanted_drawn = run(backend, "harmless")
    found, drawn = run(backend, "overflows")
    assert not found[0].isfinite().all()
    assert torch.equal(found[1:], wanted[1:])
    assert drawn == {name: wanted_drawn[name] for name in ("good", "bare")}
    assert torch.equal(answer_in_its_blocks(backend), wanted_next), "what it left in its blocks harms nobody"
