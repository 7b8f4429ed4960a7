"""A chain client over JSON-RPC, independent of the transport. It checks the form of every response.

An endpoint's responses decide what is signed and paid. A wrong type, another chain's id and responses that contradict
each other are therefore refused, each with its own message.
"""

import re
from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol, TypeVar

from openledger_protocol.chain import CREATE, Block, ContractCall, Fees, Log, TransactionReceipt
from openledger_protocol.errors import RevertedError
from openledger_protocol.primitives import Address, Digest, Wei

from ..errors import ChainError
from .client import ChainClient, Refusal, SendRefusedError
from .encoding import transaction_hash
from .rpc import REVERTED, RpcError, hex_bytes, hex_quantity, parse_address, parse_bytes, parse_digest, parse_quantity

# ---- Reasons to reject a transaction. Each endpoint has its own wording, and no error code tells them apart.

REFUSALS: Final[tuple[tuple[str, Refusal], ...]] = (
    ("already known", "known"),
    ("already imported", "known"),
    ("alreadyknown", "known"),
    ("known transaction", "known"),
    ("nonce too low", "nonce_too_low"),
    ("oldnonce", "nonce_too_low"),
    ("underpriced", "underpriced"),
    ("less than block base fee", "underpriced"),
    ("feetoolow", "underpriced"),
    ("insufficient funds", "no_funds"),
    ("insufficientfunds", "no_funds"),
    ("upfront cost exceeds", "no_funds"),
)
"""Rejection messages of geth, anvil, Nethermind and Besu, in lower case."""


def refusal_of(message: str) -> Refusal:
    """Classify the message with which an endpoint rejects a transaction."""
    lowered = message.lower()
    # Match at the start of a word: "unknown transaction type" is not "known transaction".
    return next((refusal for part, refusal in REFUSALS if re.search(f"(?<![a-z]){part}", lowered)), "other")


# ---- rpc client

T = TypeVar("T")

FINALITY_DEPTH: Final = 64
"""Blocks below the head that count as final if an endpoint does not say. Source: two epochs of Ethereum."""

REVERT_WORD: Final = "revert"

PRUNED_CODE: Final = 4444
"""The code for logs that an endpoint no longer has. Source: EIP-4444, as geth and Nethermind answer."""

PRUNED_WORDS: Final = ("prune", "archive")
"""Words of endpoints that answer so with another code, such as `History has been pruned for this block`."""


class Endpoint(Protocol):
    """A transport of JSON-RPC requests: HTTP, or a chain in this process."""

    @property
    def name(self) -> str:
        """A name for messages, without the secrets that its address may hold."""

    def ask(self, method: str, params: list[Any]) -> Any:
        """Send one request and return its result.

        Raises:
            RpcError: the response is an error.
            ChainError: there is no response.
        """

    def close(self) -> None:
        """Close its connections."""


