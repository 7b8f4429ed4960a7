"""The decoder against transformers and PEFT, family by family, in float32."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from support.tiny import greedy, make_adapter, make_base
from transformers import AutoModelForCausalLM

from openledger_node.errors import ModelError
from openledger_node.home import Home
from openledger_node.inference.adapters import add_adapter, list_adapters
from openledger_node.inference.backend import BackendSettings, Row
from openledger_node.inference.backends.torch_lora.batch import build_batch
from openledger_node.inference.backends.torch_lora.torch_backend import TorchLoraBackend
from openledger_node.inference.bases import describe_folder
from openledger_node.inference.decoder_config import read_config
from openledger_protocol.errors import AdapterRefusedError
from openledger_protocol.inference import SamplingParams
from openledger_protocol.primitives import AdapterId

GREEDY = SamplingParams(max_tokens=100, seed=1, temperature=0)
PROMPT = tuple(range(5, 45))
ADAPTER = AdapterId("0xaa")
CPU = torch.device("cpu")

FAMILIES: dict[str, dict[str, Any]] = {
    "llama": {},
    "llama-tied": {"model_type": "llama", "tie_word_embeddings": True},
    "llama-biased": {"model_type": "llama", "attention_bias": True, "mlp_bias": True},
    "llama-no-gqa": {"model_type": "llama", "num_key_value_heads": 4},
    "llama-theta": {"model_type": "llama", "rope_parameters": {"rope_type": "default", "rope_theta": 500.0}},
    "mistral": {},
    "qwen2": {},
    "qwen3": {},
}

ADAPTER_KINDS: dict[str, dict[str, Any]] = {
    "plain": {},
    "rank-stabilised": {"use_rslora": True, "r": 3},
    "patterns": {"rank_pattern": {"q_proj": 2, "layers.1.mlp.down_proj": 6}, "alpha_pattern": {"v_proj": 1}},
    "top layer only": {"layers_to_transform": [1], "layers_pattern": "layers"},
    "two modules": {"target_modules": ["k_proj", "up_proj"]},
}


def open_backend(base: Path) -> TorchLoraBackend:
    return TorchLoraBackend(
        BackendSettings(base_folder=str(base), device="cpu", dtype="float32", threads=1, batch_max=4, context_max=128)
    )


def prompt_logits(backend: TorchLoraBackend, adapter_id: AdapterId | None) -> torch.Tensor:
    """Logits after PROMPT, through the same pass that a step makes."""
    backend.join("s", adapter_id)
    row = Row(sequence_id="s", token_ids=PROMPT, position=0, sampling=GREEDY)
    with torch.inference_mode():
        batch = build_batch((row,), {"s": 0}, {0} if adapter_id else set(), CPU)
        logits = backend._decoder.logits(batch, backend._cache, backend._stacks)
    backend.leave("s")
    return logits[0]


def generate(backend: TorchLoraBackend, adapter_id: AdapterId | None, count: int) -> list[int]:
    backend.join("s", adapter_id)
    drawn: list[int] = []
    ids, position = PROMPT, 0
    for _ in range(count):
        row = Row(sequence_id="s", token_ids=ids, position=position, sampling=GREEDY)
        position += len(ids)
        drawn.append(backend.step((row,))["s"])
        ids = (drawn[-1],)
    backend.leave("s")
    return drawn


@pytest.mark.parametrize("family", FAMILIES)
def test_base_equals_transformers(family: str, tmp_path: Path) -> None:
    base = make_base(tmp_path / "base", **{"model_type": family, **FAMILIES[family]})
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    backend = open_backend(base)
    with torch.inference_mode():
        wanted = model(torch.tensor([PROMPT])).logits[0, -1]
    assert torch.allclose(prompt_logits(backend, None), wanted, atol=1e-4)
    assert generate(backend, None, 12) == greedy(model, PROMPT, 12)


@pytest.mark.parametrize("kind", ADAPTER_KINDS)
def test_adapter_equals_peft(kind: str, tmp_path: Path) -> None:
    base = make_base(tmp_path / "base")
    folder = make_adapter(base, tmp_path / "adapter", seed=3, **ADAPTER_KINDS[kind])
    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32), folder)
    backend = open_backend(base)
    backend.load_adapter(ADAPTER, folder)
    with torch.inference_mode():
        wanted = model(torch.tensor([PROMPT])).logits[0, -1]
    found = prompt_logits(backend, ADAPTER)
    assert torch.allclose(found, wanted, atol=1e-4)
    assert not torch.allclose(found, prompt_logits(backend, None), atol=1e-2)  # the base is not served in its place
    assert generate(backend, ADAPTER, 12) == greedy(model, PROMPT, 12)


def test_adapter_of_another_shape_is_refused(tmp_path: Path) -> None:
    other = make_base(tmp_path / "other", hidden_size=24, head_dim=6)
    folder = make_adapter(other, tmp_path / "adapter", seed=3)
    backend = open_backend(make_base(tmp_path / "base"))
    with pytest.raises(AdapterRefusedError, match="maps"):
        backend.load_adapter(ADAPTER, folder)


def test_adapter_for_more_layers_is_refused(tmp_path: Path) -> None:
    deeper = make_base(tmp_path / "deeper", num_hidden_layers=3)
    folder = make_adapter(deeper, tmp_path / "adapter", seed=3)
    backend = open_backend(make_base(tmp_path / "base"))
    with pytest.raises(AdapterRefusedError, match=r"layers\.2"):
        backend.load_adapter(ADAPTER, folder)


def test_adapter_with_a_number_that_is_not_finite_is_refused(tmp_path: Path) -> None:
    base = make_base(tmp_path / "base")
    folder = make_adapter(base, tmp_path / "adapter", seed=3, scale=float("nan"))
    with pytest.raises(AdapterRefusedError, match="finite"):
        open_backend(base).load_adapter(ADAPTER, folder)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"model_type": "gpt2"}, "gpt2"),
        ({"rope_parameters": {"rope_type": "yarn", "factor": 2.0}}, "yarn"),
        ({"rope_parameters": None, "rope_scaling": {"type": "linear", "factor": 4.0}}, "linear"),
        ({"hidden_act": "gelu"}, "gelu"),
        ({"sliding_window": 64}, "sliding_window"),
        ({"quantization_config": {"bits": 4}}, "quantization_config"),
    ],
)
def test_a_variant_that_is_not_served_is_named(changes: dict[str, Any], named: str, tmp_path: Path) -> None:
    base = make_base(tmp_path / "base")
    file = base / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))
    with pytest.raises(ModelError, match=named):
        read_config(base)


def test_weights_that_are_not_whole_say_pull_again(tmp_path: Path) -> None:
    base = make_base(tmp_path / "base")
    weights = base / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(ModelError, match="pull"):
        open_backend(base)


def test_a_larger_rank_that_joins_later_leaves_the_others_alone(tmp_path: Path) -> None:
    base = make_base(tmp_path / "base")
    backend = open_backend(base)
    backend.load_adapter(ADAPTER, make_adapter(base, tmp_path / "small", seed=1, r=2))
    backend.load_adapter(AdapterId("0xbb"), make_adapter(base, tmp_path / "large", seed=2, r=9))
    alone = generate(backend, ADAPTER, 6)
    backend.join("large", AdapterId("0xbb"))
    assert generate(backend, ADAPTER, 6) == alone


def test_an_adapter_that_overflows_leaves_nothing_behind_for_whoever_gets_its_place(tmp_path: Path) -> None:
    base = make_base(tmp_path / "base")
    backend = open_backend(base)
    backend.load_adapter(ADAPTER, make_adapter(base, tmp_path / "wild", seed=1, scale=1e30))
    undisturbed = generate(open_backend(base), None, 6)
    for name, length in (("short", 3), ("long", 60)):
        backend.join(name, ADAPTER)
        backend.step((Row(sequence_id=name, token_ids=(7,) * length, position=0, sampling=None),))
    assert backend._cache.values.isnan().any(), "this is what must not stay"
    backend.leave("short")  # the long one moves into its place
    backend.leave("long")
    backend.join("longest", None)
    backend.step((Row(sequence_id="longest", token_ids=(7,) * 90, position=0, sampling=None),))
    assert generate(backend, None, 6) == undisturbed


def test_old_memory_under_the_cache_is_never_seen(tmp_path: Path) -> None:
    """Decoding beside a longer sequence reads past one's own end: masked, but multiplied."""
    base = make_base(tmp_path / "base")
    backend = open_backend(base)
    assert backend._cache.keys.count_nonzero() == 0
    assert backend._cache.values.count_nonzero() == 0


