"""The memory plan: what is promised under a cap is what a base takes, and everything that it takes is counted."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from node.backends.narrow_checkpoints import change_config
from support.known_bases import config_of
from support.tiny import make_base

from openledger_node.backends.llamacpp.plan import GgufSizes, plan_server
from openledger_node.backends.torch_lora.backend import TorchLoraBackend
from openledger_node.config import AUTO_CONTEXT_MAX, Config, InferenceConfig
from openledger_node.engine import memory_plan
from openledger_node.engine.backend import BLOCK_TOKENS, USUAL_CONTEXT, BackendSettings
from openledger_node.engine.base_fit import UNPLANNED_CONTEXT, context_here
from openledger_node.engine.budget import ADAPTERS_BESIDE, PLAN_RANK, fit, needs_of, plan_memory
from openledger_node.engine.memory_plan import CAPPED_AT_ONCE, MemoryNeeds, adapter_bytes_of, memory_needs
from openledger_node.engine.options import engine_options
from openledger_node.errors import ConfigError
from openledger_node.home import Home
from openledger_node.models.bases import find_base
from openledger_node.models.decoder_config import DecoderConfig
from openledger_node.models.known_bases import KNOWN_BASES
from openledger_node.models.stored_format import StoredFormat

GB, GIB = 10**9, 1 << 30
AUTO, INFERENCE = InferenceConfig(), InferenceConfig(context_max=USUAL_CONTEXT)
WANTED = BackendSettings(base_folder=None, device="auto", dtype="auto", threads=0, batch_max=16, context_max=2048)


def needs(name: str, quantisation: str, **changes: int) -> MemoryNeeds:
    settings = replace(INFERENCE, quantisation=quantisation, **changes)
    return memory_needs(config_of(name), settings, is_on_gpu=True, number_bytes=2)


def planned(name: str, quantisation: str, card: int) -> tuple[BackendSettings, int]:
    settings = replace(WANTED, quantisation=quantisation)
    return fit(
        settings, INFERENCE.adapter_cache_bytes, cap_bytes=card * GB - GB // 2, needs=needs(name, quantisation)
    )


CARDS = (8, 12, 16, 24)
# Tokens of KV cache and adapters of rank 16 on a card of 8, 12, 16 and 24 GB; None: it does not fit.
TABLE: dict[tuple[str, str], list[tuple[int, int] | None]] = {
    ("Qwen3-4B", "int4"): [(21_000, 5), (41_000, 10), (61_000, 15), (114_000, 16)],
    ("Llama-3.1-8B", "int8"): [None, (17_000, 3), (40_000, 7), (90_000, 12)],
    ("Llama-3.1-8B", "nf4"): [(12_000, 2), (35_000, 6), (58_000, 10), (113_000, 12)],
    ("Qwen3-14B", "int8"): [None, None, (2_000, 0), (39_000, 5)],
    ("Qwen3-14B", "none"): [None, None, None, None],
}


@pytest.mark.parametrize(("name", "quantisation"), TABLE)
def test_a_plan_stays_under_the_cap_with_all_that_it_takes_and_what_does_not_fit_is_refused(
    name: str, quantisation: str
) -> None:
    chosen = replace(INFERENCE, quantisation=quantisation)
    config, takes = config_of(name), needs(name, quantisation)
    for card, wanted in zip(CARDS, TABLE[name, quantisation], strict=True):
        cap_bytes = card * GB - GB // 2
        if wanted is None:
            with pytest.raises(ConfigError, match="limits set --vram") as refusal:
                planned(name, quantisation, card)
            is_advised = "quantisation =" in str(refusal.value)
            assert is_advised == (quantisation == "none"), "no advice that is followed already"
            with pytest.raises(ConfigError):
                plan_memory(config, chosen, cap_bytes=cap_bytes, on_gpu=True)
            continue
        plan = plan_memory(config, chosen, cap_bytes=cap_bytes, on_gpu=True)
        assert (plan.kv_tokens // 1000 * 1000, plan.num_adapters) == wanted
        settings, adapter_bytes = planned(name, quantisation, card)
        in_use = (1 + takes.adapter_copies) * adapter_bytes
        assert takes.fixed_bytes + in_use + settings.kv_cache_bytes <= cap_bytes == settings.device_bytes_max
        assert takes.base_bytes + takes.load_bytes + takes.context_bytes <= cap_bytes
        num_tokens = settings.kv_cache_bytes // (2 * config.num_layers * config.d_kv * 2)
        assert num_tokens > 2048, "at least one whole conversation"
        kernels = plan_memory(config, chosen, cap_bytes=cap_bytes, on_gpu=True, has_kernels=True)
        all_allowed = INFERENCE.adapter_cache_bytes // adapter_bytes_of(config, PLAN_RANK, 2)
        assert kernels.kv_tokens >= 0.95 * wanted[0] or not wanted[1]
        assert kernels.num_adapters >= min(all_allowed, 3 * wanted[1]), "kernels have each adapter once"


AWQ = StoredFormat(method="awq", bits=4, group=128)


def test_a_base_whose_files_are_narrow_is_planned_as_it_is_served(monkeypatch: pytest.MonkeyPatch) -> None:
    config = replace(config_of("Llama-3.1-8B"), stored=AWQ)

    def base_gb(quantisation: str, *, is_on_gpu: bool = True) -> float:
        chosen = replace(INFERENCE, quantisation=quantisation)
        return memory_needs(config, chosen, is_on_gpu=is_on_gpu, number_bytes=2).base_bytes / GB

    assert base_gb("auto") == pytest.approx(4.19 * 6.98 / 8 + 1.05, rel=0.01), "the head stays as it is stored"
    assert base_gb("int4") == pytest.approx(4.19 * 6.98 / 8 + 0.525, rel=0.01)
    assert base_gb("int8") == base_gb("int4"), "four bits would not become better by eight"
    assert base_gb("none") == pytest.approx(15.0, rel=0.01)
    for memory_bytes, wanted in ((32 * GB, 16.06), (24 * GB, 4.19 * 6.98 / 8 + 2.1)):
        monkeypatch.setattr(memory_plan, "usable_bytes", lambda found=memory_bytes: found)
        assert base_gb("auto", is_on_gpu=False) == pytest.approx(wanted, rel=0.01)


def test_without_a_cap_the_kv_cache_leaves_room_for_steps_and_adapters() -> None:
    takes = needs("Llama-3.2-3B", "none")
    settings, adapter_bytes = fit(WANTED, GB, cap_bytes=0, needs=takes)
    assert adapter_bytes == GB
    assert settings.reserve_bytes == takes.step_bytes + 3 * GB
    assert fit(WANTED, GB, cap_bytes=0, needs=MemoryNeeds(base_bytes=GB))[0].reserve_bytes == 0


def test_scores_that_are_capped_are_planned_with_all_heads_and_a_window_with_its_mask() -> None:
    plain = config_of("Qwen3-4B")

    def step_bytes(config: DecoderConfig) -> int:
        return memory_needs(config, INFERENCE, is_on_gpu=True, number_bytes=2).step_bytes

    capped = step_bytes(replace(plain, attention_cap=50.0)) - step_bytes(plain)
    assert capped >= CAPPED_AT_ONCE * plain.num_heads * INFERENCE.context_max * 10
    sliding = replace(plain, window=512, sliding=frozenset({0}))
    assert step_bytes(sliding) - step_bytes(plain) >= INFERENCE.prefill_tokens_max * INFERENCE.context_max * 2
    kv_tokens = [plan_memory(each, INFERENCE, cap_bytes=24 * GB, on_gpu=True).kv_tokens for each in (plain, sliding)]
    assert 0.99 < kv_tokens[1] / kv_tokens[0] < 1, "a layer with a window has all its blocks"


@pytest.mark.parametrize(
    ("family", "quantisation"), [("llama", "none"), ("qwen3", "int8"), ("gemma2", "int4"), ("phi3", "int8")]
)
def test_the_bytes_of_a_base_are_those_that_the_engine_loads(tmp_path: Path, family: str, quantisation: str) -> None:
    sizes = {"hidden_size": 256, "intermediate_size": 512, "head_dim": 64}
    base = make_base(tmp_path / "base", model_type=family, **sizes)
    chosen = replace(INFERENCE, device="cpu", dtype="float32", quantisation=quantisation)
    settings = replace(WANTED, base_folder=str(base), device="cpu", dtype="float32", quantisation=quantisation)
    loaded = TorchLoraBackend(settings).profile.base_bytes
    assert needs_of(base, chosen, on_gpu=False).base_bytes == pytest.approx(loaded, rel=0.05)


def test_a_base_of_an_unknown_architecture_counts_by_its_files(tmp_path: Path) -> None:
    base = make_base(tmp_path / "base")
    change_config(base, model_type="mamba")
    size_bytes = (base / "model.safetensors").stat().st_size
    assert needs_of(base, INFERENCE, on_gpu=True) == MemoryNeeds(base_bytes=size_bytes)


# ---- a context that is chosen by itself

DEMO = KNOWN_BASES[0].config
SERVER = replace(WANTED, device="cuda", context_max=8_192)


@pytest.mark.parametrize("on_gpu", [False, True])
@pytest.mark.parametrize("gib", [1, 4, 8, 24])
def test_a_longer_context_fits_whole_and_costs_no_adapters(gib: int, on_gpu: bool) -> None:
    for base in KNOWN_BASES:
        for quantisation in ("none", "int4"):
            auto, usual = (replace(each, quantisation=quantisation) for each in (AUTO, INFERENCE))
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
    auto = replace(SERVER, is_auto_context=True)
    assert auto.blocks_wanted(8_192) == replace(SERVER, context_max=2_048).blocks_wanted(2_048) == 16 * 128
    assert replace(auto, batch_max=1).blocks_wanted(8_192) == 8_192 // BLOCK_TOKENS, "one whole context at least"
    assert auto.blocks_wanted(256) == 16 * 16
    assert SERVER.blocks_wanted(8_192) == 16 * 512, "a context that was set is whole for each sequence"


def test_a_server_of_llama_cpp_shortens_an_automatic_context_before_it_leaves_layers_in_main_memory() -> None:
    sizes = GgufSizes(file_bytes=5 * GIB, layer_bytes=GIB // 8, num_layers=32, kv_bytes=1 << 17, context_max=131_072)
    auto = replace(SERVER, base_folder="x", context_max=AUTO_CONTEXT_MAX, is_auto_context=True)
    settings = replace(auto, device_bytes_max=8 * GIB)
    plan = plan_server(sizes, settings)
    assert (plan.gpu_layers, plan.context) == (None, 16_384)
    assert plan.kv_tokens >= plan.context
    free = plan_server(sizes, auto)
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


def test_the_shipped_settings_serve_the_whole_context_of_a_base(home: Home, tmp_path: Path) -> None:
    folder = make_base(tmp_path / "tiny", max_position_embeddings=8_192)
    config = Config(inference=replace(AUTO, base=str(folder), device="cpu"))
    assert engine_options(home, config, find_base(home, str(folder))).settings.context_max == 8_192
