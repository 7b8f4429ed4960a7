"""Bases of other architectures, through transformers' own model, against PEFT in float32."""

from dataclasses import replace
from itertools import combinations, count
from pathlib import Path
from typing import Any

import pytest
import torch
from node.backends.narrow_checkpoints import change_config
from peft import PeftModel
from support.tiny import greedy, make_adapter, make_base, make_tokenizer
from support.torch_bases import cpu_settings, row
from transformers import AutoConfig, AutoModelForCausalLM

from openledger_node.backends.transformers_lora.backend import TransformersBackend
from openledger_node.engine.backend import BatchRow, Drawn
from openledger_node.errors import ModelError
from openledger_node.models.adapter_source import AdapterSource
from openledger_node.plugs import load_plug
from openledger_protocol.errors import AdapterRefusedError
from openledger_protocol.primitives import AdapterId

PROMPT = tuple(range(5, 45))
SETTINGS = cpu_settings(None, acceleration="off")

GPT2: dict[str, Any] = {"model_type": "gpt2", "n_embd": 48, "n_layer": 2, "n_head": 4, "n_positions": 256}
BASES: dict[str, tuple[dict[str, Any], list[str]]] = {
    "gpt2": (GPT2, ["c_attn", "c_proj", "c_fc"]),
    "gpt_neox": ({"model_type": "gpt_neox", "num_key_value_heads": 4}, ["query_key_value", "dense", "dense_h_to_4h"]),
    "starcoder2": ({"model_type": "starcoder2", "sliding_window": 16}, ["q_proj", "c_fc"]),
}


def make_other(folder: Path, changes: dict[str, Any]) -> Path:
    if changes["model_type"] != "gpt2":
        return make_base(folder, **changes)
    torch.manual_seed(0)
    ends = {"vocab_size": 260, "initializer_range": 0.3, "bos_token_id": None, "eos_token_id": 0}
    sizes = {name: value for name, value in changes.items() if name != "model_type"}
    AutoModelForCausalLM.from_config(AutoConfig.for_model("gpt2", **sizes, **ends)).save_pretrained(folder)
    make_tokenizer(folder)
    return folder


def open_backend(base: Path, **changes: Any) -> TransformersBackend:
    backend = load_plug("backend", "torch_lora")(replace(SETTINGS, base_folder=str(base), **changes))
    assert isinstance(backend, TransformersBackend)
    return backend


def load(backend: TransformersBackend, folder: Path) -> AdapterId:
    adapter_id = AdapterId(folder.name)
    source = AdapterSource(id=adapter_id, folder=str(folder))
    backend.load_adapter(adapter_id, backend.read_adapter(source))
    return adapter_id


def generate(backend: TransformersBackend, adapters: dict[str, AdapterId | None], count: int) -> dict[str, list[int]]:
    """Run PROMPT on several adapters at once, in two pieces, then decode."""
    for name, adapter_id in adapters.items():
        backend.join(name, adapter_id)
    backend.step(tuple(row(name, PROMPT[:23], draw=None) for name in adapters))
    drawn: dict[str, list[int]] = {name: [] for name in adapters}
    rows = [row(name, PROMPT[23:], 23) for name in adapters]
    for _ in range(count):
        for name, found in backend.step(tuple(rows)).items():
            drawn[name].append(found.token)
        rows = [row(name, (ids[-1],), len(PROMPT) + len(ids) - 1) for name, ids in drawn.items()]
    for name in adapters:
        backend.leave(name)
    return drawn


@pytest.mark.parametrize("family", BASES)
def test_a_mixed_batch_equals_peft(family: str, tmp_path: Path) -> None:
    changes, targets = BASES[family]
    base = make_other(tmp_path / "base", changes)
    flipped = {"fan_in_fan_out": True} if family == "gpt2" else {}
    changed = {"target_modules": targets, **flipped}
    folders = [
        make_adapter(base, tmp_path / f"a{n}", seed=n, r=3 + n, use_dora=n == 1 and not flipped, **changed)
        for n in range(2)
    ]
    backend = open_backend(base)
    adapters: dict[str, AdapterId | None] = {"base": None} | {
        folder.name: load(backend, folder) for folder in folders
    }
    found, seen = generate(backend, adapters, 10), []
    for name in adapters:
        model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
        if name != "base":
            model = PeftModel.from_pretrained(model, tmp_path / name)
        assert found[name] == greedy(model, PROMPT, 10)
        backend.join("s", adapters[name])
        logits = backend.logits((row("s", PROMPT),))[0]
        backend.leave("s")
        with torch.inference_mode():
            assert torch.allclose(logits, model(torch.tensor([PROMPT])).logits[0, -1], atol=1e-4)
        seen.append(logits)
    assert not any(torch.allclose(one, other, atol=1e-2) for one, other in combinations(seen, 2))


def test_a_step_that_failed_may_come_again_and_changes_no_token(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = open_backend(make_other(tmp_path / "base", BASES["starcoder2"][0]))
    names: dict[str, AdapterId | None] = dict.fromkeys("abc")
    undisturbed = generate(backend, names, 4)
    forward, calls = backend._model.forward, count()

    def fail_now_and_then(*args: Any, **given: Any) -> Any:
        found = forward(*args, **given)
        if next(calls) % 5 == 4:  # when the row's own keys and values are written
            raise MemoryError
        return found

    def step(rows: tuple[BatchRow, ...]) -> dict[str, Drawn]:
        try:
            return TransformersBackend.step(backend, rows)
        except MemoryError:
            return step(rows)

    monkeypatch.setattr(backend._model, "forward", fail_now_and_then)
    monkeypatch.setattr(backend, "step", step)
    assert generate(backend, names, 4) == undisturbed


def test_an_adapter_of_another_architecture_or_size_is_refused_by_its_module(tmp_path: Path) -> None:
    backend = open_backend(make_other(tmp_path / "base", GPT2))
    other = make_adapter(make_base(tmp_path / "llama"), tmp_path / "other", seed=1)
    with pytest.raises(AdapterRefusedError, match=r"model\.layers\.0.*no such linear map"):
        load(backend, other)
    wider = make_other(tmp_path / "wider", {**GPT2, "n_embd": 64})
    wide = make_adapter(wider, tmp_path / "wide", seed=1, target_modules=["c_attn"], fan_in_fan_out=True)
    with pytest.raises(AdapterRefusedError, match="in the base it maps"):
        load(backend, wide)


def test_a_base_that_nobody_knows_is_refused_by_name(tmp_path: Path) -> None:
    base = make_base(tmp_path / "base")
    change_config(base, model_type="unheard-of")
    with pytest.raises(ModelError, match="opens base"):
        open_backend(base)
