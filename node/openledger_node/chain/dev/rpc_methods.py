"""The JSON-RPC methods of the embedded chain that our client, wallets and the usual tools need."""

import threading
from collections.abc import Callable, Mapping
from typing import Any, Final

from eth.abc import BlockHeaderAPI
from eth_hash.auto import keccak

from openledger_protocol.errors import RevertedError

from ...errors import ChainError
from ..client import SendRefusedError
from ..rpc import (
    INTERNAL_ERROR,
    INVALID_PARAMS,
    NO_METHOD,
    REVERTED,
    SERVER_ERROR,
    RpcError,
    hex_bytes,
    hex_quantity,
    parse_bytes,
    parse_quantity,
)
from . import rpc_json as read
from .calls import call, estimate_gas
from .embedded import EmbeddedChain
from .rpc_json import block_shape, log_shape, receipt_shape, transaction_shape

TIP_WEI: Final = 10**9
"""The tip that we suggest. Blocks are never full here, but wallets expect more than 0."""

HISTORY_BLOCKS_MAX: Final = 1024
HASH_CHARACTERS: Final = 66  # a number may be as long, but would name a block far ahead
Params = list[Any]


class RpcMethods:
    """Answers one request at a time, because the chain is for one thread at a time."""

    def __init__(self, chain: EmbeddedChain, client_version: str) -> None:
        self.lock = threading.RLock()
        self._chain = chain
        self._methods: Mapping[str, Callable[[Params], object]] = {
            **_constants(chain, client_version),
            "eth_blockNumber": lambda _: hex_quantity(chain.head.block_number),
            "eth_gasPrice": lambda _: hex_quantity(chain.next_base_fee(chain.head) + TIP_WEI),
            "eth_feeHistory": self._fee_history,
            "eth_getBlockByNumber": lambda params: self._block(params[0], is_full=_flag(params)),
            "eth_getBlockByHash": lambda params: self._block(params[0], is_full=_flag(params)),
            "eth_getBlockReceipts": self._block_receipts,
            "eth_getBalance": lambda params: hex_quantity(self._account(params).get_balance(_account(params))),
            "eth_getCode": lambda params: hex_bytes(self._account(params).get_code(_account(params))),
            "eth_getStorageAt": self._storage,
            "eth_getTransactionCount": self._nonce,
            "eth_call": lambda params: hex_bytes(call(self._account(params), read.read_message(params[0]))),
            "eth_estimateGas": lambda params: hex_quantity(
                estimate_gas(self._account(params), read.read_message(params[0]))
            ),
            "eth_sendRawTransaction": self._send,
            "eth_getTransactionByHash": self._transaction,
            "eth_getTransactionReceipt": self._receipt,
            "eth_getLogs": self._logs,
        }

    def answer(self, method: str, params: Params) -> object:
        """The result of one method.

        Raises:
            RpcError: the method fails, or does not exist.
        """
        if method not in self._methods:
            raise RpcError(NO_METHOD, f"the method {method} does not exist")
        try:
            with self.lock:
                return self._methods[method](params)
        except IndexError as error:
            raise RpcError(INVALID_PARAMS, "invalid params: one is missing") from error
        except RevertedError as error:
            raise RpcError(REVERTED, "execution reverted", hex_bytes(error.data)) from error
        except SendRefusedError as error:
            raise RpcError(SERVER_ERROR, str(error)) from error
        except ChainError as error:  # the file or the disk is damaged
            raise RpcError(INTERNAL_ERROR, str(error)) from error

    def _header(self, name: str) -> BlockHeaderAPI | None:
        chain = self._chain
        if name == "earliest":
            return chain.header(0)
        if name in read.LATEST_TAGS:
            return chain.head
        if name in read.FINAL_TAGS:
            return chain.header(chain.finalized_number)
        if len(name) == HASH_CHARACTERS:
            return chain.header_by_hash(read.read_hash(name))
        return chain.header(read.checked(parse_quantity, name))

    def _known_header(self, name: object) -> BlockHeaderAPI:
        if (header := self._header(read.block_name(name))) is None:
            raise read.unknown_block(name)
        return header

    def _account(self, params: Params) -> Any:
        """The state at the block that the second parameter names."""
        return self._chain.state(self._known_header(params[1] if len(params) > 1 else None))

    def _block(self, name: object, *, is_full: bool) -> object:
        header = self._header(read.block_name(name))
        return header and block_shape(header, self._chain.mined_in(header), is_full=is_full)

    def _block_receipts(self, params: Params) -> object:
        header = self._header(read.block_name(params[0]))
        return header and [receipt_shape(mined) for mined in self._chain.mined_in(header)]

    def _storage(self, params: Params) -> str:
        slot = read.checked(parse_quantity, params[1])
        value: int = self._account(params[1:]).get_storage(_account(params), slot)
        return hex_bytes(value.to_bytes(32, "big"))

    def _nonce(self, params: Params) -> str:
        if len(params) > 1 and params[1] == "pending":
            return hex_quantity(self._chain.pending_nonce(_account(params)))
        return hex_quantity(self._account(params).get_nonce(_account(params)))

    def _send(self, params: Params) -> str:
        return hex_bytes(self._chain.send(read.checked(parse_bytes, params[0])))

    def _transaction(self, params: Params) -> object:
        transaction_hash = read.read_hash(params[0])
        if mined := self._chain.mined(transaction_hash):
            return transaction_shape(mined.transaction, mined)
        pending = self._chain.waiting(transaction_hash)
        return pending and transaction_shape(pending, None)

    def _receipt(self, params: Params) -> object:
        mined = self._chain.mined(read.read_hash(params[0]))
        return mined and receipt_shape(mined)

    def _logs(self, params: Params) -> list[object]:
        log_filter = read.read_filter(params[0])
        if log_filter.block_hash is None:
            first, last = self._number(log_filter.first), self._number(log_filter.last)
        else:
            first = last = int(self._known_header(hex_bytes(log_filter.block_hash)).block_number)
        found = self._chain.logs(first, last)
        return [log_shape(each) for each in found if log_filter.matches(each.log.address, tuple(each.log.topics))]

    def _number(self, name: str) -> int:
        """A block's number; numbers beyond the head stay as they are."""
        if name.startswith("0x"):
            return read.checked(parse_quantity, name)
        return self._known_header(name).block_number

    def _fee_history(self, params: Params) -> dict[str, object]:
        requested, newest = read.checked(parse_quantity, params[0]), self._known_header(params[1])
        percentiles = params[2] if len(params) > 2 and params[2] else []
        count = min(requested, newest.block_number + 1, HISTORY_BLOCKS_MAX)
        headers: list[Any] = [self._chain.header(newest.block_number - ago) for ago in reversed(range(count))]
        base_fees = [header.base_fee_per_gas for header in headers] + [self._chain.next_base_fee(newest)]
        return {
            "oldestBlock": hex_quantity(newest.block_number + 1 - count),
            "baseFeePerGas": [hex_quantity(base_fee) for base_fee in base_fees],
            "gasUsedRatio": [header.gas_used / header.gas_limit for header in headers],
            "reward": [[hex_quantity(TIP_WEI) for _ in percentiles] for _ in headers],
        }


def _constants(chain: EmbeddedChain, client_version: str) -> dict[str, Callable[[Params], object]]:
    return {
        "eth_chainId": lambda _: hex_quantity(chain.chain_id),
        "net_version": lambda _: str(chain.chain_id),
        "net_listening": lambda _: True,
        "web3_clientVersion": lambda _: client_version,
        "web3_sha3": lambda params: hex_bytes(keccak(read.checked(parse_bytes, params[0]))),
        "eth_syncing": lambda _: False,
        "eth_accounts": lambda _: [],
        "eth_maxPriorityFeePerGas": lambda _: hex_quantity(TIP_WEI),
    }


def _account(params: Params) -> bytes:
    return read.read_address(params[0])


def _flag(params: Params) -> bool:
    return len(params) > 1 and params[1] is True