class RpcClient:
    """Implements ChainClient over any endpoint."""

    def __init__(self, endpoint: Endpoint, *, chain_id: int | None = None, second: ChainClient | None = None) -> None:
        self._endpoint = endpoint
        self._chain_id = chain_id  # None: the first one that it reports
        self._has_told_id = False
        self._second = second  # another endpoint, which must have the same final blocks

    def chain_id(self) -> int:
        """The chain's id.

        Raises:
            ChainError: it is not the expected one, or has changed.
        """
        found = self._ask("eth_chainId", [], parse_quantity)
        expected = self._chain_id = found if self._chain_id is None else self._chain_id
        if found != expected:
            raise ChainError(
                f"{self._endpoint.name} is on chain {found}, not {expected}: set [chain] rpc to an endpoint of chain "
                f"{expected}"
            )
        self._has_told_id = True
        return found

    def head(self) -> Block:
        """The latest block; the chain's id is checked before the first one."""
        if not self._has_told_id:
            self.chain_id()
        block = self._block("latest")
        if block is None:
            raise self._garbled("eth_getBlockByNumber", "it has no latest block")
        return block

    def finalized_number(self) -> int:
        """The endpoint's finalized block, or 64 blocks below the head if it does not have that tag.

        With a second endpoint, it is the highest block that both call final.

        Raises:
            ChainError: they have different blocks there.
        """
        number = self._finalized_number()
        return number if self._second is None else self._agreed(number, self._second)

    def _finalized_number(self) -> int:
        try:
            answer = self._endpoint.ask("eth_getBlockByNumber", ["finalized", False])
        except RpcError:
            answer = None
        block = self._read("eth_getBlockByNumber", answer, _header_if_any)
        return max(0, self.head().number - FINALITY_DEPTH) if block is None else block.number

    def _agreed(self, number: int, second: ChainClient) -> int:
        both = min(number, second.finalized_number())
        mine, other = self.block(both), second.block(both)
        if mine is None or other is None or mine.hash != other.hash:
            raise ChainError(
                f"{self._endpoint.name} and the second endpoint of this network have different final blocks {both}: "
                "compare them with a block explorer, and set [chain] rpc to the one that is right"
            )
        return both

    def block(self, number: int) -> Block | None:
        """The block of that number."""
        block = self._block(hex_quantity(number))
        if block is not None and block.number != number:
            raise self._garbled("eth_getBlockByNumber", f"block {block.number} instead of {number}")
        return block

    def logs(self, addresses: Sequence[Address], first: int, last: int) -> list[Log]:
        """Logs of these contracts, in order, each from a block that the endpoint still shows.

        Raises:
            ChainError: the endpoint no longer has the logs of these blocks, or its logs do not fit its blocks.
        """
        log_filter = {"address": list(addresses), "fromBlock": hex_quantity(first), "toBlock": hex_quantity(last)}
        logs = self._ask("eth_getLogs", [log_filter], lambda answer: [_log(fields) for fields in _list(answer)])
        self._check_logs(logs, frozenset(addresses), first, last)
        return logs

    def call(self, call: ContractCall, *, sender: Address | None = None, block_number: int | None = None) -> bytes:
        """Simulate a call and return its result."""
        return self._ask("eth_call", [_message(call, sender), _block_name(block_number)], parse_bytes)

    def estimate_gas(self, call: ContractCall, *, sender: Address) -> int:
        """Gas that a call would use."""
        return self._ask("eth_estimateGas", [_message(call, sender)], parse_quantity)

    def fees(self) -> Fees:
        """The base fee of the next block, and the tip that the endpoint suggests."""
        base_wei = self._ask("eth_feeHistory", [hex_quantity(1), "latest", []], _next_base_fee)
        tip_wei = self._ask("eth_maxPriorityFeePerGas", [], parse_quantity)
        return Fees(base_wei=Wei(base_wei), tip_wei=Wei(tip_wei))

    def coin_balance(self, address: Address) -> Wei:
        """An account's balance in the chain's own coin."""
        return Wei(self._ask("eth_getBalance", [address, "latest"], parse_quantity))

    def nonce(self, address: Address, *, block_number: int | None = None) -> int:
        """The number of an account's mined transactions."""
        return self._ask("eth_getTransactionCount", [address, _block_name(block_number)], parse_quantity)

    def code(self, address: Address) -> bytes:
        """The code at an address."""
        return self._ask("eth_getCode", [address, "latest"], parse_bytes)

    def storage(self, address: Address, slot: int, *, block_number: int | None = None) -> bytes:
        """The 32 bytes of a slot."""
        return self._ask(
            "eth_getStorageAt",
            [address, hex_quantity(slot), _block_name(block_number)],
            lambda answer: parse_quantity(answer).to_bytes(32, "big"),
        )

    def send(self, raw: bytes) -> Digest:
        """Submit a signed transaction, once."""
        expected = transaction_hash(raw)
        try:
            answer = self._endpoint.ask("eth_sendRawTransaction", [hex_bytes(raw)])
        except RpcError as error:
            raise SendRefusedError(refusal_of(error.message), error.message) from error
        found = self._read("eth_sendRawTransaction", answer, parse_digest)
        if found != expected:
            raise self._garbled("eth_sendRawTransaction", f"hash {found} instead of {expected}")
        return found

    def is_known(self, transaction_hash: Digest) -> bool:
        """Return True if the endpoint has a transaction, mined or pending."""

        def is_same(fields: Any) -> bool:
            return fields is not None and _same_hash(fields["hash"], transaction_hash)

        return self._ask("eth_getTransactionByHash", [transaction_hash], is_same)

    def input_of(self, transaction_hash: Digest) -> bytes | None:
        """The data that a transaction was sent with."""

        def read(fields: Any) -> bytes | None:
            if fields is None:
                return None
            _same_hash(fields["hash"], transaction_hash)
            return parse_bytes(fields["input"])

        return self._ask("eth_getTransactionByHash", [transaction_hash], read)

    def receipt(self, transaction_hash: Digest) -> TransactionReceipt | None:
        """The receipt of a transaction, if it is mined."""

        def read(fields: Any) -> TransactionReceipt | None:
            if fields is None:
                return None
            _same_hash(fields["transactionHash"], transaction_hash)
            return _receipt(fields)

        return self._ask("eth_getTransactionReceipt", [transaction_hash], read)

    def close(self) -> None:
        """Close the endpoint, and the second one."""
        self._endpoint.close()
        if self._second:
            self._second.close()

    def _block(self, name: str) -> Block | None:
        return self._ask("eth_getBlockByNumber", [name, False], _header_if_any)

    def _check_logs(self, logs: list[Log], addresses: frozenset[Address], first: int, last: int) -> None:
        """Refuse logs that do not fit the blocks: the endpoint is amid a reorg, or a balancer over two endpoints."""
        places = [(log.block_number, log.log_index) for log in logs]
        if places != sorted(set(places)):
            raise self._garbled("eth_getLogs", "logs out of order")
        if any(log.address not in addresses or not first <= log.block_number <= last for log in logs):
            raise self._garbled("eth_getLogs", "a log that was not requested")
        for number in sorted({log.block_number for log in logs}):
            block = self.block(number)
            if any(log.block_hash != (block and block.hash) for log in logs if log.block_number == number):
                raise self._garbled("eth_getLogs", f"a log of a block {number} that it does not show")

    def _ask(self, method: str, params: list[Any], read: Callable[[Any], T]) -> T:
        try:
            answer = self._endpoint.ask(method, params)
        except RpcError as error:
            if method == "eth_getLogs" and _is_pruned(error):
                raise ChainError(
                    f"{self._endpoint.name} no longer has the logs of blocks {_range_text(params[0])} "
                    f"({error.message[:80]}): set [chain] rpc to an endpoint that keeps the logs of all blocks, such "
                    "as an archive node, and start the node again"
                ) from error
            if error.code == REVERTED or REVERT_WORD in error.message.lower():
                raise RevertedError(error.message, data=_revert_data(error.data)) from error
            raise ChainError(
                f"{self._endpoint.name} refuses {method}: {error.message[:200]} (code {error.code})"
            ) from error
        return self._read(method, answer, read)

    def _read(self, method: str, answer: Any, read: Callable[[Any], T]) -> T:
        try:
            return read(answer)
        except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
            raise self._garbled(method, f"{type(error).__name__}: {error}") from error

    def _garbled(self, method: str, what: str) -> ChainError:
        return ChainError(
            f"{self._endpoint.name} answers {method} as no chain does ({what[:200]}): "
            "try again, and if it happens again, set [chain] rpc to another endpoint"
        )


