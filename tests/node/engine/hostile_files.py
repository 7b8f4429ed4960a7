"""Adapter folders with hostile files: each is written by code, and has the words with which it must be refused."""

import io
import json
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from support.peft_folders import (
    CONFIG_FILE,
    D_IN,
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

Write = Callable[[Path], object]
Case = tuple[Write, str]
"""What writes the folder, and a part of the refusal; parts with `|` are alternatives."""

A, B = weight_key("A"), weight_key("B")
MAGNITUDE = A.replace("lora_A.weight", "lora_magnitude_vector")
PICKLE_FILE = "adapter_model.bin"


class Trap:
    """Leaves a mark when it is unpickled."""

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, ("was-unpickled",)


def config(**changes: Any) -> Write:
    return lambda folder: write_adapter(folder, **changes)


def config_text(text: str | bytes) -> Write:
    def write(folder: Path) -> None:
        write_adapter(folder)
        (folder / CONFIG_FILE).write_bytes(text if isinstance(text, bytes) else text.encode())

    return write


def header(content: object, **sizes: int) -> Write:
    def write(folder: Path) -> None:
        write_config(folder)
        write_header(folder, content, **{"data_bytes": 80, **sizes})

    return write


def changed(key: str, value: object) -> Write:
    return header({**sound_header(), key: value})


def tensors(**arrays: Any) -> Write:
    return lambda folder: write_adapter(folder, **arrays)


def weights_bytes(content: bytes) -> Write:
    def write(folder: Path) -> None:
        write_config(folder)
        (folder / WEIGHTS_FILE).write_bytes(content)

    return write


def without(name: str) -> Write:
    return lambda folder: (write_adapter(folder) / name).unlink()


def link(name: str) -> Write:
    def write(folder: Path) -> None:
        write_adapter(folder)
        (folder / name).rename(folder / "elsewhere")
        (folder / name).symlink_to(folder / "elsewhere")

    return write


def link_to(name: str, target: str) -> Write:
    def write(folder: Path) -> None:
        without(name)(folder)
        (folder / name).symlink_to(target)

    return write


def pipe(name: str) -> Write:
    def write(folder: Path) -> None:
        without(name)(folder)
        os.mkfifo(folder / name)

    return write


def subfolder(name: str) -> Write:
    def write(folder: Path) -> None:
        without(name)(folder)
        (folder / name).mkdir()

    return write


def sparse(name: str) -> Write:
    """A terabyte that takes no room."""

    def write(folder: Path) -> None:
        write_adapter(folder)
        os.truncate(folder / name, 1 << 40)

    return write


def sparse_with_header(folder: Path) -> None:
    """A terabyte of which the header says the truth."""
    write_config(folder)
    num_bytes = (1 << 40) - 80
    columns = num_bytes // 4 // RANK
    sound = {
        A: entry([RANK, columns], 0, columns * RANK * 4),
        B: entry([6, RANK], columns * RANK * 4, columns * RANK * 4 + 48),
    }
    write_header(folder, sound)
    os.truncate(folder / WEIGHTS_FILE, (folder / WEIGHTS_FILE).stat().st_size + columns * RANK * 4 + 48)


def zip_bomb(folder: Path) -> None:
    """A torch archive: a zip whose member is 256 MiB of zeros in 250 KB."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("data.pkl", "w") as member:
        for _ in range(256):
            member.write(bytes(1 << 20))
    write_config(folder)
    (folder / WEIGHTS_FILE).write_bytes(content.getvalue())


def pickled(folder: Path) -> None:
    without(WEIGHTS_FILE)(folder)
    (folder / PICKLE_FILE).write_bytes(pickle.dumps({A: Trap()}))


def pickled_under_our_name(folder: Path) -> None:
    write_config(folder)
    (folder / WEIGHTS_FILE).write_bytes(pickle.dumps({A: Trap(), B: [0.0] * 100}))


def one_pair(**changes: Any) -> Write:
    r = changes.pop("r", RANK)
    return lambda folder: write_adapter(folder, tensors=pair(**changes), r=r)


def keyed(key: str) -> Write:
    ones = np.ones((RANK, D_IN), dtype=np.float32)
    return lambda folder: write_adapter(folder, tensors={**pair(), key: ones})


def twice(**place: Any) -> Write:
    return lambda folder: write_adapter(folder, tensors={**pair(), **pair(**place)})


def raw_entries(*entries: tuple[str, dict[str, Any]], data_bytes: int = 80) -> Write:
    """A header whose keys may come twice, which no dict can say."""
    text = ",".join(f"{json.dumps(key)}:{json.dumps(fields)}" for key, fields in entries)
    return header(b"{" + text.encode() + b"}", data_bytes=data_bytes)


def tiny_tensors(count: int) -> Write:
    fields = '{"dtype":"F32","shape":[1],"data_offsets":[0,4]}'
    text = "{" + ",".join(f'"{number}":{fields}' for number in range(count)) + "}"
    return header(text.encode(), data_bytes=count * 4)


def with_magnitude(length: int, **changes: Any) -> Write:
    ones = np.ones(length, dtype=np.float32)
    return lambda folder: write_adapter(folder, tensors={**pair(), MAGNITUDE: ones}, **changes)


HOSTILE_FILES: dict[str, Case] = {
    # the folder
    "empty folder": (lambda folder: folder.mkdir(), "is not a PEFT adapter"),
    "no folder": (lambda folder: None, "is not a PEFT adapter"),
    "no config": (without(CONFIG_FILE), f"{CONFIG_FILE} is missing"),
    "no weights": (without(WEIGHTS_FILE), f"{WEIGHTS_FILE} is missing"),
    "a pickle instead": (pickled, "pickles are never opened"),
    "a pickle under our name": (pickled_under_our_name, "a header of"),
    "weights behind a symlink": (link(WEIGHTS_FILE), "is a link"),
    "weights that are a folder": (subfolder(WEIGHTS_FILE), "is not a regular file"),
    "weights that are a pipe": (pipe(WEIGHTS_FILE), "is not a regular file"),
    "weights behind a link to a device": (link_to(WEIGHTS_FILE, "/dev/zero"), "is a link"),
    "weights behind a link in a circle": (link_to(WEIGHTS_FILE, WEIGHTS_FILE), "is a link"),
    "weights of a sparse terabyte": (sparse(WEIGHTS_FILE), "bytes are over"),
    "a sparse terabyte with an honest header": (sparse_with_header, "bytes are over"),
    "weights that are a zip bomb": (zip_bomb, "a header of"),
    "config behind a symlink": (link(CONFIG_FILE), "is a link"),
    "config behind a link to a device": (link_to(CONFIG_FILE, "/dev/zero"), "is a link"),
    "config that is a pipe": (pipe(CONFIG_FILE), "is not a regular file"),
    "config that is a folder": (subfolder(CONFIG_FILE), "is not a regular file"),
    "config of a sparse terabyte": (sparse(CONFIG_FILE), "is too large"),
    # the header
    "no bytes": (weights_bytes(b""), "in a file of 0"),
    "seven bytes": (weights_bytes(b"\x01" * 7), "in a file of 7"),
    "header bomb": (header({}, header_bytes=2**63), f"a header of {2**63} bytes"),
    "header of all bits": (header({}, header_bytes=2**64 - 1), "a header of"),
    "header of no bytes": (header({}, header_bytes=0), "a header of 0 bytes"),
    "header below 0 for who reads it signed": (header({}, header_bytes=2**64 - 8), "a header of"),
    "header over the file": (header({}, header_bytes=83), "a header of 83 bytes"),
    "header over the cap": (weights_bytes((5 << 20).to_bytes(8, "little") + b" " * (5 << 20)), "a header of"),
    "header that is text": (header(b"no json"), "the header is not JSON"),
    "header that is no UTF-8": (header(b'{"\xff": 1}'), "the header is not JSON"),
    "header that is a list": (header([]), "not a JSON object"),
    "header nested deep": (header(b'{"a":' + b"[" * 100_000), "the header is not JSON"),
    "header without tensors": (header({}, data_bytes=0), "changes nothing"),
    "header of metadata alone": (header({"__metadata__": {"format": "pt"}}, data_bytes=0), "changes nothing"),
    "header nested deep in objects": (header(b'{"a":' * 100_000), "the header is not JSON"),
    "header cut in the middle": (header(b'{"a":{"dtype":"F32"'), "the header is not JSON"),
    "header with a key twice": (
        raw_entries((A, entry([2, 4], 0, 32)), (B, entry([6, 2], 32, 80)), (A, entry([4, 2], 0, 32))),
        "appears twice",
    ),
    "header with a key twice in escapes": (header(b'{"x":1,"\\u0078":2}'), "appears twice"),
    "an entry with a key twice": (
        header(b'{"x":{"dtype":"F32","dtype":"F32","shape":[1],"data_offsets":[0,4]}}'),
        "appears twice",
    ),
    "header with a number of 5,000 digits": (header(b'{"x":' + b"9" * 5_000 + b"}"), "the header is not JSON"),
    "header with a number beyond a double": (header(b'{"x":1e400}'), "too large for a number"),
    "header with NaN": (header(b'{"x":NaN}'), "NaN is not a number"),
    "header of millions of empty lists": (
        header(b'{"x":[' + b"[]," * 1_300_000 + b"[]]}"),
        "an invalid header entry",
    ),
    "a million tiny tensors": (tiny_tensors(1_000_000), "a header of"),
    "too many tiny tensors": (tiny_tensors(66_000), "tensors are over|fit|overlap|a header of"),
    "metadata that is a list": (
        header({"__metadata__": [], **sound_header()}),
        "__metadata__ is not a map of strings",
    ),
    "metadata of numbers": (
        header({"__metadata__": {"x": 1}, **sound_header()}),
        "__metadata__ is not a map of strings",
    ),
    "metadata of five megabytes": (header({"__metadata__": {"x": "y" * (5 << 20)}, **sound_header()}), "a header of"),
    # its entries
    "entry that is text": (changed(A, "F32"), "an invalid header entry"),
    "entry that is a list": (changed(A, []), "an invalid header entry"),
    "entry without a shape": (changed(A, {"dtype": "F32", "data_offsets": [0, 32]}), "an invalid header entry"),
    "unknown type": (changed(A, entry([2, 4], 0, 8, "I8")), "is of type 'I8'"),
    "whole numbers": (changed(A, entry([2, 4], 0, 64, "I64")), "is of type 'I64'"),
    "doubles": (changed(A, entry([2, 4], 0, 64, "F64")), "is of type 'F64'"),
    "truths": (changed(A, entry([2, 4], 0, 8, "BOOL")), "is of type 'BOOL'"),
    "floats of 8 bits": (changed(A, entry([2, 4], 0, 8, "F8_E4M3")), "is of type 'F8_E4M3'"),
    "type in small letters": (changed(A, entry([2, 4], 0, 32, "f32")), "is of type 'f32'"),
    "an entry with a field too many": (
        changed(A, {**entry([2, 4], 0, 32), "strides": [4, 1]}),
        "an invalid header entry",
    ),
    "type that is a list": (changed(A, entry([2, 4], 0, 32, ["F32"])), "is of type ['F32']"),
    "three offsets": (changed(A, {**entry([2, 4], 0, 32), "data_offsets": [0, 32, 64]}), "an invalid header entry"),
    "offsets of text": (changed(A, entry([2, 4], "0", "32")), "header entry|does not fit"),
    "offsets out of the file": (changed(B, entry([6, 2], 48, 96)), "does not fit its shape or the file"),
    "offsets below 0": (changed(A, entry([2, 4], -32, 0)), "an invalid header entry"),
    "offsets the wrong way": (changed(A, entry([2, 4], 32, 0)), "does not fit its shape or the file"),
    "shape larger than its bytes": (changed(A, entry([2, 5], 0, 32)), "does not fit its shape or the file"),
    "shape of text": (changed(A, entry(["2", 4], 0, 32)), "an invalid header entry"),
    "shape of truths": (changed(A, entry([True, 8], 0, 32)), "an invalid header entry"),
    "shape of fractions": (changed(A, entry([2.0, 4], 0, 32)), "an invalid header entry"),
    "shape below 0": (changed(A, entry([-2, -4], 0, 32)), "an invalid header entry"),
    "shape of nothing": (changed(A, entry([0, 4], 0, 0)), "does not fit its shape or the file"),
    "shape beyond any memory": (changed(A, entry([2**62, 2**62], 0, 32)), "does not fit its shape or the file"),
    "shape whose product is 0 in 64 bits": (
        changed(A, entry([2**32, 2**32, 2**32], 0, 32)),
        "does not fit its shape or the file",
    ),
    "shape whose bytes fit in 64 bits": (
        changed(A, entry([2, 4 + 2**62], 0, 32)),
        "does not fit its shape or the file",
    ),
    "shape of a thousand dimensions": (changed(A, entry([1] * 1000, 0, 4)), "an invalid header entry"),
    "shape of no dimensions": (
        header({A: entry([], 0, 4), B: entry([6, 2], 4, 52)}, data_bytes=52),
        "do not multiply",
    ),
    "offsets of truths": (changed(A, entry([1, 1], False, True)), "an invalid header entry"),
    "offsets beyond 64 bits": (changed(A, entry([2, 4], 2**70, 2**70 + 32)), "does not fit its shape or the file"),
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
    "offsets of fractions": (changed(A, entry([2, 4], 0.0, 32.0)), "fit|an invalid header entry"),
    # which tensors
    "lora_A alone": (lambda folder: write_adapter(folder, tensors={A: pair()[A]}), "has no lora_B"),
    "lora_B alone": (lambda folder: write_adapter(folder, tensors={B: pair()[B]}), "has no lora_A"),
    "a full weight": (keyed("base_model.model.lm_head.weight"), "not served"),
    "an embedding": (keyed("base_model.model.model.embed_tokens.lora_embedding_A"), "not served"),
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
    "a key with a NUL": (keyed(A.replace("q_proj", "q\0proj")), "not served"),
    "a key with a line break at its end": (keyed(A + "\n"), "not served"),
    "a key in letters that look alike": (keyed(A.replace("q_proj", "q_prоj")), "not served"),
    "a key that writes from right to left": (keyed(A.replace("q_proj", "q_\u202eproj")), "not served"),
    "a key of 100,000 letters": (keyed(A.replace("q_proj", "q" * 100_000)), "not served"),
    "a key of a hundred names": (keyed(f"base_model.model.{'a.' * 100}lora_A.weight"), "not served"),
    "a key of Python's own": (keyed(A.replace("q_proj", "__class__")), "not served"),
    "a key of no bytes": (keyed(""), "not served"),
    "a prompt embedding": (keyed("prompt_embeddings"), "not served"),
    "a vector of IA3": (keyed("base_model.model.model.layers.0.self_attn.k_proj.ia3_l"), "not served"),
    "singular values of AdaLoRA": (keyed(A.replace("lora_A.weight", "lora_E")), "not served"),
    "shared matrices of VeRA": (keyed("base_model.vera_A"), "not served"),
    "a bias of LoRA in the file": (keyed(A.replace("lora_A.weight", "lora_B.bias")), "not served"),
    "a bias of the base in the file": (keyed("base_model.model.model.layers.0.self_attn.q_proj.bias"), "not served"),
    "a saved module": (keyed("base_model.model.lm_head.modules_to_save.weight"), "not served"),
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
}
