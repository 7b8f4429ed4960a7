"""A base in 4 bits for training: its numbers are those that are served, and no wide copy of it stays in memory."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from gguf import GGMLQuantizationType
from node.backends.narrow_checkpoints import FORMATS, write_checkpoint
from peft import PeftModel
from support.tiny import make_base, make_seeing_base
from support.tiny_gguf import make_gguf_base
from support.torch_bases import ADAPTER, PROMPT, load, logits, open_backend, wanted_logits
from torch import Tensor
from torch.nn.functional import linear
from transformers import AutoModelForCausalLM

from openledger_node.backends.torch_lora import group_matrix
from openledger_node.backends.torch_lora.group_matrix import GroupMatrix
from openledger_node.backends.torch_lora.quantised import quantise
from openledger_node.factory.estimate import base_bytes
from openledger_node.factory.job import Method, TrainingJob
from openledger_node.factory.trainer import TrainingInput, TrainingResult
from openledger_node.factory.trainers.examples import Example
from openledger_node.factory.trainers.narrow_base import (
    NarrowEmbedding,
    NarrowLinear,
    NarrowProduct,
    open_narrow_base,
)
from openledger_node.factory.trainers.peft_lora import adapt, choose_targets, open_trainer
from openledger_node.factory.trainers.split_model import SplitModel, text_model
from openledger_node.models.adapters import artifact_digest
from openledger_node.models.bases import Base, describe_folder
from openledger_node.models.decoder_config import read_config

from .conftest import ROWS

CPU = torch.device("cpu")
JOB = TrainingJob(name="numbers", rank=2, layers=1, epochs=4, batch_size=8, device="cpu", quantisation="int4")
GEMMA = {"sliding_window": 9, "query_pre_attn_scalar": 20, "num_hidden_layers": 3}
FAMILIES: dict[str, dict[str, Any]] = {
    "qwen2": {},  # with biases
    "gemma2": GEMMA,  # with a scaled embedding
    "phi3": {"sliding_window": 9},  # with fused maps
}


@pytest.fixture
def base(tmp_path: Path) -> Base:
    return describe_folder(make_base(tmp_path / "tiny", num_hidden_layers=3))


def served_logits(folder: Path, quantisation: str, adapter: Path | None = None) -> Tensor:
    backend = open_backend(folder, quantisation=quantisation, context_max=64)
    if adapter:
        load(backend, adapter)
    return logits(backend, ADAPTER if adapter else None)


def train(base: Base, folder: Path, **changes: Any) -> tuple[TrainingResult, Path]:
    folder.mkdir()
    given = TrainingInput(job=replace(JOB, **changes), rows=ROWS, held_out=ROWS[:2], base=base, folder=folder)
    return open_trainer().train(given, lambda _: None), folder


# ---- Numbers


@pytest.mark.parametrize("quantisation", ["int4", "int8"])
@pytest.mark.parametrize("numbers_at_once", [1, 10**6])
def test_outputs_and_gradients_are_those_of_the_widened_map(
    quantisation: str, numbers_at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(group_matrix.NUMBERS_AT_ONCE, "cpu", numbers_at_once)
    torch.manual_seed(1)
    matrix = quantise(torch.randn(48, 32), quantisation)
    assert isinstance(matrix, GroupMatrix)
    inputs, above = torch.randn(2, 5, 32, requires_grad=True), torch.randn(2, 5, 48)
    ours = NarrowProduct.apply(inputs, matrix)  # type: ignore[no-untyped-call]
    wanted = linear(inputs, matrix.wide())
    torch.testing.assert_close(ours, wanted)
    torch.testing.assert_close(
        torch.autograd.grad(ours, inputs, above)[0], torch.autograd.grad(wanted, inputs, above)[0]
    )


@pytest.mark.parametrize("family", [*FAMILIES, "gemma3"])
def test_a_base_answers_as_it_is_served_in_this_format(family: str, tmp_path: Path) -> None:
    """So embedding, norms, biases and head are the right ones, too."""
    if family == "gemma3":  # whose part that takes images is left out
        folder = make_seeing_base(tmp_path / "b")
    else:
        folder = make_base(tmp_path / "b", model_type=family, **FAMILIES[family])
    found = wanted_logits(open_narrow_base(folder, CPU, torch.float32))
    torch.testing.assert_close(found, served_logits(folder, "int4"), rtol=1e-4, atol=1e-4)
    assert not torch.allclose(found, served_logits(folder, "none"), atol=1e-2), "numbers were narrowed"


def test_a_gguf_base_keeps_the_numbers_of_its_file(tmp_path: Path) -> None:
    """The demo base is such a file, in Q4_1."""
    wide = make_base(tmp_path / "wide", hidden_size=64, intermediate_size=96, head_dim=16)
    gguf = make_gguf_base(wide, tmp_path / "gguf", type_of=lambda _: GGMLQuantizationType.Q4_1)
    model = open_narrow_base(gguf, CPU, torch.float32)
    torch.testing.assert_close(wanted_logits(model), served_logits(gguf, "none"), rtol=1e-4, atol=1e-4)
    _, adapter = train(describe_folder(gguf), tmp_path / "out", learning_rate=0.05)
    assert (adapter / "adapter_model.safetensors").exists()


@pytest.mark.parametrize("kind", ["awq", "nf4, nested"])
def test_a_base_that_is_stored_narrow_is_trained_on_as_it_is(kind: str, tmp_path: Path) -> None:
    narrow, twin = write_checkpoint(tmp_path / "b", FORMATS[kind])
    model = open_narrow_base(narrow, CPU, torch.float32)
    maps = [each for name, each in text_model(model).named_modules() if isinstance(each, NarrowLinear)]
    wide = AutoModelForCausalLM.from_pretrained(twin, dtype=torch.float32)
    state = wide.state_dict()
    assert len(maps) == 14
    for name, each in model.named_modules():
        if isinstance(each, NarrowLinear) and name != "lm_head":
            torch.testing.assert_close(each.weight, state[f"{name}.weight"], rtol=1e-5, atol=1e-6)
    result, _ = train(describe_folder(narrow), tmp_path / "out", learning_rate=0.05)
    assert result.loss_after < result.loss_before


# ---- Memory


def test_a_base_in_memory_has_the_bytes_of_the_estimate(tmp_path: Path) -> None:
    folder = make_base(tmp_path / "b", hidden_size=256, intermediate_size=512, head_dim=64)
    model, config = open_narrow_base(folder, CPU, torch.float32), read_config(folder)
    widened = base_bytes(JOB, replace(config, num_layers=0, vocab_size=0), weight_bytes=4)
    narrow = [each for each in model.modules() if isinstance(each, NarrowLinear | NarrowEmbedding)]
    narrow_bytes = sum({id(each.matrix): each.matrix.size_bytes for each in narrow}.values())  # one may be shared
    assert narrow_bytes == pytest.approx(base_bytes(JOB, config, weight_bytes=4) - widened, rel=0.05)
    wide = base_bytes(replace(JOB, quantisation="none"), config, weight_bytes=4)
    assert narrow_bytes < wide / 5
    assert sum(weight.nbytes for weight in model.parameters()) < wide / 50, "only norms are wide"


@pytest.mark.parametrize("changes", [{"method": "rslora", "dropout": 0.5}, {"method": "dora", "dropout": 0.5}])
def test_nothing_wide_of_the_base_is_kept_for_the_backward_pass(tmp_path: Path, changes: dict[str, Any]) -> None:
    job = replace(JOB, layers=0, **changes)
    folder = make_base(tmp_path / "b", head_dim=16)  # without square maps, whose shape other tensors have, too
    model = open_narrow_base(folder, CPU, torch.float32)
    adapted = adapt(model, job, choose_targets(model, folder, 0))
    for module in adapted.modules():
        if isinstance(module, torch.nn.Dropout):
            module.train()
    shapes = {each.matrix.shape for each in model.modules() if isinstance(each, NarrowLinear | NarrowEmbedding)}
    own = {tuple(weight.shape) for weight in adapted.parameters()}
    kept: list[tuple[int, ...]] = []

    def keep(tensor: Tensor) -> Tensor:
        kept.append(tuple(tensor.shape))
        return tensor

    split = SplitModel(model, 0, recomputes=job.method == "dora" and job.dropout > 0)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        losses = split.token_losses([Example(prompt_ids=PROMPT, completion_ids=(1, 2, 0))])
    losses.mean().backward()  # type: ignore[no-untyped-call]
    assert kept
    wide = shapes | {shape[::-1] for shape in shapes}
    assert not {shape for shape in kept if shape in wide} - own
    assert all(weight.grad is not None for weight in adapted.parameters() if weight.requires_grad)


# ---- Training


@pytest.mark.parametrize("method", ["rslora", "dora"])
def test_an_adapter_learns_and_is_served_above_the_same_numbers(base: Base, tmp_path: Path, method: Method) -> None:
    result, adapter = train(base, tmp_path / "out", method=method, layers=2, learning_rate=0.05)
    assert result.loss_after < 0.95 * result.loss_before
    folder = base.folder
    adapted = PeftModel.from_pretrained(open_narrow_base(folder, CPU, torch.float32), str(adapter)).eval()
    torch.testing.assert_close(served_logits(folder, "int4", adapter), wanted_logits(adapted), rtol=1e-4, atol=1e-4)


def test_a_training_with_gradient_checkpointing_writes_the_same_bytes(base: Base, tmp_path: Path) -> None:
    _, plain = train(base, tmp_path / "plain", layers=2, dropout=0.5)
    _, again = train(base, tmp_path / "again", layers=2, dropout=0.5, gradient_checkpointing=True)
    assert artifact_digest(again) == artifact_digest(plain)
