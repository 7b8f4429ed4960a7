"""The attribution index in an adapter's folder `attribution/`: the tokens of the rows that it was trained on.

The index contains the rows but not their owners: those are named by the Datanet's version.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from openledger_protocol.codec import canonical_digest, canonical_json
from openledger_protocol.datanet import Row
from openledger_protocol.errors import AdapterRefusedError, MalformedError
from openledger_protocol.primitives import Digest

from ..datanets.version import VersionLabel
from ..engine.tokenizer import Tokenizer
from ..errors import ConfigError
from ..models.adapters import INDEX_FOLDER, Adapter
from ..models.bases import file_digest
from .manifest import (
    SIGNALS_FILE,
    IndexedDatanet,
    IndexManifest,
    check_sizes,
    file_names,
    index_manifest_from_json,
    index_root,
    signal_names,
)
from .signals.files import RowSignals, open_signals, read_manifest
from .signals.sketches import seed_of
from .suffix_array import CHUNK, SEPARATOR, Positions, Tokens, are_sorted, sort_suffixes

MANIFEST_FILE = "manifest.json"
MANIFEST_BYTES_MAX = 64 * 1024
DIGEST_BYTES = 32


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DatanetIndex:
    """One Datanet's rows as tokens: each is a prompt and its completion, followed by a separator."""

    id: str  # a label for readers; the rows identify the Datanet in the adapter's manifest
    version: str
    rows_root: Digest
    row_digests: tuple[Digest, ...]
    tokens: Tokens
    suffixes: Tokens
    starts: Positions  # (rows + 1,); the last is the end of the tokens
    suffix_rows: NDArray[np.int32]  # the row of each suffix
    signals: RowSignals | None = None
    rows_with: dict[int, int] = field(default_factory=dict)
    """The number of rows with a token, by where its suffixes begin; counted when an answer has the token first."""

    @classmethod
    def of(
        cls,
        *,
        id: str,
        version: str,
        rows_root: Digest,
        row_digests: tuple[Digest, ...],
        tokens: Tokens,
        suffixes: Tokens,
    ) -> Self:
        """Derive the starts of rows and each suffix's row; tokens and suffixes must have been checked."""
        ends = np.flatnonzero(tokens == SEPARATOR)
        suffix_rows = np.empty(len(suffixes), np.int32)
        for begin in range(0, len(suffixes), CHUNK):
            suffix_rows[begin : begin + CHUNK] = np.searchsorted(ends, suffixes[begin : begin + CHUNK])
        return cls(
            id=id,
            version=version,
            rows_root=rows_root,
            row_digests=row_digests,
            tokens=tokens,
            suffixes=suffixes,
            starts=np.concatenate([[0], ends + 1]),
            suffix_rows=suffix_rows,
        )

    @property
    def num_rows(self) -> int:
        """The number of rows."""
        return len(self.row_digests)

    @property
    def row_lengths(self) -> Positions:
        """The number of tokens in each row."""
        return np.diff(self.starts) - 1

    def row_tokens(self, row: int) -> tuple[int, ...]:
        """The tokens of one row, without its separator."""
        return tuple(self.tokens[self.starts[row] : self.starts[row + 1] - 1].tolist())


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class AttributionIndex:
    """An adapter's whole open index; its arrays are memory-mapped and read as needed."""

    root: Digest
    tokenizer_digest: Digest | None
    datanets: tuple[DatanetIndex, ...]


