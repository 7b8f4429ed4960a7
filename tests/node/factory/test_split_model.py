from pathlib import Path
from typing import Any

import pytest
import torch
from support.tiny import make_base
from torch.nn.functional import cross_entropy
from transformers import AutoModelForCausalLM

from openledger_node.factory.trainers import split_model
from openledger_node.factory.trainers.examples import Example
from openledger_node.factory.trainers.split_model import SplitModel

EXAMPLES = [
    Example(prompt_ids=(5, 6, 7), completion_ids=(8, 9)),
    Example(prompt_ids=(40,), completion_ids=(41, 42, 43, 44, 0)),
    Example(prompt_ids=tuple(range(100, 120)), completion_ids=(1, 0)),
]


GEMMA = {"sliding_window": 6, "query_pre_attn_scalar": 20}
BASES: dict[str, dict[str, Any]] = {
    "llama": {},
    "mistral": {"sliding_window": 6},
    "qwen2": {"use_sliding_window": True, "sliding_window": 6, "max_window_layers": 1},
    "qwen3": {},
    "gemma2": {**GEMMA, "attn_logit_softcapping": 2.0, "final_logit_softcapping": 3.0},
    "gemma3_text": {**GEMMA, "layer_types": ["sliding_attention", "full_attention"]},
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
@pytest.mark.parametrize("first_adapted", [0, 1, 2])
def test_losses_in_a_padded_batch_are_those_of_the_whole_model(model: Any, first_adapted: int) -> None:
    split = SplitModel(model, first_adapted)
    expected = torch.cat([losses_by_transformers(model, example) for example in EXAMPLES])
    torch.testing.assert_close(split.token_losses(EXAMPLES), expected, rtol=1e-4, atol=1e-4)
    assert split.mean_loss([EXAMPLES[:1], EXAMPLES[1:]]) == pytest.approx(expected.mean().item(), rel=1e-4)


@torch.no_grad()
def test_rows_that_are_not_kept_pass_the_lower_layers_again(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = SplitModel(model, 1)
    expected = [kept.token_losses(EXAMPLES) for _ in range(2)]
    first_row_bytes = len(EXAMPLES[0].ids) * model.config.hidden_size * 4
    monkeypatch.setattr(split_model, "KEPT_BYTES_MAX", first_row_bytes)
    tight = SplitModel(model, 1)
    for losses in expected:
        torch.testing.assert_close(tight.token_losses(EXAMPLES), losses)
    assert list(tight._kept) == EXAMPLES[:1]
