"""The torch backend in float32: what it refuses, mixed batches, overflow, packed files and merging."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from node.backends.narrow_checkpoints import change_config
from support.plain_adapter import write_adapter
from support.tiny import make_adapter, make_base
from support.torch_bases import ADAPTER, PROMPT, generate, load, logits, open_backend, row

from openledger_node.backends.torch_lora.merging import MergePolicy
from openledger_node.errors import ModelError
from openledger_node.home import Home
from openledger_node.models.adapters import add_adapter
from openledger_node.models.bases import describe_folder
from openledger_node.models.decoder_config import OtherDecoderError, read_config
from openledger_node.models.library import list_adapters
from openledger_protocol.errors import AdapterRefusedError
from openledger_protocol.inference import SamplingParams
from openledger_protocol.primitives import AdapterId


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_base(tmp_path_factory.mktemp("torch") / "base")


def test_an_adapter_of_another_shape_or_for_more_layers_or_with_a_number_that_is_not_finite_is_refused(
    base: Path, tmp_path: Path
) -> None:
    backend = open_backend(base)
    other = make_base(tmp_path / "other", hidden_size=24, head_dim=6)
    deeper = make_base(tmp_path / "deeper", num_hidden_layers=3)
    for number, (made_for, scale, refusal) in enumerate(
        ((other, 0.3, "maps"), (deeper, 0.3, r"layers\.2"), (base, float("nan"), "finite"))
    ):
        folder = make_adapter(made_for, tmp_path / str(number), seed=3, scale=scale)
        with pytest.raises(AdapterRefusedError, match=refusal):
            load(backend, folder)
    with pytest.raises(AdapterRefusedError, match="maps"):
        add_adapter(home := Home(tmp_path / "home"), tmp_path / "0", describe_folder(base))
    assert list_adapters(home) == []


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"model_type": "gpt2"}, "gpt2"),
        ({"rope_parameters": None, "rope_scaling": {"type": "dynamic", "factor": 4.0}}, "dynamic"),
        ({"hidden_act": "gelu"}, "gelu"),
        ({"layer_types": ["full_attention", "linear_attention"]}, "linear_attention"),
        ({"use_bidirectional_attention": True}, "use_bidirectional_attention"),
    ],
)
def test_a_variant_that_is_not_served_is_named(changes: dict[str, Any], named: str, tmp_path: Path) -> None:
    base = make_base(tmp_path / "base")
    change_config(base, **changes)
    with pytest.raises(OtherDecoderError, match=named):
        read_config(base)


@pytest.mark.parametrize(
    ("config", "named"),
    [
        ({"model_type": "qwen3_moe", "num_experts": 128}, "'qwen3_moe' model with a mixture of experts"),
        ({"model_type": "deepseek_v3", "kv_lora_rank": 512}, "'deepseek_v3' model with multi-head latent attention"),
        ({"model_type": "mamba", "state_size": 16}, "'mamba' model with state-space layers"),
        ({"model_type": "gpt2"}, "a 'gpt2' model, not one of llama, mistral,"),
    ],
)
def test_an_architecture_that_is_not_here_is_named_with_the_backends_that_may_have_it(
    config: dict[str, Any], named: str, tmp_path: Path
) -> None:
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(OtherDecoderError, match=re.escape(named)) as refusal:
        read_config(tmp_path)
    assert all(backend in str(refusal.value) for backend in ("transformers_lora", '"vllm"', '"llamacpp"'))


def test_weights_that_are_not_whole_say_pull_again(tmp_path: Path) -> None:
    base = make_base(tmp_path / "base")
    weights = base / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(ModelError, match="pull"):
        open_backend(base)


def test_rows_with_and_without_dora_share_a_batch(tmp_path: Path) -> None:
    base = make_base(tmp_path / "base", attention_bias=True)
    backend = open_backend(base)
    ids = [AdapterId(f"0x{n}") for n in range(3)]
    for number, adapter_id in enumerate(ids):
        load(backend, make_adapter(base, tmp_path / adapter_id, seed=number, use_dora=number > 0), adapter_id)
    alone = [logits(backend, adapter_id) for adapter_id in [*ids, None]]
    for name, adapter_id in zip("abcd", [*ids, None], strict=True):
        backend.join(name, adapter_id)
    together = backend.logits(tuple(row(name, PROMPT, first=8 * n) for n, name in enumerate("abcd")))
    assert torch.allclose(together, torch.stack(alone), atol=1e-5)


def test_an_adapter_that_overflows_leaves_nothing_behind_in_its_blocks(base: Path, tmp_path: Path) -> None:
    backend = open_backend(base)
    load(backend, make_adapter(base, tmp_path / "wild", seed=1, scale=1e30))
    undisturbed = generate(open_backend(base), None, 12)
    backend.join("wild", ADAPTER)
    backend.step((row("wild", (7,) * 128, draw=None),))
    assert backend._cache._blocks.isnan().any(), "this is what must not spread"
    backend.leave("wild")
    backend.join("long", None)
    for position in range(0, 96, 12):  # decodes beside it later, so that the short one is padded
        backend.step((row("long", (7,) * 12, position=position, first=8, draw=None),))
    assert generate(backend, None, 12) == undisturbed


def test_stacks_stay_within_twice_the_batch_and_those_that_shrink_go_on_as_before(base: Path, tmp_path: Path) -> None:
    batch_max = 4
    backend = open_backend(base, batch_max=batch_max)
    alone: dict[str, list[float]] = {}
    for rank in range(1, batch_max + 1):  # each time a full batch, of which one stays, in the last place
        names = [f"{rank}-{number}" for number in range(batch_max + 1 - rank)]
        for number, name in enumerate(names):
            adapter_id = AdapterId(f"0x{name}")
            folder = write_adapter(
                base, tmp_path / name, seed=rank + 10 * number, r=rank, targets=("q_proj", "up_proj")
            )
            load(backend, folder, adapter_id)
            alone[name] = logits(backend, adapter_id).tolist()
            backend.join(name, adapter_id)
        for name in names[:-1]:
            backend.leave(name)
            backend.unload_adapter(AdapterId(f"0x{name}"))
        assert sum(stack.num_places for stack in backend._stacks._stacks.values()) <= 2 * batch_max
    stay = [f"{rank}-{batch_max - rank}" for rank in range(1, batch_max + 1)]
    together = backend.logits(tuple(row(name, PROMPT, first=8 * number) for number, name in enumerate(stay)))
    assert torch.allclose(together, torch.tensor([alone[name] for name in stay]), atol=1e-5)


def test_a_row_whose_numbers_overflow_draws_nothing_and_harms_nobody(base: Path, tmp_path: Path) -> None:
    backend = open_backend(base)
    load(backend, make_adapter(base, tmp_path / "wild", seed=1, scale=1e30))
    alone = generate(backend, None, 1)
    for name in ("wild", "warm"):
        backend.join(name, ADAPTER)
    backend.join("calm", None)
    warm = SamplingParams(max_tokens=9, seed=1, top_p=0.9)
    rows = (row("calm", PROMPT), row("wild", PROMPT, first=8), row("warm", PROMPT, first=16, draw=warm))
    assert {name: each.token for name, each in backend.step(rows).items()} == {"calm": alone[0]}


def test_the_next_start_reads_what_is_packed_unless_it_is_torn_or_its_files_changed(
    base: Path, tmp_path: Path
) -> None:
    cache, folder = tmp_path / "cache", tmp_path / "adapter"

    def answered(cache_folder: str | None = str(cache)) -> torch.Tensor:
        backend = open_backend(base, cache_folder=cache_folder)
        load(backend, folder)
        return logits(backend, ADAPTER)

    make_adapter(base, folder, seed=3, use_dora=True)
    for _ in range(2):
        assert torch.equal(answered(), answered(None))
        assert [len(list((cache / name).iterdir())) for name in ("bases", "adapters")] == [1, 1]
    make_adapter(base, folder, seed=2, use_dora=True)
    assert torch.equal(answered(), answered(None)), "its files have changed"
    for file in (cache / "adapters").iterdir():
        file.write_bytes(file.read_bytes()[:-7])
    assert torch.equal(answered(), answered(None)), "the pack is torn"


@pytest.mark.parametrize("is_dora", [False, True])
def test_tokens_are_the_same_while_an_adapter_is_merged_and_afterwards(
    base: Path, tmp_path: Path, is_dora: bool
) -> None:
    plain, merging = open_backend(base), open_backend(base, merge_after_steps=3)
    folder = make_adapter(base, tmp_path / "a", seed=1, use_dora=is_dora, exclude_modules=["k_proj"])
    for backend in (plain, merging):
        load(backend, folder)
    own = [each.weight.clone() for layer in merging._decoder.weights.layers for each in layer.maps.values()]
    wanted, bare = generate(plain, ADAPTER, 12), generate(plain, None, 12)
    assert generate(merging, ADAPTER, 12) == wanted
    assert merging._merged == ADAPTER
    assert generate(merging, None, 12) == bare
    assert merging._merged is None
    kept = [each.weight for layer in merging._decoder.weights.layers for each in layer.maps.values()]
    assert all(torch.equal(one, other) for one, other in zip(own, kept, strict=True))


OTHER = AdapterId("0xbb")


@pytest.mark.parametrize(
    ("after_steps", "batches", "chosen"),
    [
        (3, [[ADAPTER, ADAPTER]] * 5, [None, None, None, ADAPTER, ADAPTER]),
        (1, [[ADAPTER], [ADAPTER], [ADAPTER, OTHER], [ADAPTER], [ADAPTER]], [None, ADAPTER, None, None, ADAPTER]),
        (1, [[ADAPTER], [ADAPTER], [ADAPTER, None], [OTHER], [OTHER]], [None, ADAPTER, None, None, OTHER]),
        (1, [[None]] * 3, [None] * 3),  # the bare base is never merged
        (0, [[ADAPTER]] * 9, [None] * 9),  # zero means never
    ],
)
def test_an_adapter_is_merged_once_it_had_the_batch_for_itself_long_enough(
    after_steps: int, batches: list[list[AdapterId | None]], chosen: list[AdapterId | None]
) -> None:
    policy = MergePolicy(after_steps)
    assert [policy.choose(batch) for batch in batches] == chosen


def test_after_a_merge_failed_it_is_tried_again_later() -> None:
    policy = MergePolicy(2)
    for _ in range(3):
        policy.choose([ADAPTER])
    policy.forget()
    assert [policy.choose([ADAPTER]) for _ in range(3)] == [None, None, ADAPTER]
