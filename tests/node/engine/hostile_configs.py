"""Adapter folders with sound files that lie: configs, patterns, numbers and manifests, each with its refusal."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from node.engine.hostile_files import MAGNITUDE, A, B, Case, Write, config, config_text, header, one_pair
from safetensors.numpy import save_file
from support.peft_folders import CONFIG_FILE, WEIGHTS_FILE, Tensors, entry, pair, write_adapter, write_manifest

from openledger_node.models.adapter_files.layout import RANK_MAX

MANIFEST_FILE = "adapter.json"


def numbers(letter: str, value: float, dtype: Any = np.float32, **changes: Any) -> Write:
    """One number of a matrix is `value`."""

    def write(folder: Path) -> None:
        tensors: Tensors = {key: array.astype(dtype) for key, array in pair().items()}
        tensors[A if letter == "A" else B][1, 1] = value
        write_adapter(folder, tensors=tensors, **changes)

    return write


def brain_floats(pattern: int) -> Write:
    """All numbers of a file of bfloat16 are the one of these 16 bits."""

    def write(folder: Path) -> None:
        header({A: entry([2, 4], 0, 16, "BF16"), B: entry([6, 2], 16, 40, "BF16")}, data_bytes=0)(folder)
        with (folder / WEIGHTS_FILE).open("ab") as stream:
            stream.write(pattern.to_bytes(2, "little") * 20)

    return write


def filled(a: float, b: float, **changes: Any) -> Write:
    tensors = {key: np.full_like(array, a if key == A else b) for key, array in pair().items()}
    return lambda folder: write_adapter(folder, tensors=tensors, **changes)


def magnitude(value: float) -> Write:
    vector = np.array([1, 1, value, 1, 1, 1], dtype=np.float32)
    return lambda folder: write_adapter(folder, tensors={**pair(), MAGNITUDE: vector}, use_dora=True)


def manifest(**changes: Any) -> Write:
    return lambda folder: write_manifest(write_adapter(folder), **changes)


def manifest_text(change: Callable[[str], str | bytes]) -> Write:
    def write(folder: Path) -> None:
        text = change((write_manifest(write_adapter(folder)) / MANIFEST_FILE).read_text())
        (folder / MANIFEST_FILE).write_bytes(text if isinstance(text, bytes) else text.encode())

    return write


def changed_after(name: str) -> Write:
    """The manifest was made for other files."""

    def write(folder: Path) -> None:
        write_manifest(write_adapter(folder))
        if name == CONFIG_FILE:
            fields = json.loads((folder / name).read_text())
            (folder / name).write_text(json.dumps({**fields, "lora_alpha": 8}))
        else:
            save_file(pair(seed=9), folder / name)

    return write


def many_modules(count: int, **changes: Any) -> Write:
    def write(folder: Path) -> None:
        tensors = {
            f"base_model.model.model.layers.{number}.q_proj.lora_{letter}.weight": np.ones((1, 1), np.float32)
            for number in range(count)
            for letter in "AB"
        }
        write_adapter(folder, tensors=tensors, r=1, **changes)

    return write


HOSTILE_CONFIGS: dict[str, Case] = {
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
    "rank of a thousand million": (
        header({A: entry([10**9, 4], 0, 16 * 10**9), B: entry([6, 10**9], 16 * 10**9, 40 * 10**9)}),
        "does not fit its shape or the file",
    ),
    "rank of a thousand million in the config": (config(r=10**9), "says 1000000000"),
    "rank true": (one_pair(rank=1, r=True), "says True"),
    "rank of a fraction": (config(r=2.0), "says 2.0"),
    "rank below 0": (config(r=-2), "says -2"),
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
    "alpha NaN": (config(lora_alpha=float("nan")), "NaN is not a number"),
    "alpha infinite": (config(lora_alpha=float("inf")), "Infinity is not a number"),
    "alpha beyond a double": (config(lora_alpha=10**400), "lora_alpha is"),
    "rank of 100,000 letters": (config(r="x" * 100_000), "rank 2, but"),
    "bias of 100,000 letters": (config(bias="x" * 100_000), "bias = "),
    "alpha of 1e400": (config_text('{"peft_type": "LORA", "r": 2, "lora_alpha": 1e400}'), "too large for a number"),
    "alpha of 1e308": (config(lora_alpha=1e308), "lora_alpha is 1e+308"),
    "alpha below 0": (config(lora_alpha=-4), "lora_alpha is -4"),
    "alpha 0": (config(lora_alpha=0), "lora_alpha is 0"),
    "alpha of 5,000 digits": (
        config_text('{"peft_type": "LORA", "r": 2, "lora_alpha": ' + "9" * 5_000 + "}"),
        "is not JSON",
    ),
    "alpha pattern infinite": (
        config_text('{"peft_type": "LORA", "r": 2, "alpha_pattern": {"q_proj": Infinity}}'),
        "Infinity is not a number",
    ),
    # patterns
    "a pattern that doubles its work": (config(rank_pattern={"(a+)+$": 2}), "is not served"),
    "a pattern of nested choices": (config(alpha_pattern={"(a|a)*b": 2}), "is not served"),
    "a pattern with a look back": (config(rank_pattern={"(?<=a)q": 2}), "is not served"),
    "a pattern of no letters": (config(rank_pattern={"": 2}), "is not served"),
    "a pattern of 100,000 letters": (config(rank_pattern={"a" * 100_000: 2}), "is not served"),
    "a pattern that ends in an escape": (config(rank_pattern={"a\\": 2}), "is not a valid pattern"),
    "more patterns than time": (many_modules(1_000, rank_pattern={f"a{n}": 2 for n in range(2_000)}), "too many"),
    "more choices than time": (many_modules(1_000, alpha_pattern={f"a{n}|b": 2 for n in range(100)}), "too many"),
    # the numbers
    "NaN in A": (numbers("A", float("nan")), "not finite"),
    "NaN in B": (numbers("B", float("nan")), "not finite"),
    "infinity in B": (numbers("B", float("inf")), "not finite"),
    "minus infinity in A": (numbers("A", float("-inf")), "not finite"),
    "NaN in half precision": (numbers("A", float("nan"), np.float16), "not finite"),
    "infinity in half precision": (numbers("B", float("inf"), np.float16), "not finite"),
    "NaN in bfloat16": (brain_floats(0x7FC0), "not finite"),
    "infinity in bfloat16": (brain_floats(0xFF80), "not finite"),
    "NaN in DoRA's vector": (magnitude(float("nan")), "not finite"),
    "numbers that overflow when scaled": (filled(1.0, 3e38, lora_alpha=1e6), "beyond float32"),
    "numbers that overflow when multiplied": (filled(1e20, -1e20), "beyond float32"),
    "B of zeros": (filled(1.0, 0.0), "exactly like the base"),
    "A of zeros": (filled(0.0, 1.0), "exactly like the base"),
    "B of minus zeros": (filled(1.0, -0.0), "exactly like the base"),
    # the config
    "config that is text": (config_text("no json"), "is not JSON"),
    "config that is no UTF-8": (config_text(b'{"r": "\xff"}'), "is not JSON"),
    "config that is a list": (config_text("[]"), "is not a JSON object"),
    "config that is too large": (config_text(" " * (1 << 20) + "{}"), "is too large"),
    "config nested deep": (config_text('{"a":' + "[" * 100_000), "is not JSON"),
    "prompt tuning": (config(peft_type="PROMPT_TUNING"), "peft_type is 'PROMPT_TUNING'"),
    "no peft_type": (config(peft_type=None), "peft_type is None"),
    "DoRA without its vector": (config(use_dora=True), "has no lora_magnitude_vector"),
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
    "config with a key twice": (
        config_text('{"peft_type": "LORA", "r": 2, "lora_alpha": 4, "r": 64}'),
        "appears twice",
    ),
    "config with a pattern twice": (
        config_text('{"peft_type": "LORA", "rank_pattern": {"a": 1, "a": 2}}'),
        "appears twice",
    ),
    "config with a mark of byte order": (config_text(b"\xef\xbb\xbf{}"), "is not JSON"),
    "config of NULs": (config_text(bytes(100)), "is not JSON"),
    "config of no bytes": (config_text(""), "is not JSON"),
    "a setting of tomorrow": (config(use_tomorrow=True), "use_tomorrow = True is not served"),
    "a setting that is a terminal's command": (config(**{"\x1b[2J": True}), "is not served"),
    "DoRA by a number": (config(use_dora=1), "use_dora = 1 is not served"),
    "DoRA on weights that lie the other way": (
        config(use_dora=True, fan_in_fan_out=True),
        "fan_in_fan_out is not served",
    ),
    "IA3": (config(peft_type="IA3"), "peft_type is 'IA3'"),
    "VeRA": (config(peft_type="VERA"), "peft_type is 'VERA'"),
    "AdaLoRA": (config(peft_type="ADALORA"), "peft_type is 'ADALORA'"),
    "code to import": (config(auto_mapping={"parent_library": "os"}, peft_type="X"), "peft_type is 'X'"),
    # the manifest
    "manifest of another base": (manifest(base={"name": "fake", "digest": "0x" + "0" * 64}), "was made for base"),
    "manifest of another config": (changed_after(CONFIG_FILE), "their manifest says"),
    "manifest of other weights": (changed_after(WEIGHTS_FILE), "their manifest says"),
    "manifest with a digest of nothing": (manifest(artifact_digest="0x" + "0" * 64), "their manifest says"),
    "manifest with a key twice": (
        manifest_text(lambda text: text.replace("{", '{"name": "other",', 1)),
        "appears twice",
    ),
    "manifest with an unknown field": (manifest(trust_me=True), "trust_me"),
    "manifest of another schema": (manifest(schema="openledger.adapter/2"), "has schema"),
    "manifest that is a list": (manifest_text(lambda text: "[]"), "is not a JSON object"),
    "manifest nested deep": (manifest_text(lambda text: '{"a":' * 100_000), "is not JSON"),
    "manifest of NaN": (manifest_text(lambda text: '{"schema": NaN}'), "NaN is not a number"),
    "manifest of two megabytes": (manifest_text(lambda text: " " * (2 << 20)), "is too large"),
    "manifest whose name is a path": (manifest(name="../../harbour"), "name"),
    "manifest without a base": (manifest(base=None), "adapter.json"),
}
