"""`attribution/manifest.json`: the contents of an adapter's index, and the root that the adapter's manifest names."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

from openledger_protocol.codec import canonical_digest, to_plain
from openledger_protocol.constants import ADAPTER_DATANETS_MAX
from openledger_protocol.errors import MalformedError
from openledger_protocol.primitives import Digest, check_digest, check_name

INDEX_SCHEMA = "openledger.attribution_index/1"
SIGNALS_FILE = "signals.json"
TOKENS_MAX = 2**25
ROWS_MAX = 2**20
"""Limits of a whole index, tokens with separators: at most 300 MB of files, which are checked in ten seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SuffixParameters:
    """Parameters of suffix-v1; other values would be another algorithm, with another id."""

    gains: tuple[int, ...] = (0, 256, 362, 443, 512, 572, 627, 677, 724)  # by matched length n: 256·√n, rounded
    skip_factor: int = 4
    skip_rows_min: int = 4
    skip_rows_divisor: int = 3

    def occurrences_max(self, num_rows: int) -> int:
        """The greatest number of occurrences at which a pattern counts; more frequent ones are skipped."""
        return self.skip_factor * max(self.skip_rows_min, num_rows // self.skip_rows_divisor)


SUFFIX_V1 = SuffixParameters()


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexedDatanet:
    """One Datanet of an index. Its id and version are labels for readers."""

    id: str
    version: str
    rows_root: Digest
    rows: int
    tokens: int  # without separators
    files: dict[str, Digest]


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexManifest:
    """The whole of `manifest.json`."""

    tokenizer_digest: Digest | None
    datanets: tuple[IndexedDatanet, ...]
    schema: str = INDEX_SCHEMA
    algorithm: str = "suffix-v1"
    parameters: SuffixParameters = SUFFIX_V1


def index_root(manifest: IndexManifest) -> Digest:
    """The SHA-256 of the manifest's canonical JSON, which contains the digest of every file."""
    return canonical_digest(manifest)


def file_names(place: int) -> tuple[str, str, str]:
    """File names of tokens, suffixes and rows of the Datanet at this place in the manifest."""
    return f"tokens-{place}.u32", f"suffixes-{place}.u32", f"rows-{place}.sha256"


def signal_names(place: int) -> tuple[str, ...]:
    """File names of the signals of the Datanet at this place; the first one has the signals' own manifest, too."""
    files = (f"vectors-{place}.i8", f"statistics-{place}.f32")
    return files if place else (*files, SIGNALS_FILE)


def index_manifest_from_json(content: object) -> IndexManifest:
    """Read `manifest.json`.

    Raises:
        MalformedError: the schema, algorithm or a parameter differs, or a field is unknown, missing or out of bounds.
    """
    found = _checked_fields(IndexManifest, content)
    fixed = to_plain(IndexManifest(tokenizer_digest=None, datanets=()))
    assert isinstance(fixed, dict)
    for name in ("schema", "algorithm", "parameters"):
        if found[name] != fixed[name]:
            raise MalformedError(f"manifest.json has {name} {repr(found[name])[:80]}, not {fixed[name]!r}")
    if found["tokenizer_digest"] is not None:
        check_digest(found["tokenizer_digest"])
    entries = found["datanets"]
    if not isinstance(entries, list) or not 1 <= len(entries) <= ADAPTER_DATANETS_MAX:
        raise MalformedError(f"manifest.json must name 1 to {ADAPTER_DATANETS_MAX} Datanets")
    datanets = tuple(_datanet_from_json(place, entry) for place, entry in enumerate(entries))
    if len({datanet.rows_root for datanet in datanets}) < len(datanets):
        raise MalformedError("manifest.json names the same rows twice")
    if len({bool(set(each.files) & set(signal_names(place))) for place, each in enumerate(datanets)}) > 1:
        raise MalformedError("manifest.json must name the signals of all Datanets or of none")
    check_sizes(datanets)
    return IndexManifest(tokenizer_digest=found["tokenizer_digest"], datanets=datanets)


def check_sizes(datanets: Sequence[IndexedDatanet]) -> None:
    """Check that an index is small enough for every node to hold.

    Raises:
        MalformedError: it has too many rows or tokens.
    """
    num_rows = sum(datanet.rows for datanet in datanets)
    num_tokens = sum(datanet.tokens for datanet in datanets) + num_rows
    if num_rows > ROWS_MAX or num_tokens > TOKENS_MAX:
        raise MalformedError(
            f"an index of {num_rows} rows and {num_tokens} tokens exceeds {ROWS_MAX} rows or {TOKENS_MAX} tokens"
        )


def _datanet_from_json(place: int, content: object) -> IndexedDatanet:
    datanet = IndexedDatanet(**_checked_fields(IndexedDatanet, content))
    check_name(datanet.id)
    check_name(datanet.version)
    check_digest(datanet.rows_root)
    if type(datanet.rows) is not int or type(datanet.tokens) is not int or datanet.rows < 1 or datanet.tokens < 0:
        raise MalformedError("a Datanet in an index must have at least one row and no negative number of tokens")
    texts, signals = set(file_names(place)), set(signal_names(place))
    if not isinstance(datanet.files, dict) or set(datanet.files) not in (texts, texts | signals):
        raise MalformedError(
            f"the files of a Datanet in place {place} must be {', '.join(file_names(place))}, and for poa-v3 also "
            f"{', '.join(signal_names(place))}"
        )
    for digest in datanet.files.values():
        check_digest(digest)
    return datanet


def _checked_fields(cls: type[IndexManifest] | type[IndexedDatanet], content: object) -> dict[str, Any]:
    names = {field.name for field in fields(cls)}
    if not isinstance(content, dict) or set(content) != names:
        raise MalformedError(f"manifest.json must have objects with the fields {', '.join(sorted(names))}")
    return content
