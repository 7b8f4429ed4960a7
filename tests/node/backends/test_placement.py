"""The number format that a card gets: never one that it only emulates."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from support.tiny import make_base
from support.torch_bases import logits, open_backend

from openledger_node.backends.torch_lora.placement import Placement, choose_dtype, choose_placement
from openledger_node.errors import ModelError


@pytest.mark.parametrize(
    ("generation", "wanted"),
    [((6, 1), torch.float16), ((7, 5), torch.float16), ((8, 0), torch.bfloat16), ((12, 0), torch.bfloat16)],
    ids=["GTX 1080", "T4", "A100", "RTX 5090"],
)
def test_a_card_before_ampere_runs_float16_and_later_ones_bfloat16(
    generation: tuple[int, int], wanted: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda *_, **__: True)  # as torch says of every card
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: generation)
    assert choose_placement("auto", "auto") == Placement(torch.device("cuda"), wanted)


def test_bfloat16_on_a_card_that_emulates_it_is_refused_with_the_setting() -> None:
    with pytest.raises(ModelError, match=r'\[inference\] dtype is "bfloat16".*set it to "auto"'):
        choose_dtype("bfloat16", "cuda", (7, 5))
    assert choose_dtype("float32", "cuda", (7, 5)) is torch.float32
    assert choose_dtype("auto", "mps", None) is torch.bfloat16


def test_in_float16_the_sum_of_the_layers_may_exceed_its_largest_number(tmp_path: Path) -> None:
    base = make_base(tmp_path / "base", attention_bias=True)
    file = base / "model.safetensors"
    tensors = load_file(file)
    tensors["model.embed_tokens.weight"] *= 10_000
    tensors["model.embed_tokens.weight"][:, 0] = 50_000
    tensors["model.layers.0.self_attn.o_proj.bias"][0] = 50_000
    save_file(tensors, file, metadata={"format": "pt"})
    narrow, wide = (logits(open_backend(base, dtype=dtype)) for dtype in ("float16", "float32"))
    assert narrow.isfinite().all()
    assert torch.allclose(narrow, wide, atol=0.05)
