"""An adapter's attribution index, built again from its rows, its base and itself, and compared with the one it ships.

The maker of an adapter ships the index that divides its earnings. The tokens of the rows must be the same integers.
Signals are those of another machine up to rounding, so their bounds are those of a receipt's replay.
"""

import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from openledger_protocol.codec import canonical_digest
from openledger_protocol.constants import COSINE_ONE, SIGNAL_COSINE_MIN
from openledger_protocol.datanet import Row
from openledger_protocol.errors import AttributionError
from openledger_protocol.primitives import Digest
from openledger_protocol.signals import check_replay

from ..attribution.index import DatanetIndex, open_adapter_index, tokens_of
from ..attribution.signals.files import RowSignals, open_signals, read_manifest
from ..attribution.signals.statistics import SignalStatistics
from ..datanets.rows import read_rows
from ..datanets.store import OwnDatanets
from ..engine.tokenizer import open_tokenizer
from ..errors import NodeError
from ..home import Home
from ..models.adapters import Adapter
from ..models.bases import Base
from .base_format import AUTO
from .job import Quantisation
from .signal_pass import SignalPass, run_signal_pass

STATISTICS_DIFFERENCE_MAX: Final = 0.1
"""Largest difference of a statistic, as a part of its length. Rounding to bfloat16 gives a few hundredths."""

EVIDENCE_DIFFERENCE_MAX: Final = 0.1
"""Of the least evidence, as a part of the larger one."""


NARROW: Final[Quantisation] = "int4"

