"""A base, an adapter's manifest, and the adapter id, which covers every byte of the adapter and its owner."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from eth_hash.auto import keccak

from .codec import canonical_digest
from .constants import PPM
from .eip712 import address_word, digest_word
from .errors import MalformedError
from .primitives import (
    ZERO_ADDRESS,
    AdapterId,
    Address,
    DatanetId,
    Digest,
    check_address,
    check_digest,
    check_name,
    check_text,
)

ADAPTER_SCHEMA = "openledger.adapter/1"
PROBE_PROMPT_LENGTH_MAX = 500
"""The maximum length of a probe's prompt, in characters."""

PROBES_MAX = 16
PROBE_ANSWER_LENGTH_MAX = 2_000
"""Limits of the public probe set in a manifest's evaluation."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseReference:
    """The base that an adapter was trained on. Its digest identifies it; its name is for people."""

    name: str
    digest: Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class DatanetReference:
    """A Datanet's version that an adapter was trained on, and its weight in the adapter's data share."""

    id: DatanetId  # on the chain: it holds the Datanet's creator and name, and means the same to everybody
    version: str  # by its trainer's count; the rows identify it
    rows_root: Digest
    weight_ppm: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AdapterManifest:
    """`adapter.json`: an adapter's identity, owner, base and training data. Unknown fields are None."""

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
    probe: dict[str, Any] | None = None  # {"prompt", "digest"}: its greedy answer in float32
    owner: Address | None = None  # the only account that can register it
    license: str | None = None


def adapter_id(manifest: AdapterManifest) -> AdapterId:
    """The id of an adapter, under which only its owner can register it: equal ids mean equal adapters.

    An adapter without an owner has the id of the zero address, which can register nothing.
    """
    return registered_id(manifest.owner or ZERO_ADDRESS, manifest_id(manifest))


def manifest_id(manifest: AdapterManifest) -> Digest:
    """The SHA-256 of the manifest's canonical JSON."""
    return canonical_digest(manifest)


def registered_id(owner: Address, manifest_id: Digest) -> AdapterId:
    """The id that ModelRegistry gives a manifest registered by `owner`: keccak of both as words."""
    return AdapterId("0x" + keccak(address_word(owner) + digest_word(manifest_id)).hex())


def datanet_weights(manifest: AdapterManifest) -> tuple[tuple[DatanetId, int], ...]:
    """Datanets of an adapter, ascending, each with its weight in ppm."""
    return tuple(sorted((datanet.id, datanet.weight_ppm) for datanet in manifest.datanets or ()))


@dataclass(frozen=True, slots=True, kw_only=True)
class PublicProbe:
    """A prompt, and the adapter's greedy answer as its trainer states it: anybody can attribute it."""

    prompt: str
    answer: str


def probe_digest(prompt: str, ids: Sequence[int]) -> Digest:
    """The digest in a manifest's probe: over the prompt and the adapter's greedy token ids."""
    return canonical_digest({"prompt": prompt, "ids": list(ids)})


def manifest_from_json(fields: object) -> AdapterManifest:
    """Read `adapter.json`.

    Raises:
        MalformedError: another schema, an unknown, missing or mistyped field, or a value that
            canonical JSON can't hold.
    """
    if not isinstance(fields, dict):
        raise MalformedError("adapter.json is no object")
    if fields.get("schema") != ADAPTER_SCHEMA:
        raise MalformedError(f"adapter.json has schema {repr(fields.get('schema'))[:80]}, not {ADAPTER_SCHEMA!r}")
    try:
        base = BaseReference(**fields["base"])
        datanets = _datanets_from_json(fields.get("datanets"))
        manifest = AdapterManifest(**{**fields, "base": base, "datanets": datanets})
        _check_manifest(manifest)
    except (KeyError, TypeError, AttributeError) as error:
        raise MalformedError(f"adapter.json: {error}") from error
    adapter_id(manifest)
    return manifest


def _datanets_from_json(entries: Any) -> tuple[DatanetReference, ...] | None:
    if entries is None:
        return None
    datanets = tuple(_datanet_from_json(entry) for entry in _typed("datanets", entries, list))
    for name in ("id", "rows_root"):
        if len({getattr(datanet, name) for datanet in datanets}) < len(datanets):
            raise MalformedError("adapter.json names a Datanet or its rows twice")
    return datanets


def _datanet_from_json(entry: Any) -> DatanetReference:
    datanet = DatanetReference(**entry)
    if not datanet.id.startswith("0x"):
        raise MalformedError(
            f"adapter.json names Datanet {datanet.id[:80]!r} without its id on the chain: train the adapter again"
        )
    check_digest(datanet.id)
    check_name(datanet.version)
    check_digest(datanet.rows_root)
    if not 0 <= _typed("datanets.weight_ppm", datanet.weight_ppm, int) <= PPM:
        raise MalformedError(f"datanets.weight_ppm must be from 0 to {PPM}")
    return datanet


def _check_manifest(manifest: AdapterManifest) -> None:
    check_name(manifest.name)
    check_name(manifest.base.name)
    check_digest(manifest.base.digest)
    check_digest(manifest.artifact_digest)
    for digest in (manifest.tokenizer_digest, manifest.chat_template_digest, manifest.index_root, manifest.parent):
        if digest is not None:
            check_digest(digest)
    for name in ("training", "evaluation", "probe"):
        if getattr(manifest, name) is not None:
            _typed(name, getattr(manifest, name), dict)
    if manifest.probe is not None:
        _check_probe(manifest.probe)
    _check_public_probes((manifest.evaluation or {}).get("probes", []))
    if manifest.owner is not None and (
        check_address(manifest.owner) != manifest.owner or not int(manifest.owner, 16)
    ):
        raise MalformedError("adapter.json: owner must be an account's address with its checksum, or null")
    if manifest.license is not None:
        _typed("license", manifest.license, str)


def _check_probe(probe: dict[str, Any]) -> None:
    if probe.keys() != {"prompt", "digest"}:
        raise MalformedError("adapter.json: probe has a prompt and a digest, and nothing else")
    if not 1 <= len(check_text(_typed("probe.prompt", probe["prompt"], str))) <= PROBE_PROMPT_LENGTH_MAX:
        raise MalformedError(f"adapter.json: probe.prompt has 1 to {PROBE_PROMPT_LENGTH_MAX} characters")
    check_digest(_typed("probe.digest", probe["digest"], str))


def _check_public_probes(probes: Any) -> None:
    if len(_typed("evaluation.probes", probes, list)) > PROBES_MAX:
        raise MalformedError(f"adapter.json: evaluation.probes has {len(probes)} entries, over {PROBES_MAX}")
    for probe in probes:
        if _typed("evaluation.probes", probe, dict).keys() != {"prompt", "answer"}:
            raise MalformedError("adapter.json: each of evaluation.probes has a prompt and an answer")
        for name, most in (("prompt", PROBE_PROMPT_LENGTH_MAX), ("answer", PROBE_ANSWER_LENGTH_MAX)):
            if not 1 <= len(check_text(_typed(f"probes.{name}", probe[name], str))) <= most:
                raise MalformedError(f"adapter.json: the {name} of a probe has 1 to {most} characters")


def _typed(name: str, value: Any, cls: type) -> Any:
    if type(value) is not cls:
        raise MalformedError(f"adapter.json: {name} is of the wrong type")
    return value
