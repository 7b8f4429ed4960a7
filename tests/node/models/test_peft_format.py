"""Adapter folders of strangers: what is plain LoRA is read, everything else is refused by name, nothing crashes."""

import ast
import re
from collections.abc import Callable
from functools import cache
from importlib.util import find_spec
from math import sqrt
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.peft_folders import D_IN, D_OUT, RANK, WEIGHTS_FILE, pair, weight_key, write_adapter

from openledger_node.models.adapter_files.layout import RANK_MAX, read_layout
from openledger_protocol.errors import AdapterRefusedError

A, B = weight_key("A"), weight_key("B")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "harbour"


def test_a_sound_adapter_says_what_it_changes_and_weighs(folder: Path) -> None:
    layout = read_layout(write_adapter(folder))
    (site,) = layout.sites
    assert (site.layer, site.module, site.rank, site.d_in, site.d_out) == (0, "q_proj", RANK, D_IN, D_OUT)
    assert (site.key_a, site.key_b) == (A, B)
    assert site.scaling == 4 / RANK
    assert layout.rank_max == RANK
    assert layout.num_parameters == RANK * (D_IN + D_OUT)
    assert layout.size_bytes == (folder / WEIGHTS_FILE).stat().st_size


@pytest.mark.parametrize("tail", ["", ".default"])
def test_keys_are_read_with_and_without_the_adapter_name_of_peft(folder: Path, tail: str) -> None:
    assert len(read_layout(write_adapter(folder, tensors=pair(tail=tail))).sites) == 1


MAGNITUDE = "base_model.model.model.layers.0.self_attn.q_proj.lora_magnitude_vector"


@pytest.mark.parametrize("tail", ["", ".weight", ".default", ".default.weight"])
def test_the_magnitude_of_dora_is_read_as_each_version_of_peft_names_it(folder: Path, tail: str) -> None:
    magnitude = np.ones(D_OUT, dtype=np.float32)
    layout = read_layout(write_adapter(folder, tensors={**pair(), MAGNITUDE + tail: magnitude}, use_dora=True))
    assert layout.is_dora
    assert layout.sites[0].key_magnitude == MAGNITUDE + tail


@pytest.mark.parametrize(
    ("path", "layer", "module"),
    [
        ("model.layers.3.self_attn.q_proj", 3, "q_proj"),
        ("model.decoder.layers.11.fc1", 11, "fc1"),
        ("transformer.h.0.attn.c_attn", None, "c_attn"),
        ("model.layers.0.mlp.experts.7.down_proj", 0, "down_proj"),
        ("lm_head", None, "lm_head"),
    ],
)
def test_modules_of_any_architecture_are_read(folder: Path, path: str, layer: int | None, module: str) -> None:
    tensors = {f"base_model.model.{path}.lora_{letter}.weight": pair()[weight_key(letter)] for letter in "AB"}
    (site,) = read_layout(write_adapter(folder, tensors=tensors, target_modules=[module])).sites
    assert (site.path, site.layer, site.module) == (path, layer, module)


@pytest.mark.parametrize("rank", [1, RANK_MAX])
def test_ranks_up_to_the_bound_are_read(folder: Path, rank: int) -> None:
    assert read_layout(write_adapter(folder, tensors=pair(rank=rank), r=rank)).rank_max == rank


@pytest.mark.parametrize(
    ("changes", "scaling"),
    [
        ({"lora_alpha": 16}, 16 / RANK),
        ({"lora_alpha": 0.5}, 0.5 / RANK),
        ({"lora_alpha": 16, "use_rslora": True}, 16 / sqrt(RANK)),
        ({"lora_alpha": 16, "use_rslora": None}, 16 / RANK),
        ({"alpha_pattern": {"q_proj": 7}}, 7 / RANK),
        ({"alpha_pattern": {"q_proj": 7}, "use_rslora": True}, 7 / sqrt(RANK)),
        ({"r": 64, "rank_pattern": {"q_proj": RANK}}, 4 / RANK),
        ({"r": 64, "rank_pattern": {"q_proj": RANK}, "use_rslora": True}, 4 / sqrt(RANK)),
        ({"rank_pattern": None, "alpha_pattern": None}, 4 / RANK),
    ],
)
def test_scaling_is_alpha_by_rank_or_by_its_root(folder: Path, changes: dict[str, Any], scaling: float) -> None:
    assert read_layout(write_adapter(folder, **changes)).sites[0].scaling == scaling


@pytest.mark.parametrize(
    "changes",
    [
        {"target_modules": ["v_proj", "proj"]},
        {"target_modules": ["q_proj"], "layers_to_transform": [1, 2]},
        {"target_modules": "all-linear", "layers_to_transform": 1},
        {"target_modules": ["q_proj"], "exclude_modules": ["self_attn.q_proj"]},
    ],
)
def test_weights_that_peft_would_leave_out_are_refused(folder: Path, changes: dict[str, Any]) -> None:
    with pytest.raises(AdapterRefusedError, match="does not name it, so PEFT would leave its weights out"):
        read_layout(write_adapter(folder, **changes))


# ── patterns ──────────────────────────────────────────────────────────────────────────────────────────────────────


