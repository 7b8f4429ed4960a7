"""Signatures in the chain's format: 65 bytes r ‖ s ‖ v over a 32-byte digest."""

from coincurve import PrivateKey, PublicKey
from eth_hash.auto import keccak

from .errors import BadSignatureError, MalformedError
from .primitives import Address, checksum_address

SIGNATURE_BYTES = 65
_ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
_S_MAX = _ORDER // 2
_V_FIRST = 27


def sign_digest(private_key: bytes, digest: bytes) -> bytes:
    """Sign a digest as r ‖ s ‖ v with the lower s, with the same bytes each time.

    Source: RFC 6979 for the nonce, EIP-2 for the lower s.
    """
    signature = _key(private_key).sign_recoverable(digest, hasher=None)
    return signature[:64] + bytes([signature[64] + _V_FIRST])


def recover_address(digest: bytes, signature: bytes) -> Address:
    """The account whose key signed `digest`; for another digest it is another account, not an error.

    Raises:
        MalformedError: not 65 bytes, or v is neither 27 nor 28.
        BadSignatureError: s is the higher of its two values, or no key makes this signature.
    """
    check_signature_form(signature)
    if int.from_bytes(signature[32:64], "big") > _S_MAX:
        raise BadSignatureError("the signature's s is over half the order: only its lower twin counts")
    compact = signature[:64] + bytes([signature[64] - _V_FIRST])
    try:
        key = PublicKey.from_signature_and_message(compact, digest, hasher=None)
    except ValueError as error:
        raise BadSignatureError("no key makes this signature") from error
    return _address(key)


def check_signer(digest: bytes, signature: bytes, signer: Address) -> None:
    """Require that `signer` signed `digest`.

    Raises:
        MalformedError: as in `recover_address`.
        BadSignatureError: another account signed, or `signer` signed something else.
    """
    recovered = recover_address(digest, signature)
    if recovered != signer:
        raise BadSignatureError(f"signed by {recovered}, not by {signer}", signer=recovered, expected=signer)


def check_signature_form(signature: object) -> bytes:
    """Return `signature` if it is well-formed.

    Raises:
        MalformedError: not 65 bytes, or v is neither 27 nor 28.
    """
    if not isinstance(signature, bytes) or len(signature) != SIGNATURE_BYTES:
        raise MalformedError(f"a signature has {SIGNATURE_BYTES} bytes, not {repr(signature)[:80]}")
    if signature[64] not in (_V_FIRST, _V_FIRST + 1):
        raise MalformedError(f"a signature's v is {_V_FIRST} or {_V_FIRST + 1}, not {signature[64]}")
    return signature


def signature_from_hex(text: str, owner: str) -> bytes:
    """The bytes of a signature in a file or on a command line; `owner` names what it signs, for the message.

    Raises:
        MalformedError: it is not hex.
    """
    try:
        return bytes.fromhex(text.removeprefix("0x"))
    except ValueError as error:
        raise MalformedError(f"the signature of {owner} is not 0x-hex") from error


def address_of(private_key: bytes) -> Address:
    """The account of a private key."""
    return _address(_key(private_key).public_key)


def _key(private_key: bytes) -> PrivateKey:
    # NOTE: the library pads a short key with zeros, which would be another account's key.
    if len(private_key) != 32:
        raise MalformedError(f"a private key has 32 bytes, not {len(private_key)}")
    try:
        return PrivateKey(private_key)
    except ValueError:
        raise MalformedError("a private key is over 0 and below the curve's order") from None


def _address(key: PublicKey) -> Address:
    return checksum_address(keccak(key.format(compressed=False)[1:])[12:])
