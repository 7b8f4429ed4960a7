"""Transactions as bytes, for sending, by eth-account."""

from dataclasses import dataclass

from eth_hash.auto import keccak

from openledger_protocol.chain import ContractCall
from openledger_protocol.primitives import Address, Digest, checksum_address
from openledger_protocol.transactions import GasPrice

from ..keystore import eth_account


@dataclass(frozen=True, slots=True, kw_only=True)
class UnsignedTransaction:
    """The fields that the sender signs."""

    chain_id: int
    nonce: int
    price: GasPrice
    gas_limit: int
    call: ContractCall


def sign_transaction(unsigned: UnsignedTransaction, key: bytes) -> bytes:
    """Sign with a private key, and return the bytes to send.

    Source: EIP-1559.
    """
    call = unsigned.call
    fields = {
        "type": 2,
        "chainId": unsigned.chain_id,
        "nonce": unsigned.nonce,
        "maxFeePerGas": unsigned.price.fee_max_wei,
        "maxPriorityFeePerGas": unsigned.price.tip_max_wei,
        "gas": unsigned.gas_limit,
        "to": bytes.fromhex(call.to[2:]),
        "value": call.value_wei,
        "data": call.data,
    }
    return bytes(eth_account().sign_transaction(fields, key).raw_transaction)


def transaction_hash(raw: bytes) -> Digest:
    """The hash by which the chain identifies these bytes."""
    return Digest("0x" + keccak(raw).hex())


def created_address(creator: Address, nonce: int) -> Address:
    """The address of the contract that `creator` creates by its transaction of that nonce.

    Source: Yellow Paper, section 7.
    """
    import rlp  # imported late: it takes 0.3 s, and commands that only read the chain do not need it

    return checksum_address(keccak(rlp.encode([bytes.fromhex(creator[2:]), nonce]))[12:])
