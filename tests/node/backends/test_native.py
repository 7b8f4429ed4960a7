"""The compiled CPU path against plain torch in float32, family by family, and against itself bit by bit."""

import os
import shutil
import stat
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.tiny import make_adapter, make_base
from support.torch_bases import ADAPTER, cpu_settings, load, row

from openledger_node.backends.native import build, open_accelerated
from openledger_node.backends.native.backend import NativeBackend
from openledger_node.backends.native.tensors import Tensors
from openledger_node.backends.torch_lora.backend import TorchLoraBackend
from openledger_node.errors import ModelError
from openledger_protocol.primitives import AdapterId

is_possible = build.processor_flags() >= build.FLAGS_WANTED and build.find_compiler() is not None
pytestmark = [
    pytest.mark.process,
    pytest.mark.skipif(not is_possible, reason="needs a processor with AVX512-BF16 and a C++ compiler"),
]

PROMPT = tuple(range(5, 55))
WORSE_MAX = 1.6
"""Mean error over that of torch in bfloat16, both against float32: half in a real model, noisy in a tiny one."""

FAMILIES: dict[str, dict[str, Any]] = {
    "llama": {"model_type": "llama", "attention_bias": True, "mlp_bias": True, "tie_word_embeddings": True},
    "llama-one-key-head": {"model_type": "llama", "num_attention_heads": 8, "num_key_value_heads": 1},
    "llama-wide-heads": {"model_type": "llama", "head_dim": 80},
    "llama-many-inputs": {"model_type": "llama", "intermediate_size": 1200},
    "llama-odd-sizes": {"model_type": "llama", "hidden_size": 52, "intermediate_size": 70, "vocab_size": 261},
    "qwen2": {},
    "qwen3": {},
}

ADAPTERS: dict[str, dict[str, Any]] = {
    "rank 4": {},
    "rank 7, two maps": {"r": 7, "target_modules": ["q_proj", "down_proj"]},
    "rank 64": {"r": 64, "lora_alpha": 64},
    "patterns": {"rank_pattern": {"q_proj": 2, "layers.1.mlp.down_proj": 6}, "alpha_pattern": {"v_proj": 1}},
    "DoRA": {"use_dora": True},
}


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiny")
    make_base(folder / "base")
    for number, (name, settings) in enumerate(ADAPTERS.items()):
        make_adapter(folder / "base", folder / name, seed=number, **settings)
    return folder


def native(base: Path, cache: Path, **changes: Any) -> NativeBackend:
    settings = cpu_settings(base, dtype="auto", threads=2, batch_max=8, cache_folder=str(cache), **changes)
    backend = open_accelerated(settings)
    assert backend is not None
    return backend


def torch_logits(base: Path, adapter: Path | None, dtype: str = "float32") -> Any:
    backend = TorchLoraBackend(cpu_settings(base, dtype=dtype, threads=2, acceleration="off"))
    if adapter:
        load(backend, adapter)
    backend.join("s", ADAPTER if adapter else None)
    return backend.logits((row("s", PROMPT),))[0].numpy()


def check_is_close(backend: NativeBackend, base: Path, adapter: Path) -> None:
    """No further from float32 than torch in bfloat16 is, and far from what the bare base says."""
    load(backend, adapter)
    backend.join("s", ADAPTER)
    found, exact = backend.logits((row("s", PROMPT),))["s"], torch_logits(base, adapter)
    error, usual = (np.abs(each - exact).mean() for each in (found, torch_logits(base, adapter, "bfloat16")))
    assert error < WORSE_MAX * usual
    assert error < np.abs(torch_logits(base, None) - exact).mean() / 5


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_computes_what_torch_does(family: str, tmp_path: Path, cache: Path) -> None:
    changes = dict(FAMILIES[family])
    base = make_base(tmp_path / family, model_type=changes.pop("model_type", family), **changes)
    check_is_close(native(base, cache), base, make_adapter(base, tmp_path / "adapter", seed=1))


def test_logits_are_the_same_bits_alone_and_in_any_batch(root: Path, cache: Path) -> None:
    backend = native(root / "base", cache)
    ids = [None, *map(AdapterId, ADAPTERS)]
    for name in ADAPTERS:
        load(backend, root / name, AdapterId(name))
    names = [f"s{number}" for number in range(len(ids))]
    for name, adapter_id in zip(names, ids, strict=True):
        backend.join(name, adapter_id)
    prompts = [tuple((7 * n + k) % 250 for k in range(20 + 9 * n)) for n in range(len(ids))]
    together = backend.logits(
        tuple(row(n, p, first=8 * t) for t, (n, p) in enumerate(zip(names, prompts, strict=True)))
    )
    for number, (name, prompt) in enumerate(zip(names, prompts, strict=True)):
        assert np.array_equal(backend.logits((row(name, prompt, first=8 * number),))[name], together[name])
    tokens = [int(together[name].argmax()) for name in names]
    steps = [
        row(n, (t,), len(p), first=8 * i) for i, (n, t, p) in enumerate(zip(names, tokens, prompts, strict=True))
    ]
    decoded = backend.logits(tuple(steps))
    for step in steps:
        assert np.array_equal(backend.logits((step,))[step.sequence_id], decoded[step.sequence_id])