@pytest.mark.parametrize(
    "sampling", [GREEDY, SamplingParams(max_tokens=9, seed=1, top_p=0.9)], ids=["greedy", "warm"]
)
def test_a_row_whose_numbers_overflow_draws_nothing_and_harms_nobody(
    tmp_path: Path, sampling: SamplingParams
) -> None:
    base = make_base(tmp_path / "base")
    backend = open_backend(base)
    backend.load_adapter(ADAPTER, make_adapter(base, tmp_path / "wild", seed=1, scale=1e30))
    alone = generate(backend, None, 1)
    backend.join("wild", ADAPTER)
    backend.join("calm", None)
    rows = [Row(sequence_id=name, token_ids=PROMPT, position=0, sampling=GREEDY) for name in ("calm",)]
    rows.append(Row(sequence_id="wild", token_ids=PROMPT, position=0, sampling=sampling))
    assert backend.step(tuple(rows)) == {"calm": alone[0]}


def test_adding_an_adapter_of_another_shape_is_refused_before_it_is_on_the_shelf(tmp_path: Path) -> None:
    other = make_base(tmp_path / "other", hidden_size=24, head_dim=6)
    folder = make_adapter(other, tmp_path / "adapter", seed=3)
    base, home = describe_folder(make_base(tmp_path / "base")), Home(tmp_path / "home")
    with pytest.raises(AdapterRefusedError, match="maps"):
        add_adapter(home, folder, base)
    assert list_adapters(home) == []


def test_a_large_rank_is_no_longer_paid_for_when_it_has_left(tmp_path: Path) -> None:
    base = make_base(tmp_path / "base")
    backend = open_backend(base)
    backend.load_adapter(ADAPTER, make_adapter(base, tmp_path / "small", seed=1, r=2))
    backend.load_adapter(AdapterId("0xbb"), make_adapter(base, tmp_path / "large", seed=2, r=16))
    alone = generate(backend, ADAPTER, 6)
    backend.join("large", AdapterId("0xbb"))
    backend.join("small", ADAPTER)
    assert backend._stacks._rank == 16
    backend.leave("large")
    assert backend._stacks._rank == 2
    assert generate(backend, ADAPTER, 6) == alone
    backend.leave("small")
    assert backend._stacks._rank == 0
