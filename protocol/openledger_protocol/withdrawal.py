"""Withdrawal of rows from a Datanet: the statement that a contributor signs, and the moment from which it counts."""

from collections.abc import Sequence
from dataclasses import dataclass

from eth_hash.auto import keccak

from .eip712 import Domain, address_word, digest_word, struct_hash, type_hash, typed_digest
from .primitives import Address, DatanetId, Digest

NOTICE_EPOCHS = 2
"""Epochs from a withdrawal's block until receipts pay the treasury for its rows, as in DatanetRegistry."""

WITHDRAW_ROWS_TYPE = "WithdrawRows(bytes32 datanetId,address account,bytes32[] rows)"
_WITHDRAW_ROWS_HASH = type_hash(WITHDRAW_ROWS_TYPE)


@dataclass(frozen=True, slots=True, kw_only=True)
class RowWithdrawal:
    """Rows of one account that leave a Datanet for good."""

    datanet_id: DatanetId
    account: Address  # zero: rows of contributors without an address, which only the owner can withdraw
    rows: tuple[Digest, ...]  # SHA-256 of each row's canonical JSON


def withdrawal_digest(withdrawal: RowWithdrawal, domain: Domain) -> bytes:
    """The digest that a contributor signs so that anybody can send the withdrawal, under the Datanets' domain."""
    struct = struct_hash(
        _WITHDRAW_ROWS_HASH,
        digest_word(withdrawal.datanet_id),
        address_word(withdrawal.account),
        rows_word(withdrawal.rows),
    )
    return typed_digest(domain, struct)


def rows_word(rows: Sequence[Digest]) -> bytes:
    """A list of digests as a word of a struct: the hash of their bytes. Source: EIP-712, arrays."""
    return keccak(b"".join(map(digest_word, rows)))
