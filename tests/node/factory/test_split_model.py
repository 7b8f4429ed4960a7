from pathlib import Path
from typing import Any

import pytest
import torch
from support.tiny import make_base
from torch import Tensor
from torch.nn.functional import cross_entropy
from transformers import AutoModelForCausalLM

from openledger_node.factory.estimate import RowTokens, memory
from openledger_node.factory.job import TrainingJob
from openledger_node.factory.trainers import split_model
from openledger_node.factory.trainers.examples import Example
from openledger_node.factory.trainers.peft_lora import adapt, choose_targets
from openledger_node.factory.trainers.split_model import SplitModel
from openledger_node.models.decoder_config import read_config

EXAMPLES = [
    Example(prompt_ids=(5, 6, 7), completion_ids=(8, 9)),
    Example(prompt_ids=(40,), completion_ids=(41, 42, 43, 44, 0)),
    Example(prompt_ids=tuple(range(100, 120)), completion_ids=(1, 0)),
]


GEMMA = {"sliding_window": 6, "query_pre_attn_scalar": 20}
BASES: dict[str, dict[str, Any]] = {
    "llama": {},
    "qwen2": {"use_sliding_window": True, "sliding_window": 6, "max_window_layers": 1},
    "gemma2": {**GEMMA, "attn_logit_softcapping": 2.0, "final_logit_softcapping": 3.0},
    "phi3": {"sliding_window": 6},
}


@pytest.fixture(params=BASES)
def model(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    folder = make_base(tmp_path, model_type=request.param, **BASES[request.param])
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()


def losses_by_transformers(model: Any, example: Example) -> torch.Tensor:
    logits = model(torch.tensor([example.ids])).logits[0]
    first = len(example.prompt_ids)
    return cross_entropy(logits[first - 1 : -1], torch.tensor(example.completion_ids), reduction="none")


@torch.no_grad()
@pytest.mark.parametrize("first_adapted", [0, 1])
def test_losses_in_a_padded_batch_are_those_of_the_whole_model(model: Any, first_adapted: int) -> None:
    split = SplitModel(model, first_adapted)
    expected = torch.cat([losses_by_transformers(model, example) for example in EXAMPLES])
    torch.testing.assert_close(split.token_losses(EXAMPLES), expected, rtol=1e-4, atol=1e-4)
    assert split.mean_loss([EXAMPLES[:1], EXAMPLES[1:]]) == pytest.approx(expected.mean().item(), rel=1e-4)


def test_what_a_training_keeps_for_its_backward_pass_is_within_the_estimate(model: Any, tmp_path: Path) -> None:
    job = TrainingJob(name="kept", rank=2, layers=0, epochs=1, batch_size=2, device="cpu")
    example = Example(prompt_ids=tuple(range(5, 200)), completion_ids=tuple(range(5, 66)))
    adapted = adapt(model, job, choose_targets(model, tmp_path, 0))
    known = {weight.untyped_storage().data_ptr() for weight in adapted.parameters()}
    kept: dict[int, Tensor] = {}

    def keep(tensor: Tensor) -> Tensor:
        kept.setdefault(tensor.untyped_storage().data_ptr(), tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        SplitModel(model, 0).token_losses([example, example])
    kept_bytes = sum(tensor.untyped_storage().nbytes() for at, tensor in kept.items() if at not in known)
    rows = RowTokens(num_rows=2, total=512, longest=256, longest_completion=61)
    assert kept_bytes < memory(job, read_config(tmp_path), rows, weight_bytes=4).activations < 3 * kept_bytes


@torch.no_grad()
def test_groups_that_memory_does_not_hold_pass_the_lower_layers_again(
    model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    groups = [EXAMPLES[:1], EXAMPLES[1:]]
    kept = SplitModel(model, 1, groups)
    expected = [kept.token_losses(EXAMPLES) for _ in range(2)]
    assert set(kept._kept) == set(EXAMPLES)
    first_row_bytes = len(EXAMPLES[0].ids) * model.config.hidden_size * 4
    monkeypatch.setattr(split_model, "KEPT_BYTES_MAX", first_row_bytes)
    tight = SplitModel(model, 1, groups)
    for losses in expected:
        torch.testing.assert_close(tight.token_losses(EXAMPLES), losses)
    assert list(tight._kept) == EXAMPLES[:1]


@torch.no_grad()
def test_a_row_gives_the_same_bits_whichever_batch_came_first(model: Any) -> None:
    groups = [EXAMPLES[:2], EXAMPLES[2:]]
    first, second = (SplitModel(model, 1, groups) for _ in range(2))
    expected = first.token_losses(EXAMPLES)
    second.token_losses([EXAMPLES[2], EXAMPLES[0]])  # as a later process begins, in the middle of an epoch
    assert torch.equal(second.token_losses(EXAMPLES), expected)
