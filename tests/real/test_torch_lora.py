"""The torch reference on the demo base, in float32, against PEFT and against itself alone."""

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from support.depth import depth
from support.tiny import make_adapter

from openledger_node.backends.torch_lora.backend import TorchLoraBackend
from openledger_node.engine.backend import BackendSettings, BatchRow, Draw
from openledger_node.models.adapter_source import AdapterSource
from openledger_node.models.causal_lm import open_causal_lm
from openledger_protocol.inference import SamplingParams
from openledger_protocol.primitives import AdapterId

pytestmark = pytest.mark.real

GREEDY = SamplingParams(max_tokens=100, seed=1, temperature=0)
KINDS: dict[str, dict[str, Any]] = {
    "0x08": {"r": 8},
    "0x16": {"r": 16, "use_rslora": True},
    "0x64": {"r": 64, "target_modules": ["q_proj", "v_proj"]},
    "0xd0": {"r": 8, "use_dora": True},
}
PROMPTS = [tuple(range(1000 + 37 * n, 1000 + 37 * n + 5 + n % 11)) for n in range(32)]
TABLE_BLOCKS = 2
NUM_TOKENS = depth(light=4, deep=8)
NUM_ALONE = depth(light=5, deep=8)  # one of each kind, and the base


@pytest.fixture(scope="module")
def folders(demo_base: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("adapters")
    return {
        name: make_adapter(demo_base, root / name, seed=n, scale=0.02, **kind)
        for n, (name, kind) in enumerate(KINDS.items())
    }


@pytest.fixture(scope="module")
def backend(demo_base: Path, folders: dict[str, Path]) -> TorchLoraBackend:
    settings = BackendSettings(
        base_folder=str(demo_base), device="cpu", dtype="float32", threads=2, batch_max=32, context_max=64
    )
    opened = TorchLoraBackend(settings)
    for name, folder in folders.items():
        source = AdapterSource(id=AdapterId(name), folder=str(folder))
        opened.load_adapter(source.id, opened.read_adapter(source))
    return opened


def row(number: int, ids: tuple[int, ...], position: int) -> BatchRow:
    blocks = tuple(range(number * TABLE_BLOCKS, (number + 1) * TABLE_BLOCKS))
    draw = Draw(sampling=GREEDY, position=position + len(ids))
    return BatchRow(sequence_id=str(number), token_ids=ids, position=position, blocks=blocks, draw=draw)


def adapter_of(number: int) -> AdapterId | None:
    return AdapterId(list(KINDS)[number % 5]) if number % 5 < len(KINDS) else None


def generate(backend: TorchLoraBackend, numbers: list[int]) -> dict[int, list[int]]:
    for number in numbers:
        backend.join(str(number), adapter_of(number))
    drawn: dict[int, list[int]] = {number: [] for number in numbers}
    rows = [row(number, PROMPTS[number], 0) for number in numbers]
    for _ in range(NUM_TOKENS):
        found = backend.step(tuple(rows))
        for number in numbers:
            drawn[number].append(found[str(number)].token)
        rows = [row(n, (drawn[n][-1],), len(PROMPTS[n]) + len(drawn[n]) - 1) for n in numbers]
    for number in numbers:
        backend.leave(str(number))
    return drawn


def test_tokens_are_the_same_alone_and_among_thirty_one_mates(backend: TorchLoraBackend) -> None:
    together = generate(backend, list(range(32)))
    for number in range(NUM_ALONE):
        assert generate(backend, [number]) == {number: together[number]}


@pytest.mark.parametrize("name", KINDS)
def test_logits_are_those_of_peft(
    backend: TorchLoraBackend, demo_base: Path, folders: dict[str, Path], name: str
) -> None:
    model = PeftModel.from_pretrained(open_causal_lm(demo_base, torch.float32), folders[name])
    backend.join("0", AdapterId(name))
    found = backend.logits((row(0, PROMPTS[10], 0),))[0]
    backend.leave("0")
    with torch.inference_mode():
        wanted = model(torch.tensor([PROMPTS[10]])).logits[0, -1]
    assert (found - wanted).abs().max() < 1e-4
