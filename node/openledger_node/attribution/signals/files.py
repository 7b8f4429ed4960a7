"""An adapter's index of signals: a folder with each row's vectors, statistics, and a manifest that hashes both."""

import json
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from openledger_protocol.codec import canonical_digest, canonical_json
from openledger_protocol.constants import (
    ADAPTER_DATANETS_MAX,
    COSINE_ONE,
    SIGNAL_ACTIVATION_BYTES_MAX,
    SIGNAL_SKETCH_BYTES,
)
from openledger_protocol.datanet import Row
from openledger_protocol.errors import AdapterRefusedError, AttributionError, MalformedError
from openledger_protocol.primitives import Digest, check_digest
from openledger_protocol.signals import Signals

from ...models.bases import file_digest
from .sketches import Sketches
from .statistics import SignalStatistics, measure_statistics, signals_of, statistics_from_bytes
from .traces import Trace

SIGNALS_SCHEMA: Final = "openledger.signals/2"
MANIFEST_FILE: Final = "signals.json"
MANIFEST_BYTES_MAX: Final = 64 * 1024
STATISTICS_ROWS_MAX: Final = 2_048
"""Rows that statistics are measured on, which are run twice. Owners take turns in the choice."""
CHANCE_EVIDENCE: Final = (5 * COSINE_ONE // 16) ** 3
"""Three cosines of five standard deviations each of sketches of 256 numbers that have nothing in common."""
NEAREST_PARTS: Final = 4
ROWS_MAX: Final = 2**20
CHUNK: Final = 256
"""Rows that are widened at once: they stay in a processor's cache, which halves the time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SignalsOfDatanet:
    """One Datanet in the manifest."""

    rows_root: Digest
    rows: int
    vectors: Digest  # SHA-256 of the file with all rows' vectors
    statistics: Digest
    evidence_min: int  # the evidence that chance alone gives; less pays nobody


@dataclass(frozen=True, slots=True, kw_only=True)
class SignalsManifest:
    """The whole of `signals.json`."""

    seed: str  # 16 hex digits, since JSON's numbers are too small
    width: int
    residual_width: int
    datanets: tuple[SignalsOfDatanet, ...]
    schema: str = SIGNALS_SCHEMA
    algorithm: str = "poa-v3"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RowSignals:
    """The signals of all rows of a Datanet, in the order of its text index."""

    vectors: NDArray[np.int8]  # (rows, 2 · SIGNAL_SKETCH_BYTES + width), memory-mapped
    squares: NDArray[np.int64]  # (rows, 3) squared lengths of error, label and activation
    statistics: SignalStatistics
    evidence_min: int = 0

    def evidence(self, answer: Signals) -> NDArray[np.int64]:
        """The evidence (rows,) that each row taught an answer, to the integer as `protocol.signals.evidence_of`.

        Products in float32 are exact here, because every sum is below 2^24, and numpy has a fast product for it.

        Raises:
            AttributionError: the answer's activation has another length than the rows'.
        """
        own = np.frombuffer(answer.to_bytes(), np.int8)
        if len(own) != self.vectors.shape[1]:
            raise AttributionError(f"signals of {len(own)} bytes don't fit rows of {self.vectors.shape[1]}")
        products = np.empty((len(self.vectors), 3), np.int64)
        for at in range(0, len(self.vectors), CHUNK):
            rows = self.vectors[at : at + CHUNK].astype(np.float32)
            for number, part in enumerate(_parts(len(own))):
                products[at : at + CHUNK, number] = rows[:, part] @ own[part].astype(np.float32)
        alike = np.flatnonzero((products > 0).all(axis=1))
        # The root of an integer below 2^52 is never rounded up to the next one, so this is the integer root.
        lengths = np.sqrt((self.squares[alike] * _squares(own[None])).astype(np.float64)).astype(np.int64)
        found = np.zeros(len(products), np.int64)
        found[alike] = (products[alike] * COSINE_ONE // lengths).prod(axis=1)
        return found

    def row(self, number: int) -> Signals:
        """The signals of one row."""
        error, label, activation = (self.vectors[number, part].tobytes() for part in _parts(self.vectors.shape[1]))
        return Signals(error=error, label=label, activation=activation)


Tracer = Callable[[Row], Trace]
"""Runs a row through the model once, teacher-forced."""


def build_signals(
    folder: Path,
    datanets: Sequence[tuple[Digest, Sequence[Row]]],
    sketches: Sketches,
    trace: Tracer,
    *,
    statistics_rows_max: int = STATISTICS_ROWS_MAX,
) -> Digest:
    """Write the signals of rows into `folder` and return the root of the index.

    Rows for the statistics are run twice and all others once, and no trace is kept. Datanets and rows are those of
    the text index, in its order: a row that occurs twice is indexed once.

    Raises:
        AttributionError: a row's signals are not finite, a Datanet has no rows, or the adapter changes no map that
            writes into the residual stream, so that there would be no signal of the error.
    """
    if not sketches.residual_width:
        raise AttributionError(
            "the adapter changes neither o_proj nor down_proj, which poa-v3 needs: train it on all linear maps, "
            "or let its answers be attributed by suffix-v1"
        )
    folder.mkdir(parents=True, exist_ok=True)
    entries = []
    for place, (rows_root, rows) in enumerate(datanets):
        rows = tuple(dict.fromkeys(rows))
        files = _names(place)
        numbers = statistics_rows(rows, statistics_rows_max)
        owners = [rows[number].contributor for number in numbers]
        statistics = measure_statistics((trace(rows[number]) for number in numbers), owners)
        (folder / files[1]).write_bytes(statistics.to_bytes())
        _write_vectors(folder / files[0], rows, sketches, trace, statistics)
        vectors = np.fromfile(folder / files[0], np.int8).reshape(len(rows), -1)[numbers]
        signals = RowSignals(vectors=vectors, squares=_squares(vectors), statistics=statistics)
        digests = [file_digest(folder / name) for name in files]
        entries.append(
            SignalsOfDatanet(
                rows_root=rows_root,
                rows=len(rows),
                vectors=digests[0],
                statistics=digests[1],
                evidence_min=least_evidence(signals),
            )
        )
    manifest = SignalsManifest(
        seed=f"{sketches.seed:016x}",
        width=sketches.width,
        residual_width=sketches.residual_width,
        datanets=tuple(entries),
    )
    (folder / MANIFEST_FILE).write_bytes(canonical_json(manifest) + b"\n")
    return canonical_digest(manifest)


def open_signals(folder: Path, root: Digest) -> dict[Digest, RowSignals]:
    """Open an index of signals and check all of it; the result is keyed by the root of each Datanet's rows.

    Raises:
        AdapterRefusedError: it has another root, or a file is not as it must be.
    """
    manifest = read_manifest(folder)
    if (found := canonical_digest(manifest)) != root:
        raise AdapterRefusedError(f"the signals in {folder} have root {found}, but their adapter names {root}")
    return {entry.rows_root: _open(folder, place, entry, manifest) for place, entry in enumerate(manifest.datanets)}


def read_manifest(folder: Path) -> SignalsManifest:
    """Read `signals.json`.

    Raises:
        AdapterRefusedError: it is missing, too large or malformed.
    """
    file = folder / MANIFEST_FILE
    if not file.is_file() or file.is_symlink() or file.stat().st_size > MANIFEST_BYTES_MAX:
        raise AdapterRefusedError(f"{file} is not a file, or is larger than {MANIFEST_BYTES_MAX} bytes")
    try:
        return _manifest_from_json(json.loads(file.read_text(encoding="utf-8")))
    except (ValueError, RecursionError, MalformedError) as error:
        raise AdapterRefusedError(f"{file}: {error}") from error


def statistics_rows(rows: Sequence[Row], limit: int) -> list[int]:
    """Choose the rows that statistics are measured on: owners take turns, each row by its digest."""
    turns: defaultdict[str, int] = defaultdict(int)
    ordered = []
    for digest, number in sorted((canonical_digest(row), number) for number, row in enumerate(rows)):
        owner = rows[number].contributor
        ordered.append((turns[owner], digest, number))
        turns[owner] += 1
    return sorted(number for _, _, number in sorted(ordered)[:limit])


def least_evidence(rows: RowSignals) -> int:
    """A quarter of the evidence that a row usually has with the row most like it, and never over CHANCE_EVIDENCE.

    The bound holds whatever rows are added, so that nobody can raise the limit to take the pay of others.
    """
    if len(rows.vectors) < 2:
        return 0
    nearest = []
    for number in range(len(rows.vectors)):
        evidence = rows.evidence(rows.row(number))
        evidence[number] = 0
        nearest.append(int(evidence.max()))
    return min(CHANCE_EVIDENCE, sorted(nearest)[len(nearest) // 2] // NEAREST_PARTS)


def _write_vectors(
    file: Path, rows: Sequence[Row], sketches: Sketches, trace: Tracer, statistics: SignalStatistics
) -> None:
    """Write each row's vectors as they come, so that none is kept."""
    with file.open("wb") as out:
        for row in rows:
            out.write(signals_of(trace(row), statistics, sketches).to_bytes())


def _open(folder: Path, place: int, entry: SignalsOfDatanet, manifest: SignalsManifest) -> RowSignals:
    width = 2 * SIGNAL_SKETCH_BYTES + manifest.width
    vectors_file, statistics_file = (folder / name for name in _names(place))
    for file, digest in ((vectors_file, entry.vectors), (statistics_file, entry.statistics)):
        if not file.is_file() or file.is_symlink() or file_digest(file) != digest:
            raise AdapterRefusedError(f"{file} does not have the digest in its manifest")
    if vectors_file.stat().st_size != entry.rows * width:
        raise AdapterRefusedError(f"{vectors_file} does not have {width} bytes for each of {entry.rows} rows")
    vectors = np.asarray(np.memmap(vectors_file, np.int8, mode="r", shape=(entry.rows, width)))
    try:
        statistics = statistics_from_bytes(
            statistics_file.read_bytes(), width=manifest.width, residual_width=manifest.residual_width
        )
    except AttributionError as error:
        raise AdapterRefusedError(f"{statistics_file}: {error}") from error
    squares = [_squares(vectors[at : at + CHUNK]) for at in range(0, entry.rows, CHUNK)]
    return RowSignals(
        vectors=vectors,
        squares=np.concatenate(squares),
        statistics=statistics,
        evidence_min=entry.evidence_min,
    )


def _squares(vectors: NDArray[np.int8]) -> NDArray[np.int64]:
    """The squared length of each part of each vector: (rows, width) → (rows, 3)."""
    wide = vectors.astype(np.int64)
    parts = [wide[:, part] for part in _parts(vectors.shape[1])]
    return np.stack([np.einsum("rn,rn->r", part, part) for part in parts], axis=1)


def _parts(width: int) -> tuple[slice, slice, slice]:
    """Where error, label and activation are in a vector."""
    end = 2 * SIGNAL_SKETCH_BYTES
    return slice(0, SIGNAL_SKETCH_BYTES), slice(SIGNAL_SKETCH_BYTES, end), slice(end, width)


def _names(place: int) -> tuple[str, str]:
    return f"vectors-{place}.i8", f"statistics-{place}.f32"


def _manifest_from_json(content: object) -> SignalsManifest:
    found = _with_fields(SignalsManifest, content)
    if (found["schema"], found["algorithm"]) != (SIGNALS_SCHEMA, "poa-v3"):
        raise MalformedError(f"it has another schema than {SIGNALS_SCHEMA}, or another algorithm than poa-v3")
    if (
        not isinstance(found["seed"], str)
        or len(found["seed"]) != 16
        or not set(found["seed"]) <= set("0123456789abcdef")
    ):
        raise MalformedError("seed must be 16 hex digits")
    for name in ("width", "residual_width"):
        if type(found[name]) is not int or not 1 <= found[name] <= SIGNAL_ACTIVATION_BYTES_MAX:
            raise MalformedError(f"{name} must be a number from 1 to {SIGNAL_ACTIVATION_BYTES_MAX}")
    entries = found["datanets"]
    if not isinstance(entries, list) or not 1 <= len(entries) <= ADAPTER_DATANETS_MAX:
        raise MalformedError(f"it must name 1 to {ADAPTER_DATANETS_MAX} Datanets")
    datanets = tuple(_datanet_from_json(entry) for entry in entries)
    if len({entry.rows_root for entry in datanets}) < len(datanets):
        raise MalformedError("it names the same rows twice")
    return SignalsManifest(**{**found, "datanets": datanets})


def _datanet_from_json(content: object) -> SignalsOfDatanet:
    entry = SignalsOfDatanet(**_with_fields(SignalsOfDatanet, content))
    for digest in (entry.rows_root, entry.vectors, entry.statistics):
        check_digest(digest)
    if type(entry.rows) is not int or not 1 <= entry.rows <= ROWS_MAX:
        raise MalformedError(f"a Datanet has 1 to {ROWS_MAX} rows")
    if type(entry.evidence_min) is not int or not 0 <= entry.evidence_min <= COSINE_ONE**3:
        raise MalformedError(f"evidence_min must be a number from 0 to {COSINE_ONE**3}")
    return entry


def _with_fields(cls: type[SignalsManifest] | type[SignalsOfDatanet], content: object) -> dict[str, Any]:
    names = {spec.name for spec in fields(cls)}
    if not isinstance(content, dict) or set(content) != names:
        raise MalformedError(f"it must have objects with the fields {', '.join(sorted(names))}")
    return content
