"""Hostile adapter folders: each is written by code, and has the words with which it must be refused."""

import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from support.peft_folders import (
    CONFIG_FILE,
    D_IN,
    RANK,
    WEIGHTS_FILE,
    Tensors,
    entry,
    pair,
    sound_header,
    weight_key,
    write_adapter,
    write_config,
    write_header,
    write_manifest,
)

from openledger_node.models.adapter_files.layout import RANK_MAX

Write = Callable[[Path], object]
Case = tuple[Write, str]
"""Writes a hostile folder; and a part of its refusal, or several with `|` of which one is said."""

A, B = weight_key("A"), weight_key("B")
MAGNITUDE = A.replace("lora_A.weight", "lora_magnitude_vector")
PICKLE_FILE, MANIFEST_FILE = "adapter_model.bin", "adapter.json"


class Trap:
    """Leaves a mark when it is unpickled."""

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, ("was-unpickled",)


def config(**changes: Any) -> Write:
    return lambda folder: write_adapter(folder, **changes)


def file(name: str, content: str | bytes) -> Write:
    data = content if isinstance(content, bytes) else content.encode()
    return lambda folder: (write_adapter(folder) / name).write_bytes(data)


def header(content: object, **sizes: int) -> Write:
    def write(folder: Path) -> None:
        write_config(folder)
        write_header(folder, content, **{"data_bytes": 80, **sizes})

    return write


def changed(key: str, value: object) -> Write:
    return header({**sound_header(), key: value})


def without(name: str) -> Write:
    return lambda folder: (write_adapter(folder) / name).unlink()


def instead(name: str, make: Callable[[Path], object]) -> Write:
    def write(folder: Path) -> None:
        without(name)(folder)
        make(folder / name)

    return write


def link_away(name: str) -> Write:
    def write(folder: Path) -> None:
        file = write_adapter(folder) / name
        file.rename(folder / "elsewhere")
        file.symlink_to("elsewhere")

    return write


def sparse(name: str) -> Write:
    """A terabyte that takes no room."""
    return lambda folder: os.truncate(write_adapter(folder) / name, 1 << 40)


def pickled(folder: Path) -> None:
    without(WEIGHTS_FILE)(folder)
    (folder / PICKLE_FILE).write_bytes(pickle.dumps({A: Trap()}))


def one_pair(**changes: Any) -> Write:
    r = changes.pop("r", RANK)
    return lambda folder: write_adapter(folder, tensors=pair(**changes), r=r)


def keyed(key: str) -> Write:
    ones = np.ones((RANK, D_IN), dtype=np.float32)
    return lambda folder: write_adapter(folder, tensors={**pair(), key: ones})


def twice(**place: Any) -> Write:
    return lambda folder: write_adapter(folder, tensors={**pair(), **pair(**place)})


def tiny_tensors(count: int) -> Write:
    fields = '{"dtype":"F32","shape":[1],"data_offsets":[0,4]}'
    text = "{" + ",".join(f'"{number}":{fields}' for number in range(count)) + "}"
    return header(text.encode(), data_bytes=count * 4)


def with_magnitude(length: int, **changes: Any) -> Write:
    ones = np.ones(length, dtype=np.float32)
    return lambda folder: write_adapter(folder, tensors={**pair(), MAGNITUDE: ones}, **changes)


def with_nan(key: str, dtype: Any = np.float32) -> Write:
    tensors: Tensors = {name: array.astype(dtype) for name, array in pair().items()}
    tensors[key][1, 1] = np.nan
    return lambda folder: write_adapter(folder, tensors=tensors)


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


def changed_after(**changes: Any) -> Write:
    """The manifest was made for other files."""
    return lambda folder: write_adapter(write_manifest(write_adapter(folder)), **changes)


def many_modules(count: int, **changes: Any) -> Write:
    def write(folder: Path) -> None:
        tensors = {
            f"base_model.model.model.layers.{number}.q_proj.lora_{letter}.weight": np.ones((1, 1), np.float32)
            for number in range(count)
            for letter in "AB"
        }
        write_adapter(folder, tensors=tensors, r=1, **changes)

    return write


MILLIONS_OF_LISTS = header(b'{"x":[' + b"[]," * 1_300_000 + b"[]]}")

