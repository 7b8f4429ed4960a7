"""A base, an adapter's manifest, and the id that hangs on every byte of it."""

from dataclasses import dataclass
from typing import Any

from .codec import canonical_digest
from .errors import MalformedError
from .primitives import AdapterId, Digest, check_digest, check_name

ADAPTER_SCHEMA = "openledger.adapter/1"


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseReference:
    """The base that an adapter was trained on; its digest decides, its name is for people."""

    name: str
    digest: Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class DatanetReference:
    """A Datanet's version that an adapter learned from, and its part of the adapter's data share."""

    id: str
    version: str
    rows_root: Digest | None
    weight_ppm: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AdapterManifest:
    """`adapter.json`: what an adapter is, who made it, on what and from what. Unknown fields are None."""

    name: str
    base: BaseReference
    artifact_digest: Digest
    schema: str = ADAPTER_SCHEMA
    tokenizer_digest: Digest | None = None
    chat_template_digest: Digest | None = None
    index_root: Digest | None = None
    datanets: tuple[DatanetReference, ...] | None = None
    parent: AdapterId | None = None
    training: dict[str, Any] | None = None
    evaluation: dict[str, Any] | None = None
    probe: dict[str, Any] | None = None
    owner: str | None = None
    license: str | None = None


def adapter_id(manifest: AdapterManifest) -> AdapterId:
    """The SHA-256 of the manifest's canonical JSON: two adapters share it only if they are the same."""
    return AdapterId(canonical_digest(manifest))


def manifest_from_json(fields: dict[str, Any]) -> AdapterManifest:
    """Read `adapter.json`.

    Raises:
        MalformedError: another schema, an unknown field, a missing one or one of the wrong form.
    """
    if fields.get("schema") != ADAPTER_SCHEMA:
        raise MalformedError(f"adapter.json has schema {fields.get('schema')!r}, not {ADAPTER_SCHEMA!r}")
    try:
        base = BaseReference(**fields["base"])
        datanets = _datanets_from_json(fields.get("datanets"))
        return _check_manifest(AdapterManifest(**{**fields, "base": base, "datanets": datanets}))
    except (KeyError, TypeError) as error:
        raise MalformedError(f"adapter.json: {error}") from error


def _datanets_from_json(entries: list[dict[str, Any]] | None) -> tuple[DatanetReference, ...] | None:
    return None if entries is None else tuple(DatanetReference(**entry) for entry in entries)


def _check_manifest(manifest: AdapterManifest) -> AdapterManifest:
    digests = (manifest.tokenizer_digest, manifest.chat_template_digest, manifest.index_root, manifest.parent)
    for text in (manifest.name, manifest.base.name):
        check_name(text)
    for digest in (manifest.base.digest, manifest.artifact_digest, *filter(None, digests)):
        check_digest(digest)
    return manifest
