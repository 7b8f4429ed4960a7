"""Decisions of a Datanet's curators on a version: each approves or rejects it by an EIP-712 signature.

DatanetRegistry publishes a version of a Datanet with curators only under enough approvals. A rejection is for people.
"""

from dataclasses import dataclass, fields
from typing import Any, Final

from eth_hash.auto import keccak

from .eip712 import (
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
from .primitives import Address, DatanetId, Digest, check_address, check_digest, check_text
from .signatures import recover_address, signature_from_hex

CURATORS_MAX: Final = 16
"""Curators of one Datanet, as in DatanetRegistry."""

REASON_LENGTH_MAX: Final = 400

_FIELDS: Final = (
    ("datanetId", "bytes32"),
    ("version", "uint32"),
    ("rowsRoot", "bytes32"),
    ("contributorsRoot", "bytes32"),
)
_REASON: Final = (("reason", "string"),)
_APPROVE: Final = "ApproveVersion"
_REJECT: Final = "RejectVersion"

APPROVE_VERSION_TYPE: Final = type_text(_APPROVE, _FIELDS)
REJECT_VERSION_TYPE: Final = type_text(_REJECT, _FIELDS + _REASON)
_APPROVE_VERSION_HASH: Final = type_hash(APPROVE_VERSION_TYPE)
_REJECT_VERSION_HASH: Final = type_hash(REJECT_VERSION_TYPE)


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionDecision:
    """One curator's decision on one version."""

    chain_id: int
    contract: Address  # DatanetRegistry
    datanet_id: DatanetId
    version: int  # its number on the chain
    rows_root: Digest
    contributors_root: Digest
    curator: Address
    approves: bool
    reason: str = ""  # of a rejection; an approval has none
    signature: str = ""  # 0x-hex; empty before it is signed


def decision_digest(decision: VersionDecision) -> bytes:
    """The 32 bytes that the curator signs."""
    words = (
        digest_word(decision.datanet_id),
        uint_word(decision.version, 32),
        digest_word(decision.rows_root),
        digest_word(decision.contributors_root),
    )
    if decision.approves:
        struct = struct_hash(_APPROVE_VERSION_HASH, *words)
    else:
        struct = struct_hash(_REJECT_VERSION_HASH, *words, keccak(decision.reason.encode()))
    return typed_digest(datanets_domain(decision.chain_id, decision.contract), struct)


def decision_typed_data(decision: VersionDecision) -> dict[str, Any]:
    """The decision in the form of `eth_signTypedData_v4`, which wallets sign."""
    message: dict[str, Any] = {
        "datanetId": decision.datanet_id,
        "version": decision.version,
        "rowsRoot": decision.rows_root,
        "contributorsRoot": decision.contributors_root,
    }
    domain = datanets_domain(decision.chain_id, decision.contract)
    if decision.approves:
        return typed_data(domain, _APPROVE, _FIELDS, message)
    return typed_data(domain, _REJECT, _FIELDS + _REASON, {**message, "reason": decision.reason})


def check_decision(decision: VersionDecision) -> VersionDecision:
    """Return a decision that its curator has signed.

    Raises:
        BadSignatureError: another account has signed it, or another decision.
        MalformedError: the signature is no signature.
    """
    if (signer := recover_address(decision_digest(decision), signature_bytes(decision))) != decision.curator:
        raise BadSignatureError(
            f"{decision.curator} has not signed this decision: the signature is of {signer}, or of another version, "
            "Datanet or chain"
        )
    return decision


def signature_bytes(decision: VersionDecision) -> bytes:
    """The 65 bytes of a decision's signature.

    Raises:
        MalformedError: it is not hex.
    """
    return signature_from_hex(decision.signature, "the decision")


def decision_from_json(content: object) -> VersionDecision:
    """Read a decision that may come from a stranger; `check_decision` checks its signature.

    Raises:
        MalformedError: a field is unknown, missing or malformed.
    """
    names = {field.name for field in fields(VersionDecision)}
    if not isinstance(content, dict) or set(content) != names:
        raise MalformedError(f"a decision must have the fields {', '.join(sorted(names))}")
    for name, most in (("chain_id", 2**64), ("version", 2**32)):
        if type(content[name]) is not int or not 0 <= content[name] < most:
            raise MalformedError(f"a decision's {name} must be a number below {most}")
    if type(content["approves"]) is not bool:
        raise MalformedError("a decision approves or rejects: `approves` must be true or false")
    for name in ("reason", "signature"):
        if not isinstance(content[name], str) or len(content[name]) > REASON_LENGTH_MAX:
            raise MalformedError(f"a decision's {name} is a text of at most {REASON_LENGTH_MAX} characters")
    if bool(content["reason"]) == content["approves"]:
        raise MalformedError("a rejection has a reason, and an approval has none")
    return VersionDecision(
        chain_id=content["chain_id"],
        contract=check_address(content["contract"]),
        datanet_id=DatanetId(check_digest(content["datanet_id"])),
        version=content["version"],
        rows_root=check_digest(content["rows_root"]),
        contributors_root=check_digest(content["contributors_root"]),
        curator=check_address(content["curator"]),
        approves=content["approves"],
        reason=check_text(content["reason"]),
        signature=content["signature"],
    )
