"""Checking a provider's file list against the adapter's id, before anything large is fetched. Pure.

The id fixes `adapter.json`, which fixes the digest of the weights and the root of the attribution index. A
provider's list can therefore only be wrong in how it cuts these files into chunks.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from openledger_protocol.adapter import AdapterManifest, DatanetReference, adapter_id, manifest_from_json
from openledger_protocol.codec import canonical_digest
from openledger_protocol.constants import CHUNK_BYTES
from openledger_protocol.errors import AdapterRefusedError, MalformedError
from openledger_protocol.primitives import AdapterId, Digest
from openledger_protocol.wire.transfer import FileEntry, TransferManifest, check_adapter_path, check_version_path

MANIFEST_PATH = "adapter.json"
INDEX_PATH = "attribution/manifest.json"
ARTIFACT_PATHS = ("adapter_config.json", "adapter_model.safetensors")
SMALL_BYTES_MAX = CHUNK_BYTES
"""The two files that fix all others come in one chunk each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """A provider's list, verified against the adapter's manifest."""

    manifest: AdapterManifest
    small: Mapping[str, bytes]  # adapter.json, and the index's manifest if there is an index
    bulk: tuple[FileEntry, ...]  # all other files to fetch, by path
    versions: Mapping[str, FileEntry]  # by path; not verified, because only the chain can

    @property
    def size_bytes(self) -> int:
        """The size of all files to fetch, without versions."""
        return sum(entry.size_bytes for entry in self.bulk) + sum(map(len, self.small.values()))


def small_entry(manifest: TransferManifest, path: str) -> FileEntry:
    """Find the entry of a file that must come in one chunk.

    Raises:
        AdapterRefusedError: it is not listed, or is larger.
    """
    entry = next((each for each in manifest.files if each.path == path), None)
    if entry is None or not 0 < entry.size_bytes <= SMALL_BYTES_MAX:
        raise AdapterRefusedError(f"{path} is not listed, or not of 1 to {SMALL_BYTES_MAX} bytes")
    return entry


def read_manifest(content: bytes, id: AdapterId) -> AdapterManifest:
    """Read an `adapter.json` from an untrusted peer.

    Raises:
        AdapterRefusedError: it does not have this id.
    """
    try:
        manifest = manifest_from_json(json.loads(content))
    except (ValueError, RecursionError, MalformedError) as error:
        raise AdapterRefusedError(f"{MANIFEST_PATH} can't be read: {error}") from error
    if (found := adapter_id(manifest)) != id:
        raise AdapterRefusedError(f"{MANIFEST_PATH} is that of adapter {found}, not of {id}")
    return manifest


def check_listing(listed: TransferManifest, manifest: AdapterManifest, small: Mapping[str, bytes]) -> Listing:
    """Check a provider's list against the adapter's own digests.

    Raises:
        AdapterRefusedError: a file is missing, or listed under another digest.
    """
    entries = {entry.path: entry for entry in listed.files}
    artifact = {path: entries[path].digest for path in ARTIFACT_PATHS}  # decoding refused lists without them
    if (found := canonical_digest(artifact)) != manifest.artifact_digest:
        raise AdapterRefusedError(f"its weights have digest {found}, the adapter's {manifest.artifact_digest}")
    indexed = _indexed_files(small[INDEX_PATH], manifest.index_root) if manifest.index_root else {}
    for path, digest in indexed.items():
        if path not in entries or entries[path].digest != digest:
            raise AdapterRefusedError(f"{path} is missing, or listed under another digest than its index says")
    bulk = tuple(entries[path] for path in sorted({*ARTIFACT_PATHS, *indexed}))
    versions = {entry.path: entry for entry in listed.versions}
    return Listing(manifest=manifest, small=small, bulk=bulk, versions=versions)


def version_path(datanet: DatanetReference) -> str:
    """The path under which a provider offers a Datanet's version."""
    return check_version_path(f"datanets/{datanet.id}/{datanet.rows_root}.json")


def _indexed_files(content: bytes, root: Digest) -> dict[str, Digest]:
    """Path → digest of the files that an index's manifest names, once its root is verified."""
    try:
        index: Any = json.loads(content)
        found = canonical_digest(index)
        named = [pair for datanet in index["datanets"] for pair in datanet["files"].items()]
        files = {check_adapter_path(f"attribution/{name}"): digest for name, digest in named}
    except (ValueError, RecursionError, LookupError, TypeError, AttributeError, MalformedError) as error:
        raise AdapterRefusedError(f"{INDEX_PATH} can't be read: {error}") from error
    if found != root:
        raise AdapterRefusedError(f"the index has root {found}, the adapter's {root}")
    return files
