"""Adapter folders of strangers: what is plain LoRA is read, everything else is refused by name, nothing crashes."""

import ast
import contextlib
import os
import pickle
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
from support.peft_folders import (
    CONFIG_FILE,
    D_IN,
    D_OUT,
    RANK,
    WEIGHTS_FILE,
    entry,
    pair,
    sound_header,
    weight_key,
    write_adapter,
    write_config,
    write_header,
)

from openledger_node.inference.peft_format import MODULES, RANK_MAX, read_layout
from openledger_protocol.errors import AdapterRefusedError

A, B = weight_key("A"), weight_key("B")
ATTENTION, MLP = ("q_proj", "k_proj", "v_proj", "o_proj"), ("gate_proj", "up_proj", "down_proj")


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


def test_every_linear_map_of_a_layer_may_be_changed(folder: Path) -> None:
    modules = [f"self_attn.{name}" for name in ATTENTION] + [f"mlp.{name}" for name in MLP]
    tensors = {
        key: array for layer in (11, 2) for name in modules for key, array in pair(layer=layer, module=name).items()
    }
    layout = read_layout(write_adapter(folder, tensors=tensors))
    assert {site.module for site in layout.sites} == set(MODULES)
    assert [site.layer for site in layout.sites] == [2] * 7 + [11] * 7


@pytest.mark.parametrize("tail", ["", ".default"])
def test_keys_are_read_with_and_without_the_adapter_name_of_peft(folder: Path, tail: str) -> None:
    assert len(read_layout(write_adapter(folder, tensors=pair(tail=tail))).sites) == 1


@pytest.mark.parametrize(("dtype", "item_bytes"), [("F32", 4), ("F16", 2), ("BF16", 2)])
def test_three_number_formats_are_read(folder: Path, dtype: str, item_bytes: int) -> None:
    split, end = 8 * item_bytes, 20 * item_bytes
    write_config(folder)
    write_header(folder, {A: entry([2, 4], 0, split, dtype), B: entry([6, 2], split, end, dtype)}, data_bytes=end)
    assert read_layout(folder).num_parameters == 20


@pytest.mark.parametrize("rank", [1, RANK_MAX])
def test_ranks_up_to_the_bound_are_read(folder: Path, rank: int) -> None:
    assert read_layout(write_adapter(folder, tensors=pair(rank=rank), r=rank)).rank_max == rank


@pytest.mark.parametrize(
    ("changes", "scaling"),
    [
        ({"lora_alpha": 16}, 16 / RANK),
        ({"lora_alpha": 0.5}, 0.5 / RANK),
        ({"lora_alpha": 16, "use_rslora": True}, 16 / sqrt(RANK)),
        ({"lora_alpha": 16, "use_rslora": False}, 16 / RANK),
        ({"lora_alpha": 16, "use_rslora": None}, 16 / RANK),
        ({"alpha_pattern": {"q_proj": 7}}, 7 / RANK),
        ({"alpha_pattern": {"q_proj": 7}, "use_rslora": True}, 7 / sqrt(RANK)),
        ({"alpha_pattern": {"k_proj": 7}}, 4 / RANK),
        ({"r": 64, "rank_pattern": {"q_proj": RANK}}, 4 / RANK),
        ({"r": 64, "rank_pattern": {"q_proj": RANK}, "use_rslora": True}, 4 / sqrt(RANK)),
        ({"rank_pattern": None, "alpha_pattern": None}, 4 / RANK),
    ],
)
def test_scaling_is_alpha_by_rank_or_by_its_root(folder: Path, changes: dict[str, Any], scaling: float) -> None:
    assert read_layout(write_adapter(folder, **changes)).sites[0].scaling == scaling


def test_what_changes_only_the_training_is_read(folder: Path) -> None:
    quiet = {
        "lora_dropout": 0.1,
        "inference_mode": True,
        "init_lora_weights": "gaussian",
        "fan_in_fan_out": False,
        "base_model_name_or_path": "x",
        "layers_to_transform": [0],
        "task_type": "CAUSAL_LM",
        "loftq_config": {},
        "eva_config": None,
        "exclude_modules": None,
        "use_dora": False,
        "modules_to_save": None,
        "layer_replication": None,
    }
    assert len(read_layout(write_adapter(folder, **quiet)).sites) == 1


