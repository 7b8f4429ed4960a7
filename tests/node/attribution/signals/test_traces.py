"""Traces from a real decoder: replayed in pieces, and reduced as the formulas say."""

from pathlib import Path

import numpy as np
import pytest
from support.batches import load, source_of
from support.tiny import make_adapter, make_base

from openledger_node.attribution.signals.sketches import Sketches
from openledger_node.attribution.signals.traces import ERROR_TEMPERATURE, replayed_taps, trace_of
from openledger_node.backends.torch_lora.backend import TorchLoraBackend
from openledger_node.engine.backend import BackendSettings
from openledger_node.engine.taps import TOP_TOKENS
from openledger_protocol.errors import AdapterRefusedError
from openledger_protocol.primitives import AdapterId

ADAPTER = AdapterId("0xaa")
PROMPT, ANSWER = tuple(range(5, 45)), (60, 61, 7, 9, 200, 3, 0)


@pytest.fixture(scope="module")
def backend(tmp_path_factory: pytest.TempPathFactory) -> TorchLoraBackend:
    root: Path = tmp_path_factory.mktemp("traces")
    base = make_base(root / "base")
    make_adapter(base, root / ADAPTER, seed=1)
    opened = TorchLoraBackend(
        BackendSettings(base_folder=str(base), device="cpu", dtype="float32", threads=1, batch_max=2, context_max=128)
    )
    load(opened, source_of(root, ADAPTER))
    return opened


@pytest.mark.parametrize("piece_tokens", [1, 40, 41, 46])
def test_a_text_replayed_in_pieces_has_the_taps_of_one_pass(backend: TorchLoraBackend, piece_tokens: int) -> None:
    whole = replayed_taps(backend, ADAPTER, PROMPT, ANSWER)
    pieces = replayed_taps(backend, ADAPTER, PROMPT, ANSWER, piece_tokens=piece_tokens)
    assert whole.num_tokens == pieces.num_tokens == len(ANSWER)
    np.testing.assert_allclose(pieces.activations, whole.activations, atol=1e-4)
    np.testing.assert_allclose(pieces.top_logits, whole.top_logits, atol=1e-4)


def test_a_trace_is_the_formula_written_out_for_each_token(backend: TorchLoraBackend) -> None:
    taps = replayed_taps(backend, ADAPTER, PROMPT, ANSWER)
    sketches = Sketches(3, d_model=48, is_residual=taps.is_residual)
    trace = trace_of(taps, ANSWER, backend, sketches)
    head = backend.unembedding(range(260)).astype(np.float64)
    for place, token in enumerate(ANSWER):
        expected = sum(
            np.exp(float(taps.top_logits[place, rank]) / ERROR_TEMPERATURE) * head[taps.top_ids[place, rank]]
            for rank in range(TOP_TOKENS)
        )
        expected = np.asarray(expected) / np.exp(taps.top_logits[place].astype(np.float64) / ERROR_TEMPERATURE).sum()
        np.testing.assert_allclose(trace.labels[place], head[token] @ sketches.code_signs, atol=1e-9)
        error = (np.asarray(expected) - head[token]) @ sketches.code_signs
        np.testing.assert_allclose(trace.errors[place], error, atol=1e-6)
    np.testing.assert_array_equal(trace.activations, taps.activations)
    np.testing.assert_array_equal(trace.residual, taps.activations[:, taps.is_residual])


def test_a_failed_replay_leaves_no_sequence_behind(backend: TorchLoraBackend) -> None:
    with pytest.raises(AdapterRefusedError, match="is not loaded"):
        replayed_taps(backend, AdapterId("0xbb"), PROMPT, ANSWER)
    with pytest.raises(IndexError):
        replayed_taps(backend, ADAPTER, PROMPT * 100, ANSWER)
    assert replayed_taps(backend, ADAPTER, PROMPT, ANSWER).num_tokens == len(ANSWER)
