"""Taps on the kernels beside plain torch's: in mixed batches, replays and narrow formats, and as shares by poa-v3."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from node.backends.cuda.kernel_backends import ALL, Both, open_both
from support.plain_adapter import write_adapter
from support.tiny import make_base
from support.torch_bases import row

from openledger_node.attribution.signals.files import build_signals, open_signals
from openledger_node.attribution.signals.sketches import Sketches
from openledger_node.attribution.signals.statistics import signals_of
from openledger_node.attribution.signals.traces import Trace, replayed_taps, trace_of
from openledger_node.backends.cuda.tapping import likeliest_of
from openledger_node.engine.backend import BatchRow, Drawn, TappingBackend
from openledger_node.engine.taps import TOP_TOKENS, Taps, likeliest
from openledger_protocol.attribution import RowScore, Share, shares_from_signal_scores
from openledger_protocol.datanet import Row
from openledger_protocol.primitives import AdapterId, Address, DatanetId, Digest
from openledger_protocol.signals import check_replay, shares_distance_ppm

pytestmark = pytest.mark.usefixtures("fewer_programs")

WHOLE, PART, DORA, WIDE = AdapterId("whole"), AdapterId("part"), AdapterId("dora"), AdapterId("wide")
KINDS: dict[AdapterId, dict[str, Any]] = {
    WHOLE: {"targets": ALL},
    PART: {"targets": ("k_proj", "v_proj", "down_proj"), "r": 3, "rank_pattern": {"down_proj": 17}},
    DORA: {"targets": ("o_proj", "gate_proj"), "r": 5, "use_dora": True},
    WIDE: {"targets": ALL, "r": 7, "rank_pattern": {"down_proj": 21}},
}
PROMPT, ANSWER = tuple(range(5, 17)), tuple((37 * at + 9) % 250 for at in range(20))
SHARES_APART_PPM_MAX = 50_000


def make_root(root: Path, **changes: Any) -> Path:
    base = make_base(root / "base", **changes)
    for seed, (name, kind) in enumerate(KINDS.items()):
        write_adapter(base, root / name, seed=seed, **kind)
    return root


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_root(tmp_path_factory.mktemp("taps"))


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base of one layer."""
    return make_root(tmp_path_factory.mktemp("small"), num_hidden_layers=1)


def open_loaded(root: Path, dtype: str = "float32", **changes: Any) -> Both:
    return open_both(root / "base", *(root / name for name in KINDS), dtype=dtype, batch_max=8, **changes)


SEQUENCES: dict[str, tuple[AdapterId | None, bool]] = {
    "plain": (WHOLE, False),
    "wide": (WIDE, True),
    "part": (PART, True),
    "bare": (None, True),
    "dora": (DORA, True),
    "whole": (WHOLE, True),
}
"""Their adapters, and whether they are tapped."""


def steps_of(*counts: tuple[int, ...]) -> list[tuple[BatchRow, ...]]:
    """Steps that each add so many tokens to every sequence."""
    seen, steps = [0] * len(SEQUENCES), []
    for step in counts:
        rows = []
        for place, (name, count) in enumerate(zip(SEQUENCES, step, strict=True)):
            ids = tuple((11 * at + 5 * place + 3) % 250 for at in range(seen[place], seen[place] + count))
            rows.append(row(name, ids, seen[place], first=4 * place, is_tapped=SEQUENCES[name][1]))
            seen[place] += count
        steps.append(tuple(rows))
    return steps


STEPS = steps_of((1, 4, 7, 3, 6, 2), (2, 1, 2, 1, 1, 2), (1,) * 6)
"""Prompts, prompts beside rows that decode, and rows that decode."""


def stepped(backend: Any) -> list[dict[str, Drawn]]:
    for name, (adapter_id, _) in SEQUENCES.items():
        backend.join(name, adapter_id)
    found = [backend.step(rows) for rows in STEPS]
    for name in SEQUENCES:
        backend.leave(name)
    return found


def assert_alike(found: Taps, wanted: Taps, atol: float = 1e-4) -> None:
    assert found.activations.shape == wanted.activations.shape
    assert found.activations.dtype == found.top_logits.dtype == np.float32
    assert found.is_residual.tolist() == wanted.is_residual.tolist()
    np.testing.assert_allclose(found.activations, wanted.activations, atol=atol)
    np.testing.assert_allclose(found.top_logits, wanted.top_logits, atol=atol)
    assert found.top_ids.dtype == np.int32


def test_tapped_rows_of_mixed_batches_have_the_taps_of_plain_torch(root: Path) -> None:
    kernels, oracle = open_loaded(root)
    for found, wanted in zip(stepped(kernels), stepped(oracle), strict=True):
        assert {name: each.token for name, each in found.items()} == {
            name: each.token for name, each in wanted.items()
        }
        for name, (adapter_id, is_tapped) in SEQUENCES.items():
            mine, theirs = found[name].taps, wanted[name].taps
            assert (mine is not None) == (theirs is not None) == (is_tapped and adapter_id is not None)
            if mine and theirs:
                assert_alike(mine, theirs)
                assert mine.top_ids[0, 0] == theirs.top_ids[0, 0]