def build_index(
    folder: Path,
    datanets: Sequence[tuple[VersionLabel, Sequence[Row]]],
    tokenizer: Tokenizer,
    tokenizer_digest: Digest | None,
    *,
    add_signals: Callable[[Path], None] | None = None,
) -> Digest:
    """Write an index into `folder` and return its root; the same rows give the same bytes.

    A row that occurs twice is indexed once. `add_signals` writes the signals of the same rows into the folder.

    Raises:
        ConfigError: there are more rows or tokens than an index may hold.
    """
    folder.mkdir(parents=True, exist_ok=True)
    entries = tuple(_write(folder, place, *datanet, tokenizer) for place, datanet in enumerate(datanets))
    try:
        check_sizes(entries)
    except MalformedError as error:
        raise ConfigError(f"{error}: train on fewer rows") from error
    if add_signals:
        add_signals(folder)
        entries = tuple(_with_signals(folder, place, entry) for place, entry in enumerate(entries))
    manifest = IndexManifest(tokenizer_digest=tokenizer_digest, datanets=entries)
    (folder / MANIFEST_FILE).write_bytes(canonical_json(manifest) + b"\n")
    return index_root(manifest)


def tokens_of(row: Row, tokenizer: Tokenizer) -> tuple[int, ...]:
    """The indexed tokens of a row: its prompt, then its completion, tokenised separately and without a template."""
    return (*tokenizer.encode(row.prompt), *tokenizer.encode(row.completion))


def open_index(folder: Path, root: Digest) -> AttributionIndex:
    """Open an index and check all of it; its files are not trusted, and are never read into memory whole.

    Raises:
        AdapterRefusedError: it has another root, or a file is not as it must be.
    """
    manifest = _read_manifest(folder)
    if (found := index_root(manifest)) != root:
        raise AdapterRefusedError(f"the attribution index in {folder} has root {found}, but its adapter names {root}")
    signals = _open_signals(folder, manifest)
    return AttributionIndex(
        root=root,
        tokenizer_digest=manifest.tokenizer_digest,
        datanets=tuple(
            replace(_open_datanet(folder, place, entry), signals=signals.get(entry.rows_root))
            for place, entry in enumerate(manifest.datanets)
        ),
    )


def open_adapter_index(adapter: Adapter) -> AttributionIndex | None:
    """Open the index of an adapter in the library; None if its manifest names none.

    Raises:
        AdapterRefusedError: as `open_index`, or the index has another tokenizer or other Datanets than the adapter.
    """
    manifest = adapter.manifest
    if manifest.index_root is None:
        return None
    index = open_index(adapter.folder / INDEX_FOLDER, manifest.index_root)
    if index.tokenizer_digest != manifest.tokenizer_digest:
        raise AdapterRefusedError(f"the attribution index of {adapter.full_name} was made with another tokenizer")
    learned = sorted(datanet.rows_root for datanet in manifest.datanets or ())
    if sorted(datanet.rows_root for datanet in index.datanets) != learned:
        raise AdapterRefusedError(
            f"the attribution index of {adapter.full_name} covers other Datanets than the adapter was trained on"
        )
    if index.datanets[0].signals is not None:
        found = read_manifest(adapter.folder / INDEX_FOLDER).seed
        if int(found, 16) != seed_of(manifest.artifact_digest, learned):
            raise AdapterRefusedError(
                f"the signals of {adapter.full_name} were made with another seed than its files give"
            )
    return index


def _write(
    folder: Path, place: int, label: VersionLabel, rows: Sequence[Row], tokenizer: Tokenizer
) -> IndexedDatanet:
    rows = tuple(dict.fromkeys(rows))
    ids = (token for row in rows for token in (*tokens_of(row, tokenizer), SEPARATOR))
    tokens = np.fromiter(ids, np.uint32)
    digests = b"".join(bytes.fromhex(canonical_digest(row)[2:]) for row in rows)
    contents = (tokens.astype("<u4").tobytes(), sort_suffixes(tokens).astype("<u4").tobytes(), digests)
    for name, content in zip(file_names(place), contents, strict=True):
        (folder / name).write_bytes(content)
    return IndexedDatanet(
        id=label.id,
        version=label.version,
        rows_root=label.rows_root,
        rows=len(rows),
        tokens=len(tokens) - len(rows),
        files={name: file_digest(folder / name) for name in file_names(place)},
    )


