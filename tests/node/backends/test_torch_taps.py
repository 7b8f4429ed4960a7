"""Taps of the torch backend: the adapter's own numbers, the same while answering and in a replay."""

from pathlib import Path

import numpy as np
import pytest
import torch
from node.backends.tapped_steps import ANSWER, PROMPT, replayed, stepped
from numpy.typing import NDArray
from peft import PeftModel
from support.batches import load, source_of
from support.tiny import make_adapter, make_base
from support.torch_bases import cpu_settings, row

from openledger_node.backends.torch_lora.backend import TorchLoraBackend
from openledger_node.engine.taps import TOP_TOKENS
from openledger_node.models.causal_lm import open_causal_lm
from openledger_protocol.primitives import AdapterId

FULL, PART = AdapterId("0xaa"), AdapterId("0xbb")
MODULES = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("taps")
    base = make_base(root / "base")
    make_adapter(base, root / FULL, seed=1)
    make_adapter(base, root / PART, seed=2, r=3, target_modules=["q_proj", "down_proj"])
    return root


def open_tapping(folder: Path, *, merge_after_steps: int = 0, dtype: str = "float32") -> TorchLoraBackend:
    backend = TorchLoraBackend(cpu_settings(folder / "base", dtype=dtype, merge_after_steps=merge_after_steps))
    load(backend, source_of(folder, FULL))
    load(backend, source_of(folder, PART))
    return backend


def activations_of_peft(folder: Path, adapter_id: AdapterId) -> NDArray[np.float32]:
    """A·x of every map by hooks on PEFT's own modules, in our order, before each token of ANSWER."""
    model = PeftModel.from_pretrained(open_causal_lm(folder / "base", torch.float32), folder / adapter_id)
    found: dict[tuple[int, int], torch.Tensor] = {}
    for name, module in model.named_modules():
        parts = name.split(".")
        if parts[-2:] == ["lora_A", "default"]:
            place = int(parts[parts.index("layers") + 1]), MODULES.index(parts[-3])
            module.register_forward_hook(lambda _m, _i, output, place=place: found.update({place: output[0]}))
    with torch.inference_mode():
        model(torch.tensor([PROMPT + ANSWER[:-1]]))
    numbers: NDArray[np.float32] = torch.cat([found[place] for place in sorted(found)], dim=1).numpy()
    return numbers[len(PROMPT) - 1 :]


@pytest.mark.parametrize("adapter_id", [FULL, PART])
def test_activations_are_those_of_peft_map_by_map(folder: Path, adapter_id: AdapterId) -> None:
    taps = stepped(open_tapping(folder), adapter_id)
    assert taps.num_tokens == len(ANSWER)
    np.testing.assert_allclose(taps.activations, activations_of_peft(folder, adapter_id), atol=1e-4)


@pytest.mark.parametrize("adapter_id", [FULL, PART])
@pytest.mark.parametrize("mates", [(), (FULL, None, PART)])
def test_a_replay_yields_the_taps_of_the_steps_whoever_shared_them(
    folder: Path, adapter_id: AdapterId, mates: tuple[AdapterId | None, ...]
) -> None:
    backend = open_tapping(folder)
    steps, replay = stepped(backend, adapter_id, *mates), replayed(backend, adapter_id)
    np.testing.assert_allclose(replay.activations, steps.activations, atol=1e-4)
    np.testing.assert_allclose(replay.top_logits, steps.top_logits, atol=1e-4)
    assert (replay.top_ids[:, 0] == steps.top_ids[:, 0]).all()


def test_log_probabilities_are_those_of_the_logits(folder: Path) -> None:
    backend = open_tapping(folder)
    backend.join("s", FULL)
    found = backend.replay(row("s", PROMPT, draw=None), ANSWER[:1])
    [logits] = backend.logits((row("s", PROMPT),))
    backend.leave("s")
    expected = logits.log_softmax(dim=0)
    assert found.logprobs[0] == pytest.approx(expected[ANSWER[0]].item(), abs=1e-5)
    assert found.taps.top_ids.shape == found.taps.top_logits.shape == (1, TOP_TOKENS)
    top = logits[torch.from_numpy(found.taps.top_ids[0]).long()]
    np.testing.assert_allclose(found.taps.top_logits[0], top.numpy(), atol=1e-5)
    assert (np.diff(found.taps.top_logits[0]) <= 0).all()


def test_a_merged_adapter_is_tapped_beside_the_base_again(folder: Path) -> None:
    plain, merging = open_tapping(folder), open_tapping(folder, merge_after_steps=1)
    merging.join("m", FULL)
    for position in range(4):
        merging.step((row("m", (9,), position, first=24),))
    merging.leave("m")
    np.testing.assert_allclose(stepped(merging, FULL).activations, stepped(plain, FULL).activations, atol=1e-4)