HOSTILE: dict[str, Case] = {
    # the folder
    "no folder": (lambda folder: None, "is not a PEFT adapter"),
    "no weights": (without(WEIGHTS_FILE), f"{WEIGHTS_FILE} is missing"),
    "a pickle instead": (pickled, "pickles are never opened"),
    "a pickle under our name": (file(WEIGHTS_FILE, pickle.dumps({A: Trap(), B: [0.0] * 100})), "a header of"),
    "weights behind a symlink": (link_away(WEIGHTS_FILE), "is a link"),
    "weights that are a folder": (instead(WEIGHTS_FILE, os.mkdir), "is not a regular file"),
    "weights that are a pipe": (instead(WEIGHTS_FILE, os.mkfifo), "is not a regular file"),
    "weights of a sparse terabyte": (sparse(WEIGHTS_FILE), "bytes are over"),
    "config behind a symlink": (link_away(CONFIG_FILE), "is a link"),
    "config of a sparse terabyte": (sparse(CONFIG_FILE), "is too large"),
    # the header
    "no bytes": (file(WEIGHTS_FILE, b""), "in a file of 0"),
    "seven bytes": (file(WEIGHTS_FILE, b"\x01" * 7), "in a file of 7"),
    "header bomb": (header({}, header_bytes=2**63), f"a header of {2**63} bytes"),
    "header of no bytes": (header({}, header_bytes=0), "a header of 0 bytes"),
    "header over the file": (header({}, header_bytes=83), "a header of 83 bytes"),
    "header over the cap": (file(WEIGHTS_FILE, (5 << 20).to_bytes(8, "little") + b" " * (5 << 20)), "a header of"),
    "header that is text": (header(b"no json"), "the header is not JSON"),
    "header that is no UTF-8": (header(b'{"\xff": 1}'), "the header is not JSON"),
    "header that is a list": (header([]), "not a JSON object"),
    "header nested deep": (header(b'{"a":' + b"[" * 100_000), "the header is not JSON"),
    "header without tensors": (header({}, data_bytes=0), "changes nothing"),
    "header with a key twice in escapes": (header(b'{"x":1,"\\u0078":2}'), "appears twice"),
    "header with a number of 5,000 digits": (header(b'{"x":' + b"9" * 5_000 + b"}"), "the header is not JSON"),
    "header with a number beyond a double": (header(b'{"x":1e400}'), "too large for a number"),
    "header with NaN": (header(b'{"x":NaN}'), "NaN is not a number"),
    "too many tiny tensors": (tiny_tensors(66_000), "tensors are over"),
    "metadata that is a list": (changed("__metadata__", []), "is not a map of strings"),
    "metadata of numbers": (changed("__metadata__", {"x": 1}), "is not a map of strings"),
    # its entries
    "entry that is text": (changed(A, "F32"), "an invalid header entry"),
    "entry without a shape": (changed(A, {"dtype": "F32", "data_offsets": [0, 32]}), "an invalid header entry"),
    "unknown type": (changed(A, entry([2, 4], 0, 8, "I8")), "is of type 'I8'"),
    "type in small letters": (changed(A, entry([2, 4], 0, 32, "f32")), "is of type 'f32'"),
    "an entry with a field too many": (changed(A, {**entry([2, 4], 0, 32), "x": 1}), "an invalid header entry"),
    "type that is a list": (changed(A, entry([2, 4], 0, 32, ["F32"])), "is of type ['F32']"),
    "three offsets": (changed(A, {**entry([2, 4], 0, 32), "data_offsets": [0, 32, 64]}), "an invalid header entry"),
    "offsets out of the file": (changed(B, entry([6, 2], 48, 96)), "does not fit its shape or the file"),
    "offsets below 0": (changed(A, entry([2, 4], -32, 0)), "an invalid header entry"),
    "offsets the wrong way": (changed(A, entry([2, 4], 32, 0)), "does not fit its shape or the file"),
    "shape larger than its bytes": (changed(A, entry([2, 5], 0, 32)), "does not fit its shape or the file"),
    "shape of truths": (changed(A, entry([True, 8], 0, 32)), "an invalid header entry"),
    "shape of fractions": (changed(A, entry([2.0, 4], 0, 32)), "an invalid header entry"),
    "shape below 0": (changed(A, entry([-2, -4], 0, 32)), "an invalid header entry"),
    "shape of nothing": (changed(A, entry([0, 4], 0, 0)), "does not fit its shape or the file"),
    "shape whose product is 0 in 64 bits": (changed(A, entry([2**32] * 3, 0, 32)), "does not fit its shape"),
    "shape whose bytes fit in 64 bits": (changed(A, entry([2, 4 + 2**62], 0, 32)), "does not fit its shape"),
    "shape of a thousand dimensions": (changed(A, entry([1] * 1000, 0, 4)), "an invalid header entry"),
    "shape of no dimensions": (
        header({A: entry([], 0, 4), B: entry([6, 2], 4, 52)}, data_bytes=52),
        "do not multiply",
    ),
    "offsets of truths": (changed(A, entry([1, 1], False, True)), "an invalid header entry"),
    # safetensors refuses these only when weights are loaded, which is after `adapters add` has said yes.
    "overlapping offsets": (header({A: entry([2, 4], 0, 32), B: entry([6, 2], 16, 64)}, data_bytes=64), "overlap"),
    "a hole between tensors": (header({A: entry([2, 4], 0, 32), B: entry([6, 2], 40, 88)}, data_bytes=88), "a hole"),
    "bytes after the last tensor": (header(sound_header(), data_bytes=81), "does not fit 342"),
    # which tensors
    "lora_A alone": (lambda folder: write_adapter(folder, tensors={A: pair()[A]}), "has no lora_B"),
    "lora_B alone": (lambda folder: write_adapter(folder, tensors={B: pair()[B]}), "has no lora_A"),
    "a full weight": (keyed("base_model.model.lm_head.weight"), "not served"),
    "a DoRA vector": (keyed(A.replace("lora_A.weight", "lora_magnitude_vector")), "says use_dora = False"),
    "keys without PEFT's prefix": (keyed(A.removeprefix("base_model.model.")), "not served"),
    "a key with more behind it": (keyed(A + ".x"), "not served"),
    "a second adapter in the file": (keyed(weight_key("A", tail=".other")), "not served"),
    "one place twice": (twice(tail=".default"), "twice|not served"),
    "a layer with a leading zero": (twice(layer="00"), "twice|not served"),
    "a layer in other digits": (one_pair(layer="٣"), "not served"),
    # int() itself refuses over 4,300 digits.
    "a layer of 5,000 digits": (one_pair(layer="1" * 5_000), "not served"),
    "a key that leads out of the folder": (keyed("base_model.model.../../etc/passwd.lora_A.weight"), "not served"),
    "a key with a line break at its end": (keyed(A + "\n"), "not served"),
    "a key in letters that look alike": (keyed(A.replace("q_proj", "q_prоj")), "not served"),
    "a key of 100,000 letters": (keyed(A.replace("q_proj", "q" * 100_000)), "not served"),
    "a key of a hundred names": (keyed(f"base_model.model.{'a.' * 100}lora_A.weight"), "not served"),
    "DoRA's vector twice": (
        lambda folder: write_adapter(
            folder,
            tensors={**pair(), MAGNITUDE: np.ones(6, np.float32), f"{MAGNITUDE}.weight": np.ones(6, np.float32)},
            use_dora=True,
        ),
        "appears twice",
    ),
    "DoRA's vector too short": (with_magnitude(5, use_dora=True), "DoRA's magnitude is (5,)"),
    "DoRA's vector alone": (
        lambda folder: write_adapter(folder, tensors={MAGNITUDE: np.ones(6, np.float32)}, use_dora=True),
        "has no lora_A and no lora_B",
    ),
    # shapes and ranks
    "three dimensions": (header({A: entry([2, 2, 2], 0, 32), B: entry([6, 2], 32, 80)}), "do not multiply"),
    "ranks of A and B differ": (
        lambda folder: write_adapter(folder, tensors={A: pair(rank=2)[A], B: pair(rank=3)[B]}),
        "do not multiply",
    ),
    "rank not as the config says": (one_pair(rank=3), f"rank 3, but {CONFIG_FILE} says 2"),
    "rank true": (one_pair(rank=1, r=True), "says True"),
    "rank of a fraction": (config(r=2.0), "says 2.0"),
    "rank one over the bound": (one_pair(rank=RANK_MAX + 1, r=RANK_MAX + 1), f"is over {RANK_MAX}"),
    "alpha pattern that is text": (config(alpha_pattern="q_proj"), "alpha_pattern"),
    "alpha in quotes": (config(lora_alpha="16"), "lora_alpha is '16'"),
    "alpha true": (config(lora_alpha=True), "lora_alpha is True"),
    "alpha NaN": (config(lora_alpha=float("nan")), "NaN is not a number"),
    "alpha infinite": (config(lora_alpha=float("inf")), "Infinity is not a number"),
    "alpha beyond a double": (config(lora_alpha=10**400), "lora_alpha is"),
    "rank of 100,000 letters": (config(r="x" * 100_000), "rank 2, but"),
    "alpha of 1e308": (config(lora_alpha=1e308), "lora_alpha is 1e+308"),
    "alpha below 0": (config(lora_alpha=-4), "lora_alpha is -4"),
    "alpha 0": (config(lora_alpha=0), "lora_alpha is 0"),
    # patterns
    "more patterns than time": (many_modules(1_000, rank_pattern={f"a{n}": 2 for n in range(2_000)}), "too many"),
    "more choices than time": (many_modules(1_000, alpha_pattern={f"a{n}|b": 2 for n in range(100)}), "too many"),
    # the numbers
    "NaN in A": (with_nan(A), "not finite"),
    "NaN in B": (with_nan(B), "not finite"),
    "NaN in bfloat16": (brain_floats(0x7FC0), "not finite"),
    "infinity in bfloat16": (brain_floats(0xFF80), "not finite"),
    "NaN in DoRA's vector": (magnitude(float("nan")), "not finite"),
    "numbers that overflow when scaled": (filled(1.0, 3e38, lora_alpha=1e6), "beyond float32"),
    "numbers that overflow when multiplied": (filled(1e20, -1e20), "beyond float32"),
    "B of zeros": (filled(1.0, 0.0), "exactly like the base"),
    "A of zeros": (filled(0.0, 1.0), "exactly like the base"),
    # the config
    "config that is text": (file(CONFIG_FILE, "no json"), "is not JSON"),
    "config that is too large": (file(CONFIG_FILE, " " * (1 << 20) + "{}"), "is too large"),
    "config of prompt tuning": (config(peft_type="PROMPT_TUNING"), "peft_type is 'PROMPT_TUNING'"),
    "DoRA without its vector": (config(use_dora=True), "has no lora_magnitude_vector"),
    "modules_to_save": (config(modules_to_save=["lm_head"]), "modules_to_save = ['lm_head'] is not served"),
    "a setting of tomorrow": (config(use_tomorrow=True), "use_tomorrow = True is not served"),
    "a setting that is a terminal's command": (config(**{"\x1b[2J": True}), "is not served"),
    "DoRA by a number": (config(use_dora=1), "use_dora = 1 is not served"),
    "DoRA on weights that lie the other way": (config(use_dora=True, fan_in_fan_out=True), "is not served"),
    # the manifest
    "manifest of another base": (manifest(base={"name": "fake", "digest": "0x" + "0" * 64}), "was made for base"),
    "manifest of another config": (changed_after(lora_alpha=8), "their manifest says"),
    "manifest of other weights": (changed_after(seed=9), "their manifest says"),
    "manifest with a digest of nothing": (manifest(artifact_digest="0x" + "0" * 64), "their manifest says"),
    "manifest with an unknown field": (manifest(trust_me=True), "trust_me"),
    "manifest of another schema": (manifest(schema="openledger.adapter/2"), "has schema"),
    **{
        f"manifest that is {content!r:.36}": (file(MANIFEST_FILE, content), MANIFEST_FILE)
        for content in (
            "",
            "{",
            "[]",
            '"text"',
            b"\xff",
            '{"a":' + "[" * 100_000,
            '{"schema": "openledger.adapter/1"}',
        )
    },
    "manifest of two megabytes": (file(MANIFEST_FILE, " " * (2 << 20)), "is too large"),
    # `exists()` is true of a pipe, and reading one waits for a writer for ever.
    "manifest that is a pipe": (lambda folder: os.mkfifo(write_adapter(folder) / MANIFEST_FILE), "regular file"),
    "manifest whose name is a path": (manifest(name="../../harbour"), "name"),
    "manifest without a base": (manifest(base=None), "adapter.json"),
}