def _with_signals(folder: Path, place: int, entry: IndexedDatanet) -> IndexedDatanet:
    digests = {name: file_digest(folder / name) for name in signal_names(place)}
    return replace(entry, files={**entry.files, **digests})


def _open_signals(folder: Path, manifest: IndexManifest) -> dict[Digest, RowSignals]:
    """The signals of each Datanet's rows, by their root; empty for an index of texts alone.

    Raises:
        AdapterRefusedError: a file has another digest, or the signals are those of other rows.
    """
    if SIGNALS_FILE not in manifest.datanets[0].files:
        return {}
    file = folder / SIGNALS_FILE
    if not _is_plain(file) or file_digest(file) != manifest.datanets[0].files[SIGNALS_FILE]:
        raise AdapterRefusedError(f"{file} does not have the digest in its manifest")
    listed = read_manifest(folder)
    told = [(each.rows_root, each.rows, each.vectors, each.statistics) for each in listed.datanets]
    wanted = [
        (each.rows_root, each.rows, *(each.files[name] for name in signal_names(place)[:2]))
        for place, each in enumerate(manifest.datanets)
    ]
    if told != wanted:
        raise AdapterRefusedError(f"the signals in {folder} are of other rows than its text index")
    return open_signals(folder, canonical_digest(listed))


def _read_manifest(folder: Path) -> IndexManifest:
    file = folder / MANIFEST_FILE
    if not _is_plain(file) or file.stat().st_size > MANIFEST_BYTES_MAX:
        raise AdapterRefusedError(f"{file} is not a file, or is larger than {MANIFEST_BYTES_MAX} bytes")
    try:
        return index_manifest_from_json(json.loads(file.read_text(encoding="utf-8")))
    except (ValueError, RecursionError, MalformedError) as error:
        raise AdapterRefusedError(f"{file}: {error}") from error


def _open_datanet(folder: Path, place: int, entry: IndexedDatanet) -> DatanetIndex:
    num_tokens = entry.tokens + entry.rows
    sizes = (4 * num_tokens, 4 * num_tokens, DIGEST_BYTES * entry.rows)
    for name, size in zip(file_names(place), sizes, strict=True):
        _check_file(folder / name, size, entry.files[name])
    tokens_file, suffixes_file, rows_file = (folder / name for name in file_names(place))
    tokens, suffixes = (np.asarray(np.memmap(file, "<u4", mode="r")) for file in (tokens_file, suffixes_file))
    ends = np.flatnonzero(tokens == SEPARATOR)
    if len(ends) != entry.rows or ends[-1] != num_tokens - 1:
        raise AdapterRefusedError(f"{tokens_file} does not hold {entry.rows} rows, a separator behind each")
    if not are_sorted(tokens, suffixes):
        raise AdapterRefusedError(f"{suffixes_file} is not the suffix array of {tokens_file.name}")
    row_digests = _read_digests(rows_file)
    if len(set(row_digests)) < len(row_digests):
        raise AdapterRefusedError(f"{rows_file} names a row twice")
    return DatanetIndex.of(
        id=entry.id,
        version=entry.version,
        rows_root=entry.rows_root,
        row_digests=row_digests,
        tokens=tokens,
        suffixes=suffixes,
    )


def _read_digests(file: Path) -> tuple[Digest, ...]:
    digits, width = file.read_bytes().hex(), 2 * DIGEST_BYTES
    return tuple(Digest("0x" + digits[at : at + width]) for at in range(0, len(digits), width))


def _check_file(file: Path, size_bytes: int, digest: Digest) -> None:
    if not _is_plain(file) or file.stat().st_size != size_bytes:
        raise AdapterRefusedError(f"{file} is not a file of {size_bytes} bytes")
    if file_digest(file) != digest:
        raise AdapterRefusedError(f"{file} does not have the digest in its manifest")


def _is_plain(file: Path) -> bool:
    return file.is_file() and not file.is_symlink()
