"""Taps of the compiled CPU path: those of plain torch up to bfloat16, and the same bits in a replay."""

from pathlib import Path

import numpy as np
import pytest
from node.backends.tapped_steps import replayed, stepped
from numpy.typing import NDArray
from support.batches import load, source_of
from support.tiny import make_adapter, make_base
from support.torch_bases import cpu_settings

from openledger_node.backends.native import build, open_accelerated
from openledger_node.backends.native.backend import NativeBackend
from openledger_node.backends.native.library import Linear
from openledger_node.backends.native.tapping import head_rows, likeliest, log_softmax
from openledger_node.backends.native.tensors import narrow, product_layout, widen
from openledger_node.backends.torch_lora.backend import TorchLoraBackend
from openledger_node.engine import taps as engine_taps
from openledger_node.engine.taps import Taps
from openledger_protocol.primitives import AdapterId

is_possible = build.processor_flags() >= build.FLAGS_WANTED and build.find_compiler() is not None
pytestmark = pytest.mark.process

needs_step = pytest.mark.skipif(not is_possible, reason="needs a processor with AVX512-BF16 and a C++ compiler")

FULL, PART, DORA = AdapterId("0xaa"), AdapterId("0xbb"), AdapterId("0xcc")
COSINE_MIN = 0.99
LOGIT_ERROR_MAX = 0.05


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("taps")
    base = make_base(root / "base")
    make_adapter(base, root / FULL, seed=1)
    make_adapter(base, root / PART, seed=2, r=3, target_modules=["q_proj", "down_proj"])
    make_adapter(base, root / DORA, seed=3, r=20, use_dora=True)
    return root


@pytest.fixture(scope="module")
def native(folder: Path) -> NativeBackend:
    backend = open_accelerated(
        cpu_settings(folder / "base", dtype="auto", threads=2, batch_max=8, cache_folder=str(folder / "cache"))
    )
    assert backend is not None
    for adapter_id in (FULL, PART, DORA):
        load(backend, source_of(folder, adapter_id))
    return backend


def cosines(left: Taps, right: Taps) -> list[float]:
    pairs = zip(left.activations, right.activations, strict=True)
    return [float(a @ b / np.linalg.norm(a) / np.linalg.norm(b)) for a, b in pairs]


def _below_first(taps: Taps) -> NDArray[np.float32]:
    return taps.top_logits - taps.top_logits[:, :1]


@needs_step
@pytest.mark.parametrize("vocabulary", [1, 15, 31, 32, 33, 5_001])
@pytest.mark.parametrize("distinct", [1, 10_000])
def test_the_likeliest_tokens_are_those_that_every_backend_finds(
    folder: Path, vocabulary: int, distinct: int
) -> None:
    library = build.open_library(folder / "cache")
    assert library is not None
    random = np.random.default_rng(vocabulary)
    drawn = random.integers(-distinct, distinct, vocabulary).astype(np.float32)
    for logits in (drawn, np.sort(drawn), -np.sort(-drawn), np.where(drawn < 0, -np.inf, drawn)):
        for found, expected in zip(likeliest(library, logits), engine_taps.likeliest(logits[None]), strict=True):
            np.testing.assert_array_equal(found, expected)


@needs_step
@pytest.mark.parametrize("adapter_id", [FULL, PART, DORA])
def test_taps_are_those_of_torch_up_to_bfloat16(folder: Path, native: NativeBackend, adapter_id: AdapterId) -> None:
    torch_lora = TorchLoraBackend(cpu_settings(folder / "base", acceleration="off"))
    load(torch_lora, source_of(folder, adapter_id))
    found, expected = replayed(native, adapter_id), replayed(torch_lora, adapter_id)
    assert found.activations.shape == expected.activations.shape
    assert found.is_residual.tolist() == expected.is_residual.tolist()
    assert min(cosines(found, expected)) >= COSINE_MIN
    assert np.abs(_below_first(found) - _below_first(expected)).mean() < LOGIT_ERROR_MAX


@needs_step
@pytest.mark.parametrize("adapter_id", [FULL, PART, DORA])
def test_a_replay_yields_the_bits_of_the_steps_whoever_shared_them(
    native: NativeBackend, adapter_id: AdapterId
) -> None:
    steps, replay = stepped(native, adapter_id, None, PART, FULL, DORA), replayed(native, adapter_id)
    np.testing.assert_array_equal(steps.activations, replay.activations)
    np.testing.assert_array_equal(steps.top_ids, replay.top_ids)
    np.testing.assert_array_equal(steps.top_logits, replay.top_logits)


def test_a_row_of_the_head_is_found_in_its_tiles() -> None:
    matrix = np.random.default_rng(0).normal(size=(37, 50)).astype(np.float32)
    tiles = product_layout(narrow(matrix))
    head = Linear(w=tiles.ctypes.data, bias=None, k=50, tiles=3)
    np.testing.assert_array_equal(head_rows(head, [0, 36, 17, 17], 50), widen(narrow(matrix))[[0, 36, 17, 17]])


def test_log_probabilities_add_up_to_one_where_exponentials_overflow() -> None:
    assert np.exp(log_softmax(np.array([100, 500, 200, 500], np.float32))).sum() == pytest.approx(1)
