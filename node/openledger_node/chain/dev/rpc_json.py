"""JSON-RPC forms of the embedded chain's blocks, transactions, receipts and logs, and checked parameters."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from eth.abc import BlockHeaderAPI, SignedTransactionAPI

from openledger_protocol.primitives import checksum_address

from ..encoding import created_address
from ..rpc import (
    INVALID_PARAMS,
    RpcError,
    hex_bytes,
    hex_quantity,
    parse_address,
    parse_bytes,
    parse_quantity,
    shorten,
)
from .calls import CallMessage
from .embedded import MinedLog, MinedTransaction

BLOOM_BYTES = 256
BYTES_FIELDS = {
    "parentHash": "parent_hash",
    "sha3Uncles": "uncles_hash",
    "miner": "coinbase",
    "stateRoot": "state_root",
    "transactionsRoot": "transaction_root",
    "receiptsRoot": "receipt_root",
    "extraData": "extra_data",
    "mixHash": "mix_hash",
    "nonce": "nonce",
    "withdrawalsRoot": "withdrawals_root",
    "parentBeaconBlockRoot": "parent_beacon_block_root",
    "requestsHash": "requests_hash",
    "hash": "hash",
}
NUMBER_FIELDS = {
    "number": "block_number",
    "difficulty": "difficulty",
    "gasLimit": "gas_limit",
    "gasUsed": "gas_used",
    "timestamp": "timestamp",
    "baseFeePerGas": "base_fee_per_gas",
    "blobGasUsed": "blob_gas_used",
    "excessBlobGas": "excess_blob_gas",
}


def block_shape(header: BlockHeaderAPI, mined: list[MinedTransaction], *, is_full: bool) -> dict[str, Any]:
    """A block, with its transactions in full or by hash."""
    transactions = [
        transaction_shape(each.transaction, each) if is_full else hex_bytes(each.transaction.hash) for each in mined
    ]
    size = len(header.as_dict()) * 32 + sum(len(each.transaction.encode()) for each in mined)
    return {
        **{name: hex_bytes(getattr(header, field)) for name, field in BYTES_FIELDS.items()},
        **{name: hex_quantity(getattr(header, field)) for name, field in NUMBER_FIELDS.items()},
        "logsBloom": _bloom(header.bloom),
        "totalDifficulty": "0x0",
        "size": hex_quantity(size),
        "transactions": transactions,
        "uncles": [],
        "withdrawals": [],
    }


def transaction_shape(transaction: SignedTransactionAPI, mined: MinedTransaction | None) -> dict[str, Any]:
    """A transaction; `mined` is its place, and None while it is pending."""
    type_id = transaction.type_id or 0
    shape: dict[str, Any] = {
        "type": hex_quantity(type_id),
        "hash": hex_bytes(transaction.hash),
        "chainId": hex_quantity(transaction.chain_id or 0),
        "nonce": hex_quantity(transaction.nonce),
        "from": checksum_address(transaction.sender),
        "to": checksum_address(transaction.to) if transaction.to else None,
        "value": hex_quantity(transaction.value),
        "gas": hex_quantity(transaction.gas),
        "gasPrice": hex_quantity(_price(transaction, mined)),
        "input": hex_bytes(transaction.data),
        "r": hex_quantity(transaction.r),
        "s": hex_quantity(transaction.s),
        "v": hex_quantity(getattr(transaction, "v", transaction.y_parity)),
        "blockHash": hex_bytes(mined.header.hash) if mined else None,
        "blockNumber": hex_quantity(mined.header.block_number) if mined else None,
        "transactionIndex": hex_quantity(mined.index) if mined else None,
    }
    if type_id:
        shape["yParity"] = hex_quantity(transaction.y_parity)
        shape["accessList"] = [_access(address, slots) for address, slots in transaction.access_list]
    if type_id == 2:
        shape["maxFeePerGas"] = hex_quantity(transaction.max_fee_per_gas)
        shape["maxPriorityFeePerGas"] = hex_quantity(transaction.max_priority_fee_per_gas)
    return shape


def receipt_shape(mined: MinedTransaction) -> dict[str, Any]:
    """The receipt of a transaction."""
    transaction, receipt = mined.transaction, mined.receipt
    sender = checksum_address(transaction.sender)
    logs = [
        log_shape(MinedLog(mined=mined, log=log, log_index=index))
        for index, log in enumerate(receipt.logs, start=mined.first_log_index)
    ]
    return {
        **_place(mined),
        "type": hex_quantity(transaction.type_id or 0),
        "from": sender,
        "to": checksum_address(transaction.to) if transaction.to else None,
        "status": hex_quantity(int(is_ok(mined))),
        "gasUsed": hex_quantity(mined.gas_used),
        "cumulativeGasUsed": hex_quantity(receipt.gas_used),
        "effectiveGasPrice": hex_quantity(_price(transaction, mined)),
        "contractAddress": None if transaction.to else created_address(sender, transaction.nonce),
        "logs": logs,
        "logsBloom": _bloom(receipt.bloom),
    }


def log_shape(mined_log: MinedLog) -> dict[str, Any]:
    """A log and its place."""
    return {
        **_place(mined_log.mined),
        "address": checksum_address(mined_log.log.address),
        "topics": [hex_bytes(topic.to_bytes(32, "big")) for topic in mined_log.log.topics],
        "data": hex_bytes(mined_log.log.data),
        "logIndex": hex_quantity(mined_log.log_index),
        "blockTimestamp": hex_quantity(mined_log.mined.header.timestamp),
        "removed": False,
    }


def is_ok(mined: MinedTransaction) -> bool:
    """Return True if the transaction was not reverted."""
    return bytes(mined.receipt.state_root) == b"\x01"


def _place(mined: MinedTransaction) -> dict[str, Any]:
    return {
        "transactionHash": hex_bytes(mined.transaction.hash),
        "transactionIndex": hex_quantity(mined.index),
        "blockHash": hex_bytes(mined.header.hash),
        "blockNumber": hex_quantity(mined.header.block_number),
    }


def _price(transaction: SignedTransactionAPI, mined: MinedTransaction | None) -> int:
    """The gas price that was paid, or the highest one allowed while the transaction is pending."""
    most: int = transaction.max_fee_per_gas
    if mined is None:
        return most
    base_fee = mined.header.base_fee_per_gas
    assert base_fee is not None, "every block has one since EIP-1559"
    return min(most, base_fee + transaction.max_priority_fee_per_gas)


def _access(address: bytes, slots: Any) -> dict[str, Any]:
    keys = [hex_bytes(slot.to_bytes(32, "big")) for slot in slots]
    return {"address": checksum_address(address), "storageKeys": keys}


def _bloom(bloom: int) -> str:
    return hex_bytes(bloom.to_bytes(BLOOM_BYTES, "big"))


# ---- parameters of requests, parsed and checked

T = TypeVar("T")

LATEST_TAGS: Final = frozenset({"latest", "pending"})
"""There is no pending block here; pending transactions count only in the nonce."""

FINAL_TAGS: Final = frozenset({"safe", "finalized"})


@dataclass(frozen=True, slots=True, kw_only=True)
class LogFilter:
    """A filter of logs."""

    first: str  # a block's name, such as `latest`, or its number
    last: str
    block_hash: bytes | None
    addresses: frozenset[bytes]  # empty: any
    topics: tuple[frozenset[int], ...]  # by position; empty: any

    def matches(self, address: bytes, topics: tuple[int, ...]) -> bool:
        """Return True if a log passes the filter."""
        if self.addresses and address not in self.addresses:
            return False
        if len(self.topics) > len(topics):
            return False
        return all(not allowed or topic in allowed for allowed, topic in zip(self.topics, topics, strict=False))


def checked(read: Callable[[Any], T], value: object) -> T:
    """Parse a parameter by `read`.

    Raises:
        RpcError: the parameter is malformed.
    """
    try:
        return read(value)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise RpcError(INVALID_PARAMS, f"invalid params: {error}") from error


def read_address(value: object) -> bytes:
    """An account, as 20 bytes."""
    return bytes.fromhex(checked(parse_address, value)[2:])


def read_hash(value: object) -> bytes:
    """32 bytes."""
    return checked(lambda found: parse_bytes(found, length=32), value)


def read_message(value: object) -> CallMessage:
    """A call object."""
    return checked(_message, value)


def read_filter(value: object) -> LogFilter:
    """A filter of logs."""
    return checked(_filter, value)


def block_name(value: object) -> str:
    """A block's tag, number or hash, also from an EIP-1898 object; None is the latest block.

    Raises:
        RpcError: it is none of these.
    """
    if value is None:
        return "latest"
    if isinstance(value, dict):
        value = value.get("blockHash") or value.get("blockNumber")
    if not isinstance(value, str):
        raise unknown_block(value)
    return value


def _message(fields: dict[str, Any]) -> CallMessage:
    data = fields.get("input") or fields.get("data") or "0x"
    gas = fields.get("gas")
    return CallMessage(
        sender=bytes.fromhex(parse_address(fields["from"])[2:]) if fields.get("from") else bytes(20),
        to=bytes.fromhex(parse_address(fields["to"])[2:]) if fields.get("to") else b"",
        data=parse_bytes(data),
        value=parse_quantity(fields.get("value") or "0x0"),
        gas=None if gas is None else parse_quantity(gas),
    )


def _filter(fields: dict[str, Any]) -> LogFilter:
    block_hash = fields.get("blockHash")
    return LogFilter(
        first=block_name(fields.get("fromBlock")),
        last=block_name(fields.get("toBlock")),
        block_hash=None if block_hash is None else parse_bytes(block_hash, length=32),
        addresses=frozenset(bytes.fromhex(parse_address(each)[2:]) for each in _listed(fields.get("address"))),
        topics=tuple(frozenset(map(_topic, _listed(each))) for each in fields.get("topics") or ()),
    )


def _listed(value: Any) -> list[Any]:
    if value is None:
        return []
    return value if isinstance(value, list) else [value]


def _topic(value: object) -> int:
    return int.from_bytes(parse_bytes(value, length=32), "big")


def unknown_block(name: object) -> RpcError:
    """The error for a block that does not exist."""
    return RpcError(INVALID_PARAMS, f"unknown block: {shorten(name)}")
