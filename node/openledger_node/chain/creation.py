"""Where a contract lies that an account creates: known before it is there."""

from eth_hash.auto import keccak

from openledger_protocol.primitives import Address, checksum_address

from .encoding import encode_rlp


def created_address(creator: Address, nonce: int) -> Address:
    """The address of what `creator` creates by its transaction of that nonce.

    Source: the Yellow Paper, section 7.
    """
    return checksum_address(keccak(encode_rlp([bytes.fromhex(creator[2:]), nonce]))[12:])
