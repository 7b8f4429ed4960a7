"""The signed manifest of a release: its files by digest, and the keys that may sign it.

A signature counts once for each trusted key. The expiry keeps a server from hiding later releases for ever, and a
version below one that was installed before is refused, so a server can't bring back an old one.
"""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import rfc8785
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from packaging.version import InvalidVersion, Version

from ...errors import ConfigError, NetworkError
from ...text import rfc3339
from ...upkeep_tables import read_upkeep_url

SCHEMA: Final = "openledger.update/1"
DOMAIN: Final = b"openledger.update/1\n"
"""Before the signed bytes, so that a signature for another purpose never fits."""

MANIFEST_BYTES_MAX: Final = 65_536
FILE_BYTES_MAX: Final = 1 << 30
NOTES_LENGTH_MAX: Final = 300
SIGNATURES_MAX: Final = 16

RELEASE_KEYS: Final[tuple[str, ...]] = ()
"""Ed25519 public keys of the makers of releases, in hex. There are none, since there is no public release."""

DIGEST: Final = re.compile(r"[0-9a-f]{64}", re.ASCII)
WHEEL_NAME: Final = re.compile(r"openledger_node-[A-Za-z0-9_.+!]{1,60}-py3-none-any\.whl", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseFile:
    """A file of a release."""

    url: str
    sha256: str
    size_bytes: int

    @property
    def name(self) -> str:
        """The last part of the URL's path."""
        return self.url.partition("?")[0].rpartition("/")[2]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseManifest:
    """A manifest whose signatures and expiry hold."""

    version: Version
    minimum: Version  # the oldest version that can be updated to it
    notes: str  # one line
    expires_s: int  # since 1970
    wheel: ReleaseFile
    lock: ReleaseFile  # the versions and hashes of all packages, as in requirements/run.lock

    def to_plain(self) -> dict[str, Any]:
        """The manifest for JSON."""
        return {
            "version": str(self.version),
            "minimum": str(self.minimum),
            "notes": self.notes,
            "expires": rfc3339(self.expires_s),
        }


def read_manifest(content: bytes, *, keys: Sequence[str], signatures_min: int, now_s: float) -> ReleaseManifest:
    """Verify a manifest and parse it.

    Raises:
        NetworkError: it is no manifest, too few trusted keys have signed it, or it has expired.
    """
    try:
        outer = json.loads(content)
        signed, signatures = outer["signed"], outer["signatures"]
        canonical = signed_bytes(signed)
        num_valid = _num_valid(canonical, signatures, keys)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, rfc8785.CanonicalizationError) as error:
        raise NetworkError("[update] url leads to a file that is no manifest of a release") from error
    if num_valid < signatures_min:
        raise NetworkError(
            f"the manifest has {num_valid} valid signatures of trusted keys, and {signatures_min} are needed: "
            "it is not from the maker of this release, or [update] keys is not theirs"
        )
    try:
        manifest = _parse(signed)
    except (ValueError, KeyError, TypeError, OverflowError, InvalidVersion) as error:
        raise NetworkError(f"the manifest is signed, but this version can't read it ({error})") from error
    if now_s > manifest.expires_s:
        raise NetworkError(
            f"the manifest expired at {rfc3339(manifest.expires_s)}: its server holds later releases back, their "
            "maker has not renewed it, or this machine's clock is wrong"
        )
    return manifest


def signed_bytes(signed: Mapping[str, Any]) -> bytes:
    """The bytes that keys sign: the domain and the canonical JSON (RFC 8785) of the field `signed`."""
    return DOMAIN + rfc8785.dumps(dict(signed))


def key_id(public_key: str) -> str:
    """The name of a key in a manifest: the first 16 hex digits of its SHA-256."""
    return hashlib.sha256(bytes.fromhex(public_key)).hexdigest()[:16]


def _num_valid(content: bytes, signatures: Any, keys: Sequence[str]) -> int:
    """The number of trusted keys with a valid signature."""
    trusted, valid = {key_id(key): key for key in keys}, set()
    for signature in list(signatures)[:SIGNATURES_MAX]:
        key = trusted.get(str(signature["key"]))
        if key is None:
            continue
        try:
            Ed25519PublicKey.from_public_bytes(bytes.fromhex(key)).verify(
                bytes.fromhex(str(signature["signature"])), content
            )
        except InvalidSignature:
            continue
        valid.add(key)
    return len(valid)


def _parse(signed: Mapping[str, Any]) -> ReleaseManifest:
    if signed["schema"] != SCHEMA:
        raise ValueError(f"its schema is not {SCHEMA}")
    notes = signed["notes"]
    if not isinstance(notes, str) or not notes.isprintable() or len(notes) > NOTES_LENGTH_MAX:
        raise ValueError("its notes are no line of text")
    manifest = ReleaseManifest(
        version=Version(signed["version"]),
        minimum=Version(signed["minimum"]),
        notes=notes,
        expires_s=int(datetime.fromisoformat(signed["expires"]).timestamp()),
        wheel=_file(signed["wheel"]),
        lock=_file(signed["lock"]),
    )
    if not WHEEL_NAME.fullmatch(manifest.wheel.name):
        raise ValueError("its wheel is none of openledger-node")
    return manifest


def _file(stated: Mapping[str, Any]) -> ReleaseFile:
    url, sha256, size_bytes = stated["url"], stated["sha256"], stated["size"]
    if not isinstance(url, str) or not url or not DIGEST.fullmatch(sha256):
        raise ValueError("a file has no URL or no SHA-256")
    if type(size_bytes) is not int or not 0 < size_bytes <= FILE_BYTES_MAX:
        raise ValueError("a file has no size")
    try:
        read_upkeep_url(url)
    except ConfigError as error:
        raise ValueError(str(error)) from error
    return ReleaseFile(url=url, sha256=sha256, size_bytes=size_bytes)
