"""A context that is chosen by itself: as long as the base and the memory allow, and never at the cost of others."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from support.tiny import make_base

from openledger_node.backends.llamacpp.plan import GgufSizes, plan_server
from openledger_node.config import AUTO_CONTEXT_MAX, Config, InferenceConfig, LimitsConfig
from openledger_node.engine.backend import (
    BLOCK_TOKENS,
    USUAL_CONTEXT,
    BackendSettings,
)
from openledger_node.engine.base_fit import UNPLANNED_CONTEXT, context_here
from openledger_node.engine.budget import ADAPTERS_BESIDE, plan_memory
from openledger_node.engine.options import engine_options
from openledger_node.errors import ConfigError
from openledger_node.home import Home
from openledger_node.models.bases import find_base
from openledger_node.models.known_bases import KNOWN_BASES
from openledger_node.plugs import load_plug

GIB = 1 << 30
AUTO = InferenceConfig()
USUAL = InferenceConfig(context_max=USUAL_CONTEXT)
DEMO = KNOWN_BASES[0].config
AGENT_PROMPTS = (2_300, 5_087)
"""Tokens that two agent programs sent for their first question."""


@pytest.mark.parametrize("on_gpu", [False, True])
@pytest.mark.parametrize("gib", [1, 2, 4, 8, 12, 16, 24])
def test_a_longer_context_fits_whole_and_costs_no_adapters(gib: int, on_gpu: bool) -> None:
    for base in KNOWN_BASES:
        for quantisation in ("none", "int4"):
            auto, usual = (replace(each, quantisation=quantisation) for each in (AUTO, USUAL))
            try:
                before = plan_memory(base.config, usual, cap_bytes=gib * GIB, on_gpu=on_gpu)
            except ConfigError:
                with pytest.raises(ConfigError):
                    plan_memory(base.config, auto, cap_bytes=gib * GIB, on_gpu=on_gpu)
                continue
            plan = plan_memory(base.config, auto, cap_bytes=gib * GIB, on_gpu=on_gpu)
            assert before.context <= plan.context <= min(base.config.context_max, AUTO_CONTEXT_MAX)
            assert plan.context <= plan.kv_tokens
            assert plan.num_adapters >= min(before.num_adapters, ADAPTERS_BESIDE)


def test_a_longrope_is_not_stretched_unless_its_owner_asks() -> None:
    rope = replace(DEMO.rope, type="longrope", original_context=4_096)
    stretched = replace(DEMO, rope=rope, context_max=131_072)
    assert plan_memory(stretched, AUTO, cap_bytes=8 * GIB, on_gpu=False).context == 4_096
    asked = replace(AUTO, context_max=8_192)
    assert plan_memory(stretched, asked, cap_bytes=8 * GIB, on_gpu=False).context == 8_192


def test_the_cache_of_an_automatic_context_is_no_larger_than_before() -> None:
    settings = BackendSettings(
        base_folder=None, device="cpu", dtype="auto", threads=0, batch_max=16, context_max=8_192
    )
    auto = replace(settings, is_auto_context=True)
    assert auto.blocks_wanted(8_192) == replace(settings, context_max=2_048).blocks_wanted(2_048) == 16 * 128
    assert replace(auto, batch_max=1).blocks_wanted(8_192) == 8_192 // BLOCK_TOKENS, "one whole context at least"
    assert auto.blocks_wanted(256) == 16 * 16
    assert settings.blocks_wanted(8_192) == 16 * 512, "a context that was set is whole for each sequence"


def test_a_server_of_llama_cpp_shortens_an_automatic_context_before_it_leaves_layers_in_main_memory() -> None:
    sizes = GgufSizes(file_bytes=5 * GIB, layer_bytes=GIB // 8, num_layers=32, kv_bytes=1 << 17, context_max=131_072)
    settings = BackendSettings(
        base_folder="x",
        device="cuda",
        dtype="auto",
        threads=0,
        batch_max=16,
        context_max=AUTO_CONTEXT_MAX,
        is_auto_context=True,
        device_bytes_max=8 * GIB,
    )
    plan = plan_server(sizes, settings)
    assert plan.gpu_layers is None
    assert plan.context == 16_384
    assert plan.kv_tokens >= plan.context
    free = plan_server(sizes, replace(settings, device_bytes_max=0))
    assert (free.context, free.kv_tokens) == (AUTO_CONTEXT_MAX, 16 * USUAL_CONTEXT)


@pytest.mark.parametrize(
    ("fields", "wanted"),
    [
        ({"model_type": "mamba", "max_position_embeddings": 4_096}, 4_096),
        ({"model_type": "mamba", "max_position_embeddings": 1 << 20}, UNPLANNED_CONTEXT),
        ({"model_type": "mamba", "text_config": {"max_position_embeddings": 1_024}}, 1_024),
        ({"model_type": "mamba"}, USUAL_CONTEXT),
        ({"model_type": "mamba", "max_position_embeddings": "many"}, USUAL_CONTEXT),
    ],
)
def test_a_base_of_another_architecture_has_what_its_config_states_within_reason(
    tmp_path: Path, fields: dict[str, object], wanted: int
) -> None:
    (tmp_path / "config.json").write_text(json.dumps(fields))
    assert context_here(Config(), tmp_path, "transformers_lora") == wanted


def test_two_prompts_of_agents_are_served_by_default(tmp_path: Path) -> None:
    """The whole way from the shipped settings to an engine: 2,048 tokens refused both."""
    home = Home(tmp_path / "home")
    folder = make_base(tmp_path / "tiny", max_position_embeddings=8_192)
    base = find_base(home, str(folder))
    inference = replace(AUTO, base=str(folder), device="cpu", dtype="float32", threads=1)
    limits = LimitsConfig(ram_bytes=GIB)
    options = engine_options(home, Config(inference=inference, limits=limits), base)
    backend = load_plug("backend", options.backend)(options.settings)
    assert backend.profile.context_max == 8_192
    assert backend.profile.num_blocks * BLOCK_TOKENS >= sum(AGENT_PROMPTS)