TOKENS_MAX: Final = 8_192
"""Of one row, where the manifest states no bound."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexCheck:
    """The check of one part of an index."""

    what: str
    holds: bool
    detail: str


def check_index(home: Home, adapter: Adapter, base: Base, rows: Iterable[Row], *, device: str) -> list[IndexCheck]:
    """Build the index of an adapter again and compare it; `rows` holds those that taught it, among others.

    Raises:
        NodeError: the adapter has no index or several Datanets, a row is missing, or the base is another one or can't
            be run here.
        AdapterRefusedError: its files are damaged.
        ModelError: the signals could not be computed.
    """
    index = open_adapter_index(adapter)
    if index is None:
        raise NodeError(f"{adapter.full_name} has no attribution index, so there is nothing to compare")
    if len(index.datanets) > 1:
        raise NodeError(
            f"{adapter.full_name} was trained on {len(index.datanets)} Datanets, and only the index of one can be "
            "built again so far"
        )
    if adapter.manifest.base.digest != base.digest:
        raise NodeError(
            f"{adapter.full_name} was made for another {base.name} than the one here, whose tokens and signals may "
            f"differ: run `openledger-node models pull {base.name}`"
        )
    if base.folder is None:
        raise NodeError(f"base {base.name} has no files here, and the rows must be run through it")
    datanet = index.datanets[0]
    taught = rows_of_index(datanet, rows)
    checks = [_check_tokens(datanet, taught, base.folder)]
    if datanet.signals is None:
        return checks
    with tempfile.TemporaryDirectory(prefix="openledger-index-") as folder:
        given = SignalPass(
            base_folder=str(base.folder),
            adapter_folder=str(adapter.folder),
            folder=folder,
            rows_root=datanet.rows_root,
            rows=taught,
            device=device,
            tokens_max=tokens_max_of(adapter),
            yields=True,
            quantisation=quantisation_of(adapter),
        )
        run_signal_pass(given)
        root = canonical_digest(read_manifest(Path(folder)))
        return [*checks, *compare_signals(datanet.signals, open_signals(Path(folder), root)[datanet.rows_root])]


def rows_known_here(home: Home, file: Path | None) -> Iterator[Row]:
    """The rows of a file, or of all Datanets that are owned here.

    Raises:
        NodeError: the file or a batch is missing or damaged.
    """
    if file is not None:
        yield from read_rows(file)
        return
    own = OwnDatanets(home)
    for datanet in own.all():
        for digest in datanet.approved:
            yield from own.batch_rows(datanet.name, digest)


def rows_of_index(datanet: DatanetIndex, rows: Iterable[Row]) -> tuple[Row, ...]:
    """The rows of an index, in its order, found by their digests.

    Raises:
        NodeError: one is missing.
    """
    wanted = set(datanet.row_digests)
    found: Mapping[Digest, Row] = {digest: row for row in rows if (digest := canonical_digest(row)) in wanted}
    if missing := len(wanted) - len(found):
        raise NodeError(
            f"{missing} of the {len(wanted)} rows that taught this adapter are not here: give their file, as it was "
            "contributed, with --rows FILE"
        )
    return tuple(found[digest] for digest in datanet.row_digests)


def tokens_max_of(adapter: Adapter) -> int:
    """The longest row that the adapter was trained on, in tokens, as its manifest states it."""
    stated = _stated(adapter, "tokens_max")
    return stated if type(stated) is int and 1 <= stated <= TOKENS_MAX else TOKENS_MAX


def quantisation_of(adapter: Adapter) -> str:
    """The form of the base in which the signals of an adapter were built, as its manifest states it."""
    return NARROW if _stated(adapter, "quantisation") == NARROW else AUTO


def _stated(adapter: Adapter, name: str) -> object:
    """A field of the training that a manifest states, which may be anything."""
    job = (adapter.manifest.training or {}).get("config")
    return job.get(name) if isinstance(job, dict) else None


def compare_signals(theirs: RowSignals, ours: RowSignals) -> list[IndexCheck]:
    """Compare the signals that an adapter ships with those built here."""
    return [
        _check_vectors(theirs, ours),
        _check_statistics(theirs.statistics, ours.statistics),
        _check_least(theirs, ours),
    ]


def _check_tokens(datanet: DatanetIndex, rows: tuple[Row, ...], base_folder: Path) -> IndexCheck:
    tokenizer = open_tokenizer(base_folder)
    wrong = [number for number, row in enumerate(rows) if datanet.row_tokens(number) != tokens_of(row, tokenizer)]
    detail = f"{len(rows)} rows have the same tokens"
    if wrong:
        detail = f"{len(wrong)} of {len(rows)} rows have other tokens, first row {datanet.row_digests[wrong[0]]}"
    return IndexCheck(what="tokens", holds=not wrong, detail=detail)


def _check_vectors(theirs: RowSignals, ours: RowSignals) -> IndexCheck:
    count, wrong, first = len(ours.vectors), 0, ""
    if theirs.vectors.shape != ours.vectors.shape:
        shapes = f"{theirs.vectors.shape}, and {ours.vectors.shape} were built here"
        return IndexCheck(what="vectors", holds=False, detail=f"they are of other sizes: {shapes}")
    for number in range(count):
        try:
            check_replay(theirs.row(number), ours.row(number))
        except AttributionError as error:
            wrong, first = wrong + 1, first or f"row {number + 1}: {error.message}"
    bound = SIGNAL_COSINE_MIN / COSINE_ONE
    detail = (
        f"{wrong} of {count} rows differ; {first}" if wrong else f"{count} rows agree within a cosine of {bound:.2f}"
    )
    return IndexCheck(what="vectors", holds=not wrong, detail=detail)


def _check_statistics(theirs: SignalStatistics, ours: SignalStatistics) -> IndexCheck:
    differences = {
        spec.name: _difference(getattr(theirs, spec.name), getattr(ours, spec.name))
        for spec in fields(SignalStatistics)
    }
    name = max(differences, key=lambda each: differences[each])
    holds = differences[name] <= STATISTICS_DIFFERENCE_MAX
    return IndexCheck(
        what="statistics",
        holds=holds,
        detail=f"{name.replace('_', ' ')} differs most, by {100 * differences[name]:.2f} %; "
        f"up to {100 * STATISTICS_DIFFERENCE_MAX:g} % is rounding",
    )


def _check_least(theirs: RowSignals, ours: RowSignals) -> IndexCheck:
    larger = max(theirs.evidence_min, ours.evidence_min)
    difference = abs(theirs.evidence_min - ours.evidence_min) / larger if larger else 0.0
    return IndexCheck(
        what="least evidence",
        holds=difference <= EVIDENCE_DIFFERENCE_MAX,
        detail=f"{theirs.evidence_min}, and {ours.evidence_min} was built here",
    )


def _difference(left: NDArray[Any], right: NDArray[Any]) -> float:
    """The length of the difference of two arrays, as a part of the longer one's."""
    if left.shape != right.shape:
        return float("inf")
    wide = [each.astype(np.float64) for each in (left, right)]
    longest = max(float(np.linalg.norm(each)) for each in wide)
    return float(np.linalg.norm(wide[0] - wide[1])) / longest if longest else 0.0