def test_a_row_whose_numbers_overflow_draws_nothing_and_harms_nobody(root: Path, cache: Path, tmp_path: Path) -> None:
    backend = native(root / "base", cache)
    load(backend, make_adapter(root / "base", tmp_path / "loud", seed=1, scale=1e30))
    backend.join("loud", ADAPTER)
    backend.join("calm", None)
    alone = backend.step((row("calm", PROMPT, first=8),))
    assert backend.step((row("loud", PROMPT), row("calm", PROMPT, first=8))) == alone
    backend.leave("loud")
    assert backend.step((row("calm", PROMPT, first=0),)) == alone  # in the blocks that hold no numbers


def test_what_was_packed_is_read_again_and_a_torn_file_is_packed_anew(root: Path, tmp_path: Path) -> None:
    first = native(root / "base", tmp_path)
    load(first, root / "DoRA")
    first.join("s", ADAPTER)
    wanted = first.logits((row("s", PROMPT),))["s"]
    packed = list(tmp_path.rglob("*.pack"))
    assert len(packed) == 2
    for tear in (lambda content: content, lambda content: content[: len(content) // 2], lambda content: b""):
        for file in packed:
            file.write_bytes(tear(file.read_bytes()))
        again = native(root / "base", tmp_path)
        load(again, root / "DoRA")
        again.join("s", ADAPTER)
        assert np.array_equal(again.logits((row("s", PROMPT),))["s"], wanted)


def test_without_compiler_or_processor_or_with_other_settings_it_is_quietly_absent(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for changes in ({"acceleration": "off"}, {"dtype": "float32"}, {"quantisation": "int8"}):
        assert open_accelerated(cpu_settings(root / "base", **{"dtype": "auto", **changes})) is None
    monkeypatch.setenv("CXX", "/bin/false")
    assert open_accelerated(cpu_settings(root / "base", dtype="auto", cache_folder=str(tmp_path))) is None
    monkeypatch.setattr(build, "processor_flags", lambda: {"avx2"})
    assert build.open_library(tmp_path) is None


def test_a_build_that_computes_wrong_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    compiler = tmp_path / "careless"
    spoil = "s/float(base_.head_dim)/1.0f/"
    spoiled = f'for file; do case $file in *.cpp) sed -i "{spoil}" "$(dirname "$file")"/*.h;; esac; done'
    compiler.write_text(f'#!/bin/sh\n{spoiled}\nexec g++ "$@" -O0\n')
    compiler.chmod(stat.S_IRWXU)
    monkeypatch.setenv("CXX", str(compiler))
    assert build.open_library(tmp_path / "cache") is None
    assert "the compiled step computes logits that are" in caplog.text


KERNELS = {
    "amx_bf16": f"-O1 -include {Path(__file__).parents[2] / 'support' / 'amx_emulation.h'}",
    "avx512_bf16": "-mno-amx-tile -mno-amx-bf16",
}
"""What the compiler is told, so that each of them is tried out whatever this processor has.

The emulation of tiles takes twice as long to compile with -O3, and nobody serves with it.
"""


@pytest.fixture(scope="module", params=KERNELS)
def kernel(request: pytest.FixtureRequest, root: Path, tmp_path_factory: pytest.TempPathFactory) -> NativeBackend:
    folder = tmp_path_factory.mktemp("kernel")
    compiler = folder / "compiler"
    compiler.write_text(f'#!/bin/sh\nexec {build.find_compiler()} "$@" {KERNELS[request.param]}\n')
    compiler.chmod(stat.S_IRWXU)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CXX", str(compiler))
        backend = native(root / "base", folder / "cache")
    assert backend.profile.kernel == request.param
    return backend


@pytest.mark.parametrize("name", ADAPTERS)
def test_each_kernel_computes_what_torch_does_to_the_same_bits_in_any_batch_and_pieces(
    name: str, root: Path, kernel: NativeBackend
) -> None:
    check_is_close(kernel, root / "base", root / name)
    kernel.join("calm", None)
    alone = [kernel.logits((row(*rows, first=8),)) for rows in (("calm", PROMPT[:33]), ("s", PROMPT))]
    together = kernel.logits((row("s", PROMPT), row("calm", PROMPT[:33], first=8)))
    assert np.array_equal(together["calm"], alone[0]["calm"])
    assert np.array_equal(together["s"], alone[1]["s"])
    for cuts in ((1, 50), (16, 17, 50), (31, 49, 50)):  # the last piece is a row without tiles
        for first, last in pairwise((0, *cuts)):
            found = kernel.logits((row("s", PROMPT[first:last], first),))["s"]
        assert np.array_equal(found, together["s"]), cuts
    kernel.leave("s")
    kernel.leave("calm")
    kernel.unload_adapter(ADAPTER)


def test_a_torn_base_is_no_traceback_but_says_what_to_do(root: Path, cache: Path, tmp_path: Path) -> None:
    folder = tmp_path / "torn"
    shutil.copytree(root / "base", folder)
    file = next(folder.glob("*.safetensors"))
    for size in (file.stat().st_size // 2, 4, 0):
        os.truncate(file, size)
        with pytest.raises(ModelError, match=r"is not whole .*: pull the base again"):
            Tensors(file)
