"""Offers of rows: a contributor signs that they give rows to one Datanet, under its licence.

The statement is EIP-712 typed data, so any wallet can show and sign it. It names each row by its digest only, so that
whoever has a Datanet's version can check it without the rows' texts.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Final

from eth_hash.auto import keccak

from .eip712 import (
    address_word,
    datanets_domain,
    digest_word,
    struct_hash,
    type_hash,
    type_text,
    typed_data,
    typed_digest,
    uint_word,
)
from .errors import BadSignatureError, MalformedError
from .merkle import Tree
from .primitives import Address, DatanetId, Digest, check_address, check_digest, check_text
from .signatures import recover_address, signature_from_hex

CONSENT: Final = (
    "I made these rows or may license them. I give them to this Datanet under this licence, and adapters may be "
    "trained on them."
)

_FIELDS: Final = (
    ("datanetId", "bytes32"),
    ("account", "address"),
    ("licence", "string"),
    ("consent", "string"),
    ("rows", "uint32"),
    ("rowsRoot", "bytes32"),
)
OFFER_ROWS: Final = "OfferRows"
OFFER_ROWS_TYPE: Final = type_text(OFFER_ROWS, _FIELDS)
_OFFER_ROWS_HASH: Final = type_hash(OFFER_ROWS_TYPE)
COMMIT_ROWS_TYPE: Final = "CommitRows(bytes32 datanetId,address account,bytes32 rowsRoot,bytes32 salt)"
_COMMIT_ROWS_HASH: Final = type_hash(COMMIT_ROWS_TYPE)


@dataclass(frozen=True, slots=True, kw_only=True)
class RowOffer:
    """Rows that an account gives to a Datanet."""

    chain_id: int
    contract: Address  # DatanetRegistry
    datanet_id: DatanetId
    account: Address
    licence: str
    rows: tuple[Digest, ...]  # SHA-256 of each row's canonical JSON, in the batch's order
    signature: str = ""  # 0x-hex; empty before it is signed
    consent: str = CONSENT


def offer_rows_root(rows: Sequence[Digest]) -> Digest:
    """The Merkle root that an offer's signature covers: a leaf is the Keccak-256 of a row's digest."""
    return Tree.of([keccak(digest_word(digest)) for digest in rows]).root


def offer_digest(offer: RowOffer) -> bytes:
    """The 32 bytes that the account signs."""
    struct = struct_hash(
        _OFFER_ROWS_HASH,
        digest_word(offer.datanet_id),
        address_word(offer.account),
        keccak(offer.licence.encode()),
        keccak(offer.consent.encode()),
        uint_word(len(offer.rows), 32),
        digest_word(offer_rows_root(offer.rows)),
    )
    return typed_digest(datanets_domain(offer.chain_id, offer.contract), struct)


def offer_commitment(offer: RowOffer) -> Digest:
    """The commitment that proves since when an account has a batch, before anybody else sees its rows.

    Its salt is the hash of the signature. Nobody can make that without the account's key, so nobody can test guesses
    of the rows against the commitment. The signed offer reveals it.

    Raises:
        MalformedError: the signature is not 0x-hex.
    """
    struct = struct_hash(
        _COMMIT_ROWS_HASH,
        digest_word(offer.datanet_id),
        address_word(offer.account),
        digest_word(offer_rows_root(offer.rows)),
        keccak(signature_from_hex(offer.signature, "the offer")),
    )
    return Digest(f"0x{struct.hex()}")


def offer_typed_data(offer: RowOffer) -> dict[str, Any]:
    """The statement in the form of `eth_signTypedData_v4`, which wallets sign."""
    message = {
        "datanetId": offer.datanet_id,
        "account": offer.account,
        "licence": offer.licence,
        "consent": offer.consent,
        "rows": len(offer.rows),
        "rowsRoot": offer_rows_root(offer.rows),
    }
    return typed_data(datanets_domain(offer.chain_id, offer.contract), OFFER_ROWS, _FIELDS, message)


def check_offer(offer: RowOffer) -> RowOffer:
    """Return an offer that its account has signed, with the consent that this release asks for.

    Raises:
        BadSignatureError: another account has signed it, or another statement.
        MalformedError: the signature is no signature, or the consent is another one.
    """
    if offer.consent != CONSENT:
        raise MalformedError(f"the offer says {offer.consent[:200]!r} instead of {CONSENT!r}: sign the batch again")
    if (
        signer := recover_address(offer_digest(offer), signature_from_hex(offer.signature, "the offer"))
    ) != offer.account:
        raise BadSignatureError(
            f"{offer.account} has not signed this offer: the signature is of {signer}, or of other rows, another "
            "licence, Datanet or chain"
        )
    return offer


def offer_from_json(content: object) -> RowOffer:
    """Read an offer that may come from a stranger; `check_offer` checks its signature.

    Raises:
        MalformedError: a field is unknown, missing or malformed.
    """
    names = {field.name for field in fields(RowOffer)}
    if not isinstance(content, dict) or set(content) != names:
        raise MalformedError(f"an offer must have the fields {', '.join(sorted(names))}")
    texts = [content[name] for name in ("licence", "consent", "signature")]
    if not all(isinstance(text, str) and len(text) <= 1_000 for text in texts):
        raise MalformedError("an offer's licence, consent and signature are texts of at most 1,000 characters")
    if type(content["chain_id"]) is not int or not 0 <= content["chain_id"] < 2**64:
        raise MalformedError("an offer's chain_id must be a number")
    if not isinstance(content["rows"], list) or not content["rows"]:
        raise MalformedError("an offer must name at least one row")
    return RowOffer(
        chain_id=content["chain_id"],
        contract=check_address(content["contract"]),
        datanet_id=DatanetId(check_digest(content["datanet_id"])),
        account=check_address(content["account"]),
        licence=check_text(content["licence"]),
        rows=tuple(check_digest(digest) for digest in content["rows"]),
        signature=content["signature"],
        consent=check_text(content["consent"]),
    )
