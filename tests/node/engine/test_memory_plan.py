"""The memory plan: what is promised under a cap is what a base takes, and everything that it takes is counted."""

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from support.known_bases import SHAPES, config_of
from support.tiny import make_base

from openledger_node.backends.torch_lora.backend import TorchLoraBackend
from openledger_node.config import InferenceConfig
from openledger_node.engine import memory_plan
from openledger_node.engine.backend import BackendSettings
from openledger_node.engine.budget import PLAN_RANK, fit, needs_of, plan_memory
from openledger_node.engine.memory_plan import CAPPED_AT_ONCE, MemoryNeeds, adapter_bytes_of, memory_needs
from openledger_node.errors import ConfigError
from openledger_node.models.decoder_config import DecoderConfig
from openledger_node.models.stored_format import StoredFormat

GB, GIB = 10**9, 1 << 30
WANTED = BackendSettings(base_folder=None, device="auto", dtype="auto", threads=0, batch_max=16, context_max=2048)
INFERENCE = InferenceConfig(context_max=2048)


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
    ("Llama-3.2-3B", "int4"): [(30_000, 7), (56_000, 14), (82_000, 21), (151_000, 22)],
    ("Qwen3-4B", "int4"): [(21_000, 5), (41_000, 10), (61_000, 15), (114_000, 16)],
    ("Llama-3.1-8B", "int8"): [None, (17_000, 3), (40_000, 7), (90_000, 12)],
    ("Llama-3.1-8B", "int4"): [(11_000, 2), (34_000, 5), (57_000, 9), (113_000, 12)],
    ("Llama-3.1-8B", "nf4"): [(12_000, 2), (35_000, 6), (58_000, 10), (113_000, 12)],
    ("Qwen3-14B", "int8"): [None, None, (2_000, 0), (39_000, 5)],
    ("Qwen3-14B", "int4"): [None, (9_000, 1), (28_000, 3), (66_000, 8)],
}


@pytest.mark.parametrize(("name", "quantisation"), TABLE)
def test_the_plan_says_how_many_tokens_and_adapters_a_card_holds(name: str, quantisation: str) -> None:
    chosen = replace(INFERENCE, quantisation=quantisation)
    for card, wanted in zip(CARDS, TABLE[name, quantisation], strict=True):
        cap_bytes = card * GB - GB // 2
        if wanted is None:
            with pytest.raises(ConfigError):
                plan_memory(config_of(name), chosen, cap_bytes=cap_bytes, on_gpu=True)
        else:
            plan = plan_memory(config_of(name), chosen, cap_bytes=cap_bytes, on_gpu=True)
            assert (plan.kv_tokens // 1000 * 1000, plan.num_adapters) == wanted


CASES = [(card, *case, held is not None) for case in TABLE for card, held in zip(CARDS, TABLE[case], strict=True)]


@pytest.mark.parametrize(("card", "name", "quantisation"), [case[:3] for case in CASES if case[3]])
def test_what_is_planned_stays_under_the_cap_with_all_that_it_takes(card: int, name: str, quantisation: str) -> None:
    settings, adapter_bytes = planned(name, quantisation, card)
    takes = needs(name, quantisation)
    in_use = (1 + takes.adapter_copies) * adapter_bytes
    assert takes.fixed_bytes + in_use + settings.kv_cache_bytes <= card * GB - GB // 2
    assert takes.base_bytes + takes.load_bytes + takes.context_bytes <= card * GB - GB // 2
    config = config_of(name)
    num_tokens = settings.kv_cache_bytes // (2 * config.num_layers * config.d_kv * 2)
    assert num_tokens > 2048, "at least one whole conversation"
    assert settings.device_bytes_max == card * GB - GB // 2


@pytest.mark.parametrize(("card", "name", "quantisation"), [case[:3] for case in CASES if not case[3]])
def test_what_does_not_fit_is_refused_before_it_is_loaded(card: int, name: str, quantisation: str) -> None:
    with pytest.raises(ConfigError, match="limits set --vram") as refusal:
        planned(name, quantisation, card)
    assert ("quantisation =" in str(refusal.value)) == (quantisation == "none"), "no advice that is followed already"


@pytest.mark.parametrize(("name", "quantisation"), TABLE)
def test_a_card_holds_more_with_the_kernels_which_have_each_adapter_once(name: str, quantisation: str) -> None:
    chosen = replace(INFERENCE, quantisation=quantisation)
    for card, torch_holds in zip(CARDS, TABLE[name, quantisation], strict=True):
        if torch_holds is not None and torch_holds[1]:  # it fits with an adapter
            plan = plan_memory(config_of(name), chosen, cap_bytes=card * GB - GB // 2, on_gpu=True, has_kernels=True)
            assert plan.kv_tokens >= 0.95 * torch_holds[0]
            all_allowed = INFERENCE.adapter_cache_bytes // adapter_bytes_of(config_of(name), PLAN_RANK, 2)
            assert plan.num_adapters >= min(all_allowed, 3 * torch_holds[1])


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


@pytest.mark.parametrize("name", SHAPES)
def test_narrower_numbers_take_less_and_every_setting_that_costs_memory_counts(name: str) -> None:
    wide, eight, four = (needs(name, each).base_bytes for each in ("none", "int8", "int4"))
    assert wide > eight > four
    plain = needs(name, "none")
    assert needs(name, "int8").step_bytes > plain.step_bytes, "matrices are widened while they are used"
    for change in ({"batch_max": 64}, {"prefill_tokens_max": 4096}, {"context_max": 8192}):
        assert needs(name, "none", **change).step_bytes > plain.step_bytes


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
    (base / "config.json").write_text(
        json.dumps({**json.loads((base / "config.json").read_text()), "model_type": "mamba"})
    )
    assert asdict(needs_of(base, INFERENCE, on_gpu=True)) == asdict(
        MemoryNeeds(base_bytes=(base / "model.safetensors").stat().st_size)
    )
