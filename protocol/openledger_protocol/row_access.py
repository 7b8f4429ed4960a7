"""Access to the rows of a private Datanet: a reader proves to a holder of the rows that a wallet stands behind it.

The statement is EIP-712 typed data. It names both peers and a number that the holder has just drawn, so it can't be
used by another peer, at another holder, or a second time.
"""

from dataclasses import dataclass
from typing import Final

from eth_hash.auto import keccak

from .eip712 import Domain, address_word, digest_word, struct_hash, type_hash, typed_digest
from .peers import check_peer_id
from .primitives import Address, DatanetId, Digest

READ_ROWS_TYPE: Final = (
    "ReadRows(bytes32 datanetId,bytes32 rowsRoot,address account,string reader,string holder,bytes32 challenge)"
)
_READ_ROWS_HASH: Final = type_hash(READ_ROWS_TYPE)


@dataclass(frozen=True, slots=True, kw_only=True)
class RowAccess:
    """A peer's wish to read the rows of a version in the name of an account."""

    datanet_id: DatanetId
    rows_root: Digest
    account: Address  # a wallet of the Datanet's list
    reader: str  # peer id of the peer that asks
    holder: str  # peer id of the peer that has the rows
    challenge: Digest  # 32 bytes that the holder has drawn for this stream


def row_access_digest(access: RowAccess, domain: Domain) -> bytes:
    """The 32 bytes that the account, or a key that may sign for it, signs under the Datanets' domain.

    Raises:
        MalformedError: a peer id is none.
    """
    struct = struct_hash(
        _READ_ROWS_HASH,
        digest_word(access.datanet_id),
        digest_word(access.rows_root),
        address_word(access.account),
        keccak(check_peer_id(access.reader).encode()),
        keccak(check_peer_id(access.holder).encode()),
        digest_word(access.challenge),
    )
    return typed_digest(domain, struct)