def _block_name(number: int | None) -> str:
    return "latest" if number is None else hex_quantity(number)


def _is_pruned(error: RpcError) -> bool:
    return error.code == PRUNED_CODE or any(word in error.message.lower() for word in PRUNED_WORDS)


def _range_text(log_filter: dict[str, str]) -> str:
    return f"{int(log_filter['fromBlock'], 16)} to {int(log_filter['toBlock'], 16)}"


def _message(call: ContractCall, sender: Address | None) -> dict[str, str]:
    message = {"data": hex_bytes(call.data), "value": hex_quantity(call.value_wei)}
    if call.to != CREATE:
        message["to"] = call.to
    return message if sender is None else {**message, "from": sender}


def _header_if_any(fields: Any) -> Block | None:
    if fields is None:
        return None
    return Block(
        number=parse_quantity(fields["number"]),
        hash=parse_digest(fields["hash"]),
        parent_hash=parse_digest(fields["parentHash"]),
        timestamp_s=parse_quantity(fields["timestamp"]),
    )


def _list(answer: Any) -> list[Any]:
    if not isinstance(answer, list):
        raise TypeError("not a list")
    return answer


def _log(fields: Any) -> Log:
    if fields.get("removed"):
        raise ValueError("a log that was removed")
    return Log(
        address=parse_address(fields["address"]),
        topics=tuple(parse_digest(topic) for topic in _list(fields["topics"])),
        data=parse_bytes(fields["data"]),
        block_number=parse_quantity(fields["blockNumber"]),
        block_hash=parse_digest(fields["blockHash"]),
        transaction_hash=parse_digest(fields["transactionHash"]),
        log_index=parse_quantity(fields["logIndex"]),
    )


def _receipt(fields: Any) -> TransactionReceipt:
    status = parse_quantity(fields["status"])
    if status > 1:
        raise ValueError(f"status {status}")
    return TransactionReceipt(
        transaction_hash=parse_digest(fields["transactionHash"]),
        block_number=parse_quantity(fields["blockNumber"]),
        block_hash=parse_digest(fields["blockHash"]),
        is_ok=status == 1,
        gas_used=parse_quantity(fields["gasUsed"]),
        gas_price_wei=Wei(parse_quantity(fields["effectiveGasPrice"])),
    )


def _same_hash(value: Any, expected: Digest) -> bool:
    if (found := parse_digest(value)) != expected:
        raise ValueError(f"transaction {found} instead of {expected}")
    return True


def _next_base_fee(answer: Any) -> int:
    """The last entry of a fee history, which is for the next block."""
    return parse_quantity(_list(answer["baseFeePerGas"])[-1])


def _revert_data(value: Any) -> bytes:
    """The contract's error, which endpoints send plain, inside an object or after a word."""
    if isinstance(value, dict):
        value = value.get("data")
    try:
        return parse_bytes(str(value).rpartition(" ")[2])
    except ValueError:
        return b""