@cache
def peft_pattern_rule() -> Callable[[dict[str, int], str], str]:
    """PEFT's own `get_pattern_key`, taken out of its source: importing PEFT takes six seconds."""
    spec = find_spec("peft")
    tree = ast.parse((Path(spec.origin).parent / "utils" / "other.py").read_text())
    (rule,) = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == "get_pattern_key"]
    rule.returns, rule.args.args[0].annotation, rule.args.args[1].annotation = None, None, None
    names: dict[str, Any] = {"re": re}
    exec(compile(ast.Module(body=[rule], type_ignores=[]), spec.origin, "exec"), names)
    found: Callable[[dict[str, int], str], str] = names["get_pattern_key"]
    return found


PATTERNS = [
    "q_proj",
    "proj",
    "_proj",
    "self_attn.q_proj",
    "layers.1.self_attn.q_proj",
    "layers.11.self_attn.q_proj",
    "model.layers.1.self_attn.q_proj",
    "^model.layers.1.self_attn.q_proj",
    "^layers.1.self_attn.q_proj",
    "q_proj|v_proj",
    "1.self_attn.q_proj|v_proj",
    r"layers\.1\..._attn\.q_proj",
    r"layers\.\d\.self_attn\.q_proj",
    "..proj",
    "q_proj$",
]


@given(st.lists(st.sampled_from(PATTERNS), max_size=3, unique=True), st.sampled_from(PATTERNS[:11]))
def test_patterns_choose_as_they_do_in_peft(patterns: list[str], more: str) -> None:
    rule = peft_pattern_rule()
    ranks = {pattern: number + 2 for number, pattern in enumerate([*patterns, more])}
    alphas = {pattern: 10 + number for number, pattern in enumerate([more, *patterns])}
    places = [(1, "self_attn.q_proj"), (11, "self_attn.q_proj"), (1, "self_attn.v_proj"), (2, "mlp.up_proj")]
    paths = {place: f"model.layers.{place[0]}.{place[1]}" for place in places}
    rank_of = {place: ranks.get(rule(ranks, path), 64) for place, path in paths.items()}
    alpha_of = {place: alphas.get(rule(alphas, path), 64) for place, path in paths.items()}
    tensors = {
        key: array
        for (layer, module), rank in rank_of.items()
        for key, array in pair(layer=layer, module=module, rank=rank).items()
    }
    with TemporaryDirectory() as folder:
        write_adapter(Path(folder), tensors=tensors, r=64, lora_alpha=64, rank_pattern=ranks, alpha_pattern=alphas)
        sites = {(site.layer, site.module): site for site in read_layout(Path(folder)).sites}
    for (layer, module), rank in rank_of.items():
        site = sites[layer, module.rpartition(".")[2]]
        assert (site.rank, site.scaling) == (rank, alpha_of[layer, module] / rank)


@pytest.mark.parametrize(
    "pattern",
    [
        *("(a+)+$", ".*q_proj", "q{2}_proj", "q?_proj", "(?=q)", "[qv]_proj", "q proj", "x" * 201, "q_proj\n"),
        *("", "\\", "a{99999999999999999999}", "(" * 100_000, "q_proj\0"),
    ],
    ids=lambda pattern: repr(pattern[:20]),
)
@pytest.mark.parametrize("setting", ["rank_pattern", "alpha_pattern"])
def test_a_pattern_with_a_quantifier_or_group_is_refused_unread(folder: Path, setting: str, pattern: str) -> None:
    # Compiling "a{9999…" ends in OverflowError and "((((…" in RecursionError, neither of them re.error.
    write_adapter(folder, **{setting: {pattern: RANK}})
    with pytest.raises(AdapterRefusedError, match="pattern") as refusal:
        read_layout(folder)
    assert len(str(refusal.value)) < 300


# ── settings of PEFT ───────────────────────────────────────────────────────────────────────────

REFUSED: dict[str, object] = {
    "alora_invocation_tokens": [1],
    "arrow_config": {"top_k": 3},
    "bias": "all",
    "corda_config": {"corda_method": "ipm"},
    "ensure_weight_tying": True,
    "init_lora_weights": "pissa",
    "kasa_config": {"beta": 1e-4},
    "layer_replication": [[0, 4], [2, 5]],
    "loftq_config": {"loftq_bits": 4},
    "lora_bias": True,
    "lora_ga_config": {"direction": "ArB2r"},
    "megatron_config": {"tensor_model_parallel_size": 2},
    "modules_to_save": ["lm_head"],
    "monteclora_config": {"num_samples": 2},
    "target_parameters": ["mlp.experts.gate_up_proj"],
    "trainable_token_indices": [1],
    "use_bdlora": {"nblocks": 2},
    "use_qalora": True,
    "velora_config": {"num_groups": 2},
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_setting_of_peft_that_changes_the_forward_pass_is_refused_by_name(folder: Path, name: str) -> None:
    with pytest.raises(AdapterRefusedError, match=name):
        read_layout(write_adapter(folder, **{name: REFUSED[name]}))


def test_settings_that_change_nothing_after_training_change_nothing(folder: Path) -> None:
    changed = write_adapter(
        folder, auto_mapping={"parent_library": "x"}, eva_config={"rho": 2.0}, exclude_modules=["k_proj"],
        fan_in_fan_out=True, inference_mode=True, layers_pattern="layers", layers_to_transform=[0], lora_dropout=0.1,
        megatron_core="megatron.core", qalora_group_size=16, runtime_config={"ephemeral_gpu_offload": True},
        target_modules=["q_proj"], task_type="CAUSAL_LM", base_model_name_or_path="x", revision="main",
    )  # fmt: skip
    assert read_layout(changed).sites == read_layout(write_adapter(folder.with_name("plain"))).sites