# ── patterns ──────────────────────────────────────────────────────────────────────────────────────────────────────


@cache
def peft_pattern_rule() -> Callable[[dict[str, int], str], str]:
    """PEFT's own `get_pattern_key`, taken out of its source: importing PEFT takes six seconds."""
    spec = find_spec("peft")
    assert spec is not None
    assert spec.origin is not None
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
        *("(a+)+$", "(q|q)*_proj", ".*q_proj", "q{2}_proj", "q?_proj", "(?:q_proj)", "(?=q)", "[qv]_proj", "q proj"),
        *("x" * 201, "q_proj\n", "(", "\\", "a{99999999999999999999}", "(" * 100_000, "q_proj\0"),
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


# ── hostile and odd folders ───────────────────────────────────────────────────────────────────────────────────────


def config(**changes: Any) -> Callable[[Path], Any]:
    return lambda folder: write_adapter(folder, **changes)


def config_text(text: str | bytes) -> Callable[[Path], Any]:
    def write(folder: Path) -> None:
        write_adapter(folder)
        (folder / CONFIG_FILE).write_bytes(text if isinstance(text, bytes) else text.encode())

    return write


def header(content: object, **sizes: int) -> Callable[[Path], Any]:
    def write(folder: Path) -> None:
        write_config(folder)
        write_header(folder, content, **{"data_bytes": 80, **sizes})

    return write


def changed(key: str, value: object) -> Callable[[Path], Any]:
    return header({**sound_header(), key: value})


def tensors(**arrays: Any) -> Callable[[Path], Any]:
    return lambda folder: write_adapter(folder, **arrays)


def weights_bytes(content: bytes) -> Callable[[Path], Any]:
    def write(folder: Path) -> None:
        write_config(folder)
        (folder / WEIGHTS_FILE).write_bytes(content)

    return write


def without(name: str) -> Callable[[Path], Any]:
    return lambda folder: (write_adapter(folder) / name).unlink()


def linked_weights(folder: Path) -> None:
    write_adapter(folder)
    (folder / WEIGHTS_FILE).rename(folder / "elsewhere")
    (folder / WEIGHTS_FILE).symlink_to(folder / "elsewhere")


def pickled(folder: Path) -> None:
    without(WEIGHTS_FILE)(folder)
    (folder / "adapter_model.bin").write_bytes(pickle.dumps({A: [0.0]}))


def pickled_under_our_name(folder: Path) -> None:
    write_config(folder)
    (folder / WEIGHTS_FILE).write_bytes(pickle.dumps({A: [0.0] * 100}))


def weights_folder(folder: Path) -> None:
    without(WEIGHTS_FILE)(folder)
    (folder / WEIGHTS_FILE).mkdir()


def weights_pipe(folder: Path) -> None:
    without(WEIGHTS_FILE)(folder)
    os.mkfifo(folder / WEIGHTS_FILE)


def one_pair(**changes: Any) -> Callable[[Path], Any]:
    r = changes.pop("r", RANK)
    return lambda folder: write_adapter(folder, tensors=pair(**changes), r=r)


def keyed(key: str) -> Callable[[Path], Any]:
    ones = np.ones((RANK, D_IN), dtype=np.float32)
    return lambda folder: write_adapter(folder, tensors={**pair(), key: ones})


def twice(**place: Any) -> Callable[[Path], Any]:
    return lambda folder: write_adapter(folder, tensors={**pair(), **pair(**place)})


