"""Graphs of a bucket: recorded once, and right for every step that fits, because its tables say all that differs."""

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from node.backends.cuda.kernel_backends import Both, open_both
from node.backends.cuda.recorded_launches import RecordedLaunches
from support.plain_adapter import write_adapter
from support.tiny import make_base
from support.torch_bases import row
from torch import Tensor

from openledger_node.backends.cuda.graph import Capture, Graphs, Launch
from openledger_node.backends.cuda.step import bucket_sizes
from openledger_node.engine.backend import BatchRow, Drawn
from openledger_node.errors import DeviceError
from openledger_protocol.primitives import AdapterId

pytestmark = pytest.mark.usefixtures("fewer_programs")

CPU = torch.device("cpu")
ADAPTERS: dict[str, dict[str, Any]] = {
    "q": {"targets": ("q_proj", "o_proj"), "r": 5},
    "mlp": {"targets": ("gate_proj", "up_proj", "down_proj"), "r": 17},
    "dora": {"targets": ("v_proj", "down_proj"), "use_dora": True},
}


def open_backends(root: Path, capture: Capture) -> Both:
    base = make_base(root / "base", num_hidden_layers=1, tie_word_embeddings=True)
    folders = [
        write_adapter(base, root / name, seed=seed, **kind) for seed, (name, kind) in enumerate(ADAPTERS.items())
    ]
    return open_both(base, *folders, capture=capture, batch_max=8)


Step = dict[str, tuple[int, int]]  # by sequence: token and position

STEPS: tuple[Step, ...] = (
    {"q1": (5, 0), "mlp1": (6, 0), "bare": (7, 0)},
    {"q1": (15, 1), "dora1": (16, 0), "q2": (17, 0), "bare": (9, 1)},
    {"dora1": (2, 1), "mlp1": (3, 1), "q2": (200, 1)},
    {"mlp1": (90, 2), "q2": (91, 2), "q1": (92, 2), "dora1": (93, 2)},
)
"""Steps of three and four rows, which share a bucket: other rows, adapters, tokens and positions in each."""

SEQUENCES = ("q1", "q2", "mlp1", "dora1", "bare")


def rows_of(step: Step) -> tuple[BatchRow, ...]:
    places = {name: 2 * number for number, name in enumerate(SEQUENCES)}
    return tuple(row(name, (token,), at, first=places[name]) for name, (token, at) in step.items())


def logits_of(backend: Any, steps: tuple[Step, ...] = STEPS) -> Tensor:
    for name in SEQUENCES:
        backend.join(name, None if name == "bare" else AdapterId(name[:-1]))
    return torch.cat([backend.logits(rows_of(step)) for step in steps])


def test_a_bucket_is_recorded_again_only_without_adapters(tmp_path: Path) -> None:
    capture = RecordedLaunches()
    kernels, oracle = open_backends(tmp_path, capture)
    steps = (*STEPS[:1], {"bare": (7, 1)}, {"bare": (8, 2)}, {"q1": (9, 1)}, {"mlp1": (10, 1)})
    assert torch.allclose(logits_of(kernels, steps), logits_of(oracle, steps), atol=1e-4)
    assert capture.num_captures == 3  # three rows, and one row without and with an adapter


TAPPED: tuple[dict[str, bool], ...] = (
    {"q1": False, "mlp1": False, "bare": True},
    {"q1": True, "dora1": False, "q2": True, "bare": True},
    {"dora1": False, "mlp1": False, "q2": False},
    {"mlp1": True, "q2": False, "q1": False, "dora1": True},
)
"""The sequences of STEPS; the bare base has no taps, so that a step with it alone is not tapped."""


def drawn_of(backend: Any) -> list[dict[str, Drawn]]:
    for name in SEQUENCES:
        backend.join(name, None if name == "bare" else AdapterId(name[:-1]))
    found = [
        backend.step(
            tuple(replace(row, draw=replace(row.draw, is_tapped=tapped[row.sequence_id])) for row in rows_of(step))
        )
        for step, tapped in zip(STEPS, TAPPED, strict=True)
    ]
    for name in SEQUENCES:
        backend.leave(name)
    return found


def test_one_recording_serves_every_mix_of_a_bucket_and_another_one_its_tapped_steps(tmp_path: Path) -> None:
    capture = RecordedLaunches()
    kernels, oracle = open_backends(tmp_path, capture)
    steps = zip(drawn_of(kernels), drawn_of(oracle), TAPPED, strict=True)
    for number, (found, wanted, tapped) in enumerate(steps):
        for name, is_tapped in tapped.items():
            assert found[name].token == wanted[name].token, number
            mine, theirs = found[name].taps, wanted[name].taps
            assert (mine is not None) == (theirs is not None) == (is_tapped and name != "bare")
            if mine and theirs:
                np.testing.assert_allclose(mine.activations, theirs.activations, atol=1e-4)
                np.testing.assert_allclose(mine.top_logits, theirs.top_logits, atol=1e-4)
    assert capture.num_captures == 2
    assert torch.allclose(logits_of(kernels), logits_of(oracle), atol=1e-4), "it is not tapped"
    assert capture.num_captures == 2


def test_a_card_that_can_not_record_launches_kernels_one_by_one(caplog: pytest.LogCaptureFixture) -> None:
    sizes = bucket_sizes(2, 1, has_adapters=False)

    def refuse(launch: Launch) -> Launch:
        raise RuntimeError("operation not permitted when stream is capturing")

    graphs = Graphs(lambda packed, hidden, *_: hidden + packed[0], refuse)
    with caplog.at_level(logging.WARNING):
        held = graphs.hold(sizes, None, d_model=3, dtype=torch.float32, device=CPU)
    held.hidden.fill_(2)
    held.packed.fill_(5)
    held.launch()
    assert held.logits.tolist() == [[7.0] * 3] * 2
    assert "operation not permitted" in caplog.text


def test_a_card_that_is_lost_while_recording_is_not_taken_for_one_that_can_not_record() -> None:
    def lose(launch: Launch) -> Launch:
        raise RuntimeError("CUDA error: the GPU is lost")

    with pytest.raises(DeviceError, match="fell off the bus"):
        Graphs(lambda *_: torch.empty(0), lose).hold(
            bucket_sizes(1, 1, has_adapters=False), None, d_model=1, dtype=torch.float32, device=CPU
        )
