"""A peer's identity: an Ed25519 key, and its peer id.

The ids equal libp2p's, so an address, a log line and an advertisement name a peer alike.
Source: libp2p's peer id specification.
"""

from functools import lru_cache

import base58
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from .errors import BadSignatureError, MalformedError

PEER_KEY_BYTES = 32
PEER_SIGNATURE_BYTES = 64
PEER_ID_LENGTH = 52

# A multihash that is its content (00), 36 bytes long: a protobuf of key type 1, Ed25519, and 32 bytes of key.
_PREFIX = bytes.fromhex("002408011220")


def peer_id_from_public_key(key: bytes) -> str:
    """The peer id of a key: the key in base58, after a prefix for its kind.

    Raises:
        MalformedError: the key does not have 32 bytes.
    """
    return _peer_id(_check_key(key))


@lru_cache(maxsize=4_096)  # base58 is written in Python, and a message is asked for its peer several times
def _peer_id(key: bytes) -> str:
    return base58.b58encode(_PREFIX + key).decode()


def public_key_from_peer_id(text: str) -> bytes:
    """The key that a peer id holds.

    Raises:
        MalformedError: it is not the id of an Ed25519 key, as `peer_id_from_public_key` writes it.
    """
    # Base58 decoding takes quadratic time, so the length is checked first.
    raw = _decoded(text) if isinstance(text, str) and len(text) == PEER_ID_LENGTH else b""
    key = raw[len(_PREFIX) :]
    if not raw.startswith(_PREFIX) or len(key) != PEER_KEY_BYTES or peer_id_from_public_key(key) != text:
        raise MalformedError(f"not a peer id: {repr(text)[:80]} (12D3Koo… of an Ed25519 key)")
    return key


@lru_cache(maxsize=4_096)
def _decoded(text: str) -> bytes:
    try:
        return base58.b58decode(text)
    except ValueError:
        return b""


def check_peer_id(text: str) -> str:
    """Return `text` as a peer id.

    Raises:
        MalformedError: it is not the id of an Ed25519 key.
    """
    public_key_from_peer_id(text)
    return text


def public_key_of(seed: bytes) -> bytes:
    """The public key of a private key, which is a 32-byte seed."""
    return _private_key(seed).public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)


def sign_as_peer(seed: bytes, content: bytes) -> bytes:
    """Sign `content`, with the same 64 bytes each time.

    Signed content begins with its purpose, so that no signature is valid for another purpose.
    Source: RFC 8032.
    """
    return _private_key(seed).sign(content)


def check_peer_signature(public_key: bytes, content: bytes, signature: bytes) -> None:
    """Require that the peer with `public_key` signed `content`.

    Raises:
        MalformedError: the key does not have 32 bytes, or the signature not 64.
        BadSignatureError: another key signed, or other content.
    """
    _check_key(public_key)
    if not isinstance(signature, bytes) or len(signature) != PEER_SIGNATURE_BYTES:
        raise MalformedError(f"a peer's signature has {PEER_SIGNATURE_BYTES} bytes, not {repr(signature)[:80]}")
    try:
        Ed25519PublicKey.from_public_bytes(public_key).verify(signature, content)
    except (InvalidSignature, ValueError) as error:
        raise BadSignatureError(f"not signed by peer {peer_id_from_public_key(public_key)}") from error


def _check_key(key: bytes) -> bytes:
    if not isinstance(key, bytes) or len(key) != PEER_KEY_BYTES:
        raise MalformedError(f"a peer's public key has {PEER_KEY_BYTES} bytes, not {repr(key)[:80]}")
    return key


def _private_key(seed: bytes) -> Ed25519PrivateKey:
    if not isinstance(seed, bytes) or len(seed) != PEER_KEY_BYTES:
        raise MalformedError(f"a peer's private key has {PEER_KEY_BYTES} bytes")
    return Ed25519PrivateKey.from_private_bytes(seed)