HOSTILE: dict[str, tuple[Callable[[Path], Any], str]] = {
    # the folder
    "empty folder": (lambda folder: folder.mkdir(), "is no PEFT adapter"),
    "no folder": (lambda folder: None, "is no PEFT adapter"),
    "no config": (without(CONFIG_FILE), f"{CONFIG_FILE} is missing"),
    "no weights": (without(WEIGHTS_FILE), "safetensors only"),
    "a pickle instead": (pickled, "pickles are never opened"),
    "a pickle under our name": (pickled_under_our_name, "a header of"),
    "weights behind a symlink": (linked_weights, "is missing"),
    "weights that are a folder": (weights_folder, "is missing"),
    "weights that are a pipe": (weights_pipe, "is missing"),
    # the header
    "no bytes": (weights_bytes(b""), "in a file of 0"),
    "seven bytes": (weights_bytes(b"\x01" * 7), "in a file of 7"),
    "header bomb": (header({}, header_bytes=2**63), f"a header of {2**63} bytes"),
    "header over the file": (header({}, header_bytes=83), "a header of 83 bytes"),
    "header over the cap": (weights_bytes((9 << 20).to_bytes(8, "little") + b" " * (9 << 20)), "a header of"),
    "header that is text": (header(b"no json"), "the header is not JSON"),
    "header that is no UTF-8": (header(b'{"\xff": 1}'), "the header is not JSON"),
    "header that is a list": (header([]), "no JSON object"),
    "header nested deep": (header(b'{"a":' + b"[" * 100_000), "the header is not JSON"),
    "header without tensors": (header({}, data_bytes=0), "changes nothing"),
    "header of metadata alone": (header({"__metadata__": {"format": "pt"}}, data_bytes=0), "changes nothing"),
    # its entries
    "entry that is text": (changed(A, "F32"), "no sound header entry"),
    "entry that is a list": (changed(A, []), "no sound header entry"),
    "entry without a shape": (changed(A, {"dtype": "F32", "data_offsets": [0, 32]}), "no sound header entry"),
    "unknown type": (changed(A, entry([2, 4], 0, 8, "I8")), "no sound header entry"),
    "type that is a list": (changed(A, entry([2, 4], 0, 32, ["F32"])), "no sound header entry"),
    "three offsets": (changed(A, {**entry([2, 4], 0, 32), "data_offsets": [0, 32, 64]}), "no sound header entry"),
    "offsets of text": (changed(A, entry([2, 4], "0", "32")), "header entry|does not fit"),
    "offsets out of the file": (changed(B, entry([6, 2], 48, 96)), "does not fit its shape or the file"),
    "offsets below 0": (changed(A, entry([2, 4], -32, 0)), "does not fit its shape or the file"),
    "offsets the wrong way": (changed(A, entry([2, 4], 32, 0)), "does not fit its shape or the file"),
    "shape larger than its bytes": (changed(A, entry([2, 5], 0, 32)), "does not fit its shape or the file"),
    "shape of text": (changed(A, entry(["2", 4], 0, 32)), "does not fit its shape or the file"),
    "shape of truths": (changed(A, entry([True, 8], 0, 32)), "does not fit its shape or the file"),
    "shape of fractions": (changed(A, entry([2.0, 4], 0, 32)), "does not fit its shape or the file"),
    "shape below 0": (changed(A, entry([-2, -4], 0, 32)), "does not fit its shape or the file"),
    "shape of nothing": (changed(A, entry([0, 4], 0, 0)), "does not fit its shape or the file"),
    "shape beyond any memory": (changed(A, entry([2**62, 2**62], 0, 32)), "does not fit its shape or the file"),
    # safetensors refuses these only when weights are loaded, which is after `adapters add` has said yes; and
    # num_parameters, which the cache counts, could be any multiple of the file.
    "overlapping offsets": (
        header({A: entry([2, 4], 0, 32), B: entry([6, 2], 16, 64)}, data_bytes=64),
        "overlap|hole|fit",
    ),
    "a hole between tensors": (
        header({A: entry([2, 4], 0, 32), B: entry([6, 2], 40, 88)}, data_bytes=88),
        "overlap|hole|fit",
    ),
    "bytes after the last tensor": (header(sound_header(), data_bytes=81), "overlap|hole|fit"),
    "offsets of fractions": (changed(A, entry([2, 4], 0.0, 32.0)), "fit|no sound header entry"),
    # which tensors
    "lora_A alone": (lambda folder: write_adapter(folder, tensors={A: pair()[A]}), "has lora_A alone"),
    "lora_B alone": (lambda folder: write_adapter(folder, tensors={B: pair()[B]}), "has lora_B alone"),
    "a full weight": (keyed("base_model.model.lm_head.weight"), "not served"),
    "an embedding": (keyed("base_model.model.model.embed_tokens.lora_embedding_A"), "not served"),
    "a DoRA vector": (keyed(A.replace("lora_A.weight", "lora_magnitude_vector")), "not served"),
    "another module": (keyed(weight_key("A", module="self_attn.qkv_proj")), "not served"),
    "another model's keys": (keyed("base_model.model.transformer.h.0.attn.c_attn.lora_A.weight"), "not served"),
    "keys without PEFT's prefix": (keyed(A.removeprefix("base_model.model.")), "not served"),
    "a key with more behind it": (keyed(A + ".x"), "not served"),
    "a second adapter in the file": (keyed(weight_key("A", tail=".other")), "not served"),
    "one place twice": (twice(tail=".default"), "twice|not served"),
    "a layer with a leading zero": (twice(layer="00"), "twice|not served"),
    "a layer in other digits": (one_pair(layer="٣"), "not served"),
    "a module in the wrong block": (one_pair(module="mlp.q_proj"), "not served"),
    # int() itself refuses over 4,300 digits.
    "a layer of 5,000 digits": (one_pair(layer="1" * 5_000), "not served"),
    # shapes and ranks
    "three dimensions": (
        header({A: entry([2, 2, 2], 0, 32), B: entry([6, 2], 32, 80)}),
        "do not multiply",
    ),
    "ranks of A and B differ": (
        lambda folder: write_adapter(folder, tensors={A: pair(rank=2)[A], B: pair(rank=3)[B]}),
        "do not multiply",
    ),
    "rank not as the config says": (one_pair(rank=3), f"rank 3, but {CONFIG_FILE} says 2"),
    "rank 10,000": (one_pair(rank=10_000, r=10_000, d_in=1, d_out=1), "rank 10000 is over"),
    "rank one over the bound": (one_pair(rank=RANK_MAX + 1, r=RANK_MAX + 1), f"is over {RANK_MAX}"),
    "rank in quotes": (config(r="2"), "says '2'"),
    "rank missing": (config(r=None), "says None"),
    "rank pattern in quotes": (config(rank_pattern={"q_proj": "2"}), "says '2'"),
    "rank pattern that is a list": (config(rank_pattern=["q_proj"]), "rank_pattern"),
    "alpha pattern that is text": (config(alpha_pattern="q_proj"), "alpha_pattern"),
    "alpha in quotes": (config(lora_alpha="16"), "lora_alpha is '16'"),
    "alpha true": (config(lora_alpha=True), "lora_alpha is True"),
    "alpha missing": (config(lora_alpha=None), "lora_alpha is None"),
    "alpha pattern in quotes": (config(alpha_pattern={"q_proj": "16"}), "lora_alpha is '16'"),
    "alpha NaN": (config(lora_alpha=float("nan")), "lora_alpha is nan"),
    "alpha infinite": (config(lora_alpha=float("inf")), "lora_alpha is inf"),
    "alpha beyond a double": (config(lora_alpha=10**400), "lora_alpha is"),
    "rank of 100,000 letters": (config(r="x" * 100_000), "rank 2, but"),
    "bias of 100,000 letters": (config(bias="x" * 100_000), "bias = "),
    # the config
    "config that is text": (config_text("no json"), "is not JSON"),
    "config that is no UTF-8": (config_text(b'{"r": "\xff"}'), "is not JSON"),
    "config that is a list": (config_text("[]"), "only peft_type LORA"),
    "config that is too large": (config_text(" " * (1 << 20) + "{}"), "missing or too large"),
    "config nested deep": (config_text('{"a":' + "[" * 100_000), "is not JSON"),
    "prompt tuning": (config(peft_type="PROMPT_TUNING"), "only peft_type LORA"),
    "no peft_type": (config(peft_type=None), "only peft_type LORA"),
    "DoRA": (config(use_dora=True), "use_dora = True is not served"),
    "bias": (config(bias="lora_only"), "bias = 'lora_only' is not served"),
    "bias of LoRA": (config(lora_bias=True), "lora_bias = True is not served"),
    "modules_to_save": (config(modules_to_save=["lm_head"]), "modules_to_save = ['lm_head'] is not served"),
    "layer replication": (config(layer_replication=[[0, 4], [2, 5]]), "layer_replication"),
    "trainable tokens": (config(trainable_token_indices=[1]), "trainable_token_indices"),
    "target parameters": (config(target_parameters=["mlp.experts.gate_up_proj"]), "target_parameters"),
    "QALoRA": (config(use_qalora=True), "use_qalora"),
    "activated LoRA": (config(alora_invocation_tokens=[1]), "alora_invocation_tokens"),
    # The first five replace weights of the base when PEFT loads them, the others change the forward pass.
    "PiSSA": (config(init_lora_weights="pissa"), "init_lora_weights = 'pissa' is not served"),
    "fast PiSSA": (config(init_lora_weights="pissa_niter_16"), "init_lora_weights"),
    "OLoRA": (config(init_lora_weights="olora"), "init_lora_weights"),
    "CorDA": (config(init_lora_weights="corda"), "init_lora_weights"),
    "LoftQ": (config(init_lora_weights="loftq", loftq_config={"loftq_bits": 4}), "init_lora_weights"),
    "Arrow": (config(arrow_config={"top_k": 3}), "arrow_config"),
    "KaSA": (config(kasa_config={"beta": 1e-4}), "kasa_config"),
    "block-diagonal LoRA": (config(use_bdlora={"nblocks": 2}), "use_bdlora"),
}


