"""Blocks, transactions, receipts and logs of the embedded chain, as JSON-RPC writes them."""

from typing import Any

from eth.abc import BlockHeaderAPI, SignedTransactionAPI

from openledger_protocol.primitives import checksum_address

from .creation import created_address
from .embedded import MinedLog, MinedTransaction
from .rpc import hex_bytes, hex_quantity

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
    """A block; its transactions whole or by their hashes."""
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
    """A transaction; `mined` says where, None that it waits."""
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
    """What came of a transaction."""
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
    """A log and where it is."""
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
    """Whether it was not refused."""
    return bytes(mined.receipt.state_root) == b"\x01"


def _place(mined: MinedTransaction) -> dict[str, Any]:
    return {
        "transactionHash": hex_bytes(mined.transaction.hash),
        "transactionIndex": hex_quantity(mined.index),
        "blockHash": hex_bytes(mined.header.hash),
        "blockNumber": hex_quantity(mined.header.block_number),
    }


def _price(transaction: SignedTransactionAPI, mined: MinedTransaction | None) -> int:
    """What a unit of gas cost, or may cost at most while the transaction waits."""
    most: int = transaction.max_fee_per_gas
    if mined is None:
        return most
    base_fee = mined.header.base_fee_per_gas
    assert base_fee is not None, "every block here has one"
    return min(most, base_fee + transaction.max_priority_fee_per_gas)


def _access(address: bytes, slots: Any) -> dict[str, Any]:
    keys = [hex_bytes(slot.to_bytes(32, "big")) for slot in slots]
    return {"address": checksum_address(address), "storageKeys": keys}


def _bloom(bloom: int) -> str:
    return hex_bytes(bloom.to_bytes(BLOOM_BYTES, "big"))
