"""poa-v3: the cost of an answer's signals and of their comparison with many rows, and who is paid on the sample.

The sample's questions are held out, and their right answers are run through the real base with the sample's adapter,
as a check of a receipt does. Nothing here trains an adapter, so this says nothing about causes.
"""

import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from math import log
from pathlib import Path
from typing import Any

import numpy as np

from openledger_node.attribution.attributor import Attributor, Exchange, Scores
from openledger_node.attribution.attributors.poa_v3 import PoaV3Attributor
from openledger_node.attribution.attributors.suffix import SuffixAttributor
from openledger_node.attribution.attributors.uniform import SizeAttributor
from openledger_node.attribution.index import DatanetIndex, build_index, open_index
from openledger_node.attribution.owners import OwnedDatanet, join_owners
from openledger_node.attribution.service import attribute, exchange_of
from openledger_node.attribution.signals.files import (
    MANIFEST_FILE,
    RowSignals,
    build_signals,
    open_signals,
    read_manifest,
)
from openledger_node.attribution.signals.sketches import CODE_WIDTH, Sketches, seed_of
from openledger_node.attribution.signals.statistics import signals_of
from openledger_node.attribution.signals.traces import Trace, replayed_taps, trace_of
from openledger_node.datanets.near import distinct_rows
from openledger_node.datanets.rows import rows_digest
from openledger_node.datanets.sample import SampleDatanet, named_sample
from openledger_node.datanets.version import VersionLabel, make_version
from openledger_node.engine.backend import Backend, BackendSettings
from openledger_node.engine.taps import TOP_TOKENS, Taps
from openledger_node.engine.tokenizer import Tokenizer, open_tokenizer
from openledger_node.factory.samples import SAMPLES
from openledger_node.factory.trainers.examples import encode_rows
from openledger_node.models.adapter_source import AdapterPart, AdapterSource
from openledger_node.models.bases import file_digest
from openledger_node.plugs import load_plug
from openledger_protocol.attribution import Share
from openledger_protocol.codec import canonical_digest, canonical_json
from openledger_protocol.constants import PPM
from openledger_protocol.datanet import Row
from openledger_protocol.primitives import AdapterId, DatanetId, Digest