@pytest.mark.parametrize(("write", "message"), HOSTILE.values(), ids=HOSTILE.keys())
def test_a_hostile_or_odd_folder_is_refused_by_name(folder: Path, write: Callable[[Path], Any], message: str) -> None:
    write(folder)
    pattern = message if "|" in message else re.escape(message)
    with pytest.raises(AdapterRefusedError, match=pattern) as refusal:
        read_layout(folder)
    assert len(str(refusal.value)) < 600, "a stranger's text is quoted in part only"


@given(content=st.binary(max_size=200))
def test_garbage_in_place_of_weights_is_refused_and_does_nothing_else(content: bytes) -> None:
    with TemporaryDirectory() as name:
        folder = Path(name)
        write_config(folder)
        (folder / WEIGHTS_FILE).write_bytes(content)
        with pytest.raises(AdapterRefusedError):
            read_layout(folder)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


ENTRIES = JSON | st.fixed_dictionaries(
    {"dtype": st.sampled_from(["F32", "BF16"]) | JSON, "shape": JSON, "data_offsets": JSON}
)


@given(content=st.dictionaries(st.sampled_from([A, B, "__metadata__", "x"]), ENTRIES))
def test_whatever_json_is_the_header_the_only_error_is_a_refusal(content: dict[str, Any]) -> None:
    with TemporaryDirectory() as name, contextlib.suppress(AdapterRefusedError):
        header(content)(Path(name))
        read_layout(Path(name))


SETTINGS = [
    "r",
    "lora_alpha",
    "rank_pattern",
    "alpha_pattern",
    "use_rslora",
    "peft_type",
    "bias",
    "init_lora_weights",
]


@given(changes=st.dictionaries(st.sampled_from(SETTINGS), JSON))
def test_whatever_json_is_the_config_the_only_error_is_a_refusal(changes: dict[str, Any]) -> None:
    with TemporaryDirectory() as name, contextlib.suppress(AdapterRefusedError):
        read_layout(write_adapter(Path(name), **changes))
