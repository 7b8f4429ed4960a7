"""The whole backend on Triton's interpreter beside plain torch, its oracle: from files to tokens."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from node.backends.cuda.kernel_backends import ALL, KINDS, Both, open_both
from support.plain_adapter import write_adapter
from support.tiny import make_base
from support.torch_bases import row
from torch import Tensor

from openledger_node.engine import probe
from openledger_node.engine.backend import BatchRow
from openledger_protocol.primitives import AdapterId

FUSED = ("qkv_proj", "o_proj", "gate_up_proj", "down_proj")
WINDOW = {"sliding_window": 7, "use_sliding_window": True, "max_window_layers": 1}
GEMMA = {"query_pre_attn_scalar": 20, "sliding_window": 7}

FAMILIES: dict[str, dict[str, Any]] = {
    "llama": {"tie_word_embeddings": True, "mlp_bias": True, "num_hidden_layers": 1},
    "qwen2 with windows": {"model_type": "qwen2", **WINDOW},
    "qwen3": {"model_type": "qwen3", "num_hidden_layers": 1},
    "gemma 2": {"model_type": "gemma2", "attn_logit_softcapping": 2.0, "final_logit_softcapping": 3.0, **GEMMA},
    "gemma 3": {
        "model_type": "gemma3_text", **GEMMA, "layer_types": ["sliding_attention", "full_attention"],
        "rope_parameters": {
            "sliding_attention": {"rope_type": "default", "rope_theta": 50.0},
            "full_attention": {"rope_type": "linear", "rope_theta": 500.0, "factor": 8.0},
        },
    },
    "phi 3": {"model_type": "phi3", "num_hidden_layers": 1},
}  # fmt: skip


@pytest.fixture(autouse=True)
def short_probes(monkeypatch: pytest.MonkeyPatch, fewer_programs: None) -> None:
    monkeypatch.setattr(probe, "PROMPT_TOKENS_MAX", 4)


def rows_of(lengths: dict[str, int], seen: dict[str, int]) -> tuple[BatchRow, ...]:
    """The next tokens of sequences, each with four blocks of its own."""
    rows = []
    for name, length in lengths.items():
        number, first = list(seen).index(name), seen[name]
        ids = tuple((11 * at + 5 * number + 3) % 260 for at in range(first, first + length))
        rows.append(row(name, ids, first, first=4 * number))
    return tuple(rows)


def logits_of(backends: Both, adapters: dict[str, str | None], *steps: dict[str, int]) -> tuple[Tensor, Tensor]:
    """The logits of the same steps on both."""
    found: list[list[Tensor]] = [[], []]
    for backend, logits in zip(backends, found, strict=True):
        seen = dict.fromkeys(adapters, 0)
        for name, adapter in adapters.items():
            backend.join(name, AdapterId(adapter) if adapter else None)
        for lengths in steps:
            logits.append(backend.logits(rows_of(lengths, seen)))
            seen |= {name: seen[name] + length for name, length in lengths.items()}
        for name in adapters:
            backend.leave(name)
    return torch.cat(found[0]), torch.cat(found[1])


SEQUENCES = {"one": "whole", "twin": "whole", "other": "part", "bare": None}
STEPS = ({"one": 9, "twin": 2, "other": 9, "bare": 1}, dict.fromkeys(SEQUENCES, 1))


def adapters_for(base: Path, root: Path) -> tuple[Path, Path]:
    """One of all linear maps, and one of some with ranks of their own and DoRA."""
    modules = FUSED if "phi" in base.name else ALL
    part = (modules[0], "down_proj")
    return (
        write_adapter(base, root / "whole", seed=1, targets=modules),
        write_adapter(base, root / "part", seed=2, targets=part, r=3, rank_pattern={part[1]: 17}, use_dora=True),
    )


@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_has_the_logits_of_plain_torch(family: str, tmp_path: Path) -> None:
    base = make_base(tmp_path / family.replace(" ", "-"), **FAMILIES[family])
    backends = open_both(base, *adapters_for(base, tmp_path))
    found, wanted = logits_of(backends, SEQUENCES, *STEPS)
    assert torch.allclose(found, wanted, atol=1e-4)


@pytest.mark.parametrize("quantisation", ["int8", "nf4"])
def test_a_quantised_base_has_the_logits_of_plain_torch(quantisation: str, tmp_path: Path) -> None:
    base = make_base(tmp_path / "base", hidden_size=64, intermediate_size=96, num_hidden_layers=1)
    backends = open_both(base, *adapters_for(base, tmp_path), quantisation=quantisation)
    found, wanted = logits_of(backends, SEQUENCES, {"one": 8, "other": 1})
    assert torch.allclose(found, wanted, atol=1e-4)
    assert backends[0].profile.quantisation == quantisation


def test_eight_adapters_of_eight_shapes_in_a_batch_have_the_logits_of_plain_torch(tmp_path: Path) -> None:
    base = make_base(tmp_path / "base", num_hidden_layers=1)
    folders = [write_adapter(base, tmp_path / f"a{seed}", seed=seed, **kind) for seed, kind in enumerate(KINDS)]
    backends = open_both(base, *folders, batch_max=9)
    sequences: dict[str, str | None] = {"bare": None} | {f"s{n}": f"a{n}" for n in range(len(folders))}
    twos, ones = dict.fromkeys(sequences, 2), dict.fromkeys(sequences, 1)
    for steps in ((twos, ones), (ones,)):  # the second time in blocks that the first one left full
        found, wanted = logits_of(backends, sequences, *steps)
        assert torch.allclose(found, wanted, atol=1e-4)
        assert torch.equal(found.argmax(dim=-1), wanted.argmax(dim=-1))


def test_a_text_on_the_first_block_of_another_has_the_logits_of_plain_torch(tmp_path: Path) -> None:
    base = make_base(tmp_path / "base", num_hidden_layers=1)
    backends = open_both(base, *adapters_for(base, tmp_path))
    ids, seen = tuple(range(20, 40)), []
    first, again = row("first", ids), replace(row("again", ids[16:], 16), blocks=(0, 2))
    for backend in backends:
        for each in (first, again):
            backend.join(each.sequence_id, AdapterId("whole"))
            seen.append(torch.as_tensor(backend.logits((each,))))
    assert all(torch.allclose(each, seen[0], atol=1e-4) for each in seen)