SAMPLE = "harbour"
ADAPTER = AdapterId("0x" + "aa" * 32)
DATANET_ID = DatanetId("0x" + "11" * 32)
TOKENS_MAX, ANSWER_TOKENS = 256, 256
D_MODEL, NUMBERS = 576, 336  # of the demo base, and of an adapter of rank 8 on its upper six layers
ROWS, QUICK_ROWS = 100_000, 2_000
QUICK_FACTS = 2
TIMES = 9
BM25_K, BM25_B = 1.5, 0.75
IS_RESIDUAL = np.array([number // 8 % 7 in (3, 6) for number in range(NUMBERS)])


class Head:
    """Rows of an output head of random numbers, for times alone."""

    def __init__(self) -> None:
        self._rows = np.random.default_rng(0).normal(size=(1_024, D_MODEL)).astype(np.float32)

    def unembedding(self, token_ids: Sequence[int]) -> Any:
        """Look up a row for each token."""
        return self._rows[np.asarray(token_ids) % len(self._rows)]


class Bm25Attributor(SuffixAttributor):
    """BM25 over tokens of prompt and answer, with its usual constants: a peer, in floats."""

    def score(self, exchange: Exchange, index: DatanetIndex) -> Scores:
        """Score rows, in thousandths."""
        rows = [Counter(index.row_tokens(row)) for row in range(index.num_rows)]
        frequency = Counter(token for row in rows for token in row)
        average = float(index.row_lengths.mean())
        asked = set(exchange.prompt + exchange.answer)
        return np.array([int(1000 * _bm25(asked, row, frequency, len(rows), average)) for row in rows])


def _bm25(asked: set[int], row: Counter[int], frequency: Counter[int], num_rows: int, average: float) -> float:
    length = BM25_K * (1 - BM25_B + BM25_B * row.total() / average)
    return sum(
        log(1 + (num_rows - frequency[token] + 0.5) / (frequency[token] + 0.5))
        * row[token]
        * (BM25_K + 1)
        / (row[token] + length)
        for token in asked & row.keys()
    )


def median_ms(work: Callable[[], object]) -> float:
    times = []
    for _ in range(TIMES):
        begin = time.perf_counter()
        work()
        times.append(1000 * (time.perf_counter() - begin))
    return statistics.median(times)


def measure_signal_times(*, num_rows: int) -> dict[str, float]:
    """Times of an answer of 256 tokens: its signals, and their evidence beside all rows, of random numbers."""
    random, sketches = np.random.default_rng(1), Sketches(1, d_model=D_MODEL, is_residual=IS_RESIDUAL)
    taps = Taps(
        activations=random.normal(size=(ANSWER_TOKENS, NUMBERS)).astype(np.float32),
        is_residual=IS_RESIDUAL,
        top_ids=random.integers(0, 49_152, (ANSWER_TOKENS, TOP_TOKENS)).astype(np.int32),
        top_logits=np.log(np.full((ANSWER_TOKENS, TOP_TOKENS), 1 / TOP_TOKENS, np.float32)),
    )
    head: Any = Head()
    with tempfile.TemporaryDirectory() as name:
        index = open_random_signals(Path(name), Digest("0x" + "22" * 32), num_rows=num_rows)
        ids = random.integers(0, 49_152, ANSWER_TOKENS).tolist()

        def signals() -> Any:
            return signals_of(trace_of(taps, ids, head, sketches), index.statistics, sketches)

        answer = signals()
        return {
            "signals_ms": median_ms(signals),
            "evidence_ms": median_ms(lambda: index.evidence(answer)),
            "bytes_a_row": float(index.vectors.shape[1]),
        }


def open_random_signals(folder: Path, root: Digest, *, num_rows: int) -> RowSignals:
    """Write an index of random signals as a trainer does, and open it, which checks and maps its files.

    Its least evidence is 0, so that an eighth of all rows counts.
    """
    random, sketches = np.random.default_rng(1), Sketches(1, d_model=D_MODEL, is_residual=IS_RESIDUAL)
    traces = [_random_trace(random, sketches) for _ in range(8)]
    few = [Row(prompt=str(n), completion=str(n), contributor=str(n)) for n in range(len(traces))]
    build_signals(folder, [(root, few)], sketches, lambda row: traces[int(row.prompt)])
    manifest = read_manifest(folder)
    vectors = folder / "vectors-0.i8"
    vectors.write_bytes(random.integers(-127, 128, (num_rows, 2 * 256 + manifest.width), np.int8).tobytes())
    entry = replace(manifest.datanets[0], rows=num_rows, vectors=file_digest(vectors), evidence_min=0)
    manifest = replace(manifest, datanets=(entry,))
    (folder / MANIFEST_FILE).write_bytes(canonical_json(manifest) + b"\n")
    return open_signals(folder, canonical_digest(manifest))[root]


def _random_trace(random: np.random.Generator, sketches: Sketches) -> Trace:
    activations, residual = sketches.folded(random.normal(size=(8, NUMBERS)))
    return Trace(
        activations=activations,
        residual=residual,
        labels=random.normal(size=(8, CODE_WIDTH)),
        errors=random.normal(size=(8, CODE_WIDTH)),
    )


class SignalledSample:
    """The sample's rows with text index and signals, and its adapter on the real base."""

    def __init__(
        self, base: Path, folder: Path, *, num_facts: int | None, dtype: str = "float32", threads: int = 0
    ) -> None:
        """In bfloat16 the compiled step serves, where the machine can run it."""
        self.sample: SampleDatanet = named_sample(SAMPLE)
        self._base, self._root = base, rows_digest(self.sample.rows)
        self.tokenizer: Tokenizer = open_tokenizer(base)
        self.backend: Backend = load_plug("backend", "torch_lora")(
            BackendSettings(
                base_folder=str(base),
                device="cpu",
                dtype=dtype,
                threads=threads,
                batch_max=1,
                context_max=TOKENS_MAX,
            )
        )
        source = AdapterSource(id=ADAPTER, parts=(AdapterPart(folder=str(SAMPLES / SAMPLE)),))
        self.backend.load_adapter(ADAPTER, self.backend.read_adapter(source))
        self.held_out = self.sample.held_out[:num_facts]
        facts = {row.completion for row in self.held_out}
        rows = distinct_rows([row for row in self.sample.rows if num_facts is None or row.completion in facts])
        is_residual = self._taps(rows[0])[0].is_residual
        self._sketches = Sketches(seed_of(self._root, [self._root]), d_model=D_MODEL, is_residual=is_residual)
        built = build_signals(folder / "signals", [(self._root, rows)], self._sketches, self._trace)
        self._signals = open_signals(folder / "signals", built)[self._root]
        label = VersionLabel(id=SAMPLE, version="1", rows_root=self._root)
        index = open_index(folder / "text", build_index(folder / "text", [(label, rows)], self.tokenizer, None))
        version = make_version(SAMPLE, "1", self.sample.rows, self.sample.accounts)
        owned = join_owners(index, {self._root: version.rows}, {self._root: DATANET_ID})[0]
        self.datanet: OwnedDatanet = replace(owned, index=replace(owned.index, signals=self._signals))

    def exchange(self, row: Row) -> Exchange:
        """A held-out question and its right answer, with its signals."""
        exchange = exchange_of(row.prompt, row.completion, self.tokenizer)
        signals = signals_of(self._trace(row), self._signals.statistics, self._sketches)
        return replace(exchange, signals={self._root: signals})

    def _taps(self, row: Row) -> tuple[Taps, tuple[int, ...]]:
        [example] = encode_rows([row], self._base, TOKENS_MAX)
        ids = example.completion_ids
        return replayed_taps(self.backend, ADAPTER, example.prompt_ids, ids), ids

    def _trace(self, row: Row) -> Trace:
        taps, ids = self._taps(row)
        return trace_of(taps, ids, self.backend, self._sketches)


PEERS: dict[str, Attributor] = {
    "size": SizeAttributor(),
    "bm25": Bm25Attributor(),
    "suffix-v1": SuffixAttributor(),
    "poa-v3": PoaV3Attributor(),
}


def measure_sample(base: Path, *, is_quick: bool) -> dict[str, dict[str, float]]:
    """For each rule, the true owner's mean share, and the part of questions whose best row is of the asked fact."""
    with tempfile.TemporaryDirectory() as folder:
        served = SignalledSample(base, Path(folder), num_facts=QUICK_FACTS if is_quick else None)
        asked = [(row, served.exchange(row)) for row in served.held_out]
        return {name: _measure_rule(rule, served, asked) for name, rule in PEERS.items()}


def _measure_rule(
    rule: Attributor, served: SignalledSample, asked: Sequence[tuple[Row, Exchange]]
) -> dict[str, float]:
    shares, firsts = [], []
    index = served.datanet.index
    text_of = {row: served.tokenizer.encode(row.completion) for row, _ in asked}
    for row, exchange in asked:
        owner = served.sample.accounts[row.contributor]
        found: tuple[Share, ...] = attribute(rule, [served.datanet], exchange)
        shares.append(sum(share.ppm for share in found if share.account == owner) / PPM)
        scores = rule.score(exchange, index)
        best = max(range(index.num_rows), key=lambda number: scores[number])
        firsts.append(index.row_tokens(best)[-len(text_of[row]) :] == text_of[row])
    return {"owner_share": statistics.mean(shares), "recall_at_1": statistics.mean(firsts)}