def replayed(backend: TappingBackend, adapter_id: AdapterId, *, seen: int = 0, known: int = len(ANSWER)) -> Any:
    """Replay the last `known` tokens of an answer whose first `seen` tokens are in the cache."""
    ids = PROMPT + ANSWER[:-1]
    backend.join("r", adapter_id)
    if seen:
        backend.step((row("r", ids[:seen], draw=None),))
    found = backend.replay(row("r", ids[seen:], seen, draw=None), ANSWER[-known:])
    backend.leave("r")
    return found


@pytest.mark.parametrize(("adapter_id", "seen", "known"), [(WIDE, 0, len(ANSWER)), (DORA, 30, 1)])
def test_a_replay_in_pieces_is_that_of_plain_torch_in_one(
    small: Path, adapter_id: AdapterId, seen: int, known: int
) -> None:
    """Twenty known tokens are two pieces; one alone is a decoding row, whose step is recorded."""
    kernels, oracle = open_loaded(small)
    found, wanted = (replayed(each, adapter_id, seen=seen, known=known) for each in (kernels, oracle))
    assert found.taps.num_tokens == known
    assert_alike(found.taps, wanted.taps)
    np.testing.assert_allclose(found.logprobs, wanted.logprobs, atol=1e-4)
    assert found.logprobs.dtype == np.float32


def test_a_quantised_base_has_the_taps_and_the_head_of_plain_torch(tmp_path: Path) -> None:
    root = make_root(tmp_path, hidden_size=64, intermediate_size=96, num_hidden_layers=1)
    kernels, oracle = open_loaded(root, quantisation="int4")
    assert kernels.profile.quantisation == "int4"
    assert_alike(replayed(kernels, WHOLE, known=3).taps, replayed(oracle, WHOLE, known=3).taps)
    ids = [7, 250, 7]
    np.testing.assert_array_equal(kernels.unembedding(ids), oracle.unembedding(ids))


@pytest.mark.parametrize("vocab_size", [5, 31, 700, 2048])
def test_the_devices_likeliest_tokens_are_those_of_the_host(vocab_size: int) -> None:
    """Logits of a narrow base are often equal, and then the lower id comes first."""
    random = np.random.default_rng(vocab_size)
    logits = (random.integers(-9, 9, (11, vocab_size)) / 4).astype(np.float32)
    logits[1] = 0.0
    logits[1, ::2] = -0.0
    logits[2] = -logits[2] - 1000
    logits[3, 3:] = -np.inf
    ids, found = likeliest_of(torch.from_numpy(logits))
    wanted_ids, wanted = likeliest(logits)
    assert ids.shape == (11, min(TOP_TOKENS, vocab_size))
    np.testing.assert_array_equal(ids.numpy(), wanted_ids)
    np.testing.assert_array_equal(found.numpy(), wanted)


# ---- Shares by poa-v3.

ROOT, DATANET = Digest("0x" + "1" * 64), DatanetId("0x" + "2" * 64)
TEXTS = {
    Row(prompt="Which?", completion=f"Number {number}.", contributor=f"c{number}"): (
        tuple((7 * number + 3 * at) % 250 for at in range(6)),
        tuple((31 * number + 17 * at * at) % 250 for at in range(9)),
    )
    for number in range(4)
}
"""Tokens of the prompt and the completion of each row."""


def shares(evidence: np.ndarray[Any, Any]) -> list[Share]:
    scores = [
        RowScore(cluster=number, account=Address(f"0x{number + 1:040x}"), score=max(0, int(each)))
        for number, each in enumerate(evidence)
    ]
    return shares_from_signal_scores(DATANET, scores)


def test_shares_by_poa_v3_are_those_of_plain_torch(small: Path, tmp_path: Path) -> None:
    """An index that a contributor built without a card pays the same people when a card answers or checks."""
    kernels, oracle = open_loaded(small, "bfloat16")

    def taps_of(backend: TappingBackend, prompt: tuple[int, ...], ids: tuple[int, ...]) -> Taps:
        return replayed_taps(backend, PART, prompt, ids)

    first = next(iter(TEXTS.values()))
    sketches = Sketches(3, d_model=48, is_residual=taps_of(oracle, *first).is_residual)

    def trace(backend: TappingBackend, prompt: tuple[int, ...], ids: tuple[int, ...]) -> Trace:
        return trace_of(taps_of(backend, prompt, ids), ids, backend, sketches)

    signals_root = build_signals(
        tmp_path, [(ROOT, list(TEXTS))], sketches, lambda given: trace(oracle, *TEXTS[given])
    )
    rows = open_signals(tmp_path, signals_root)[ROOT]
    for prompt, ids in list(TEXTS.values())[:2]:
        found, wanted = (
            signals_of(trace(backend, prompt, ids[:7]), rows.statistics, sketches) for backend in (kernels, oracle)
        )
        check_replay(found, wanted)
        paid = [shares(rows.evidence(each) - rows.evidence_min) for each in (found, wanted)]
        assert len(paid[1]) > 1 or int(paid[1][0].account, 16), "somebody has taught the answer"
        assert shares_distance_ppm(*paid) <= SHARES_APART_PPM_MAX
