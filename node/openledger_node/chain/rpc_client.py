"""A chain's client over JSON-RPC, however the questions travel. It believes no answer before its form is checked.

What an endpoint says decides what is signed and paid, so a wrong type, another chain's id or answers that contradict
each other are refused by name.
"""

import re
from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol, TypeVar

from openledger_protocol.chain import Block, ContractCall, Fees, Log, TransactionReceipt
from openledger_protocol.errors import RevertedError
from openledger_protocol.primitives import Address, Digest, Wei

from ..errors import ChainError
from .client import Refusal, SendRefusedError
from .encoding import transaction_hash
from .rpc import REVERTED, RpcError, hex_bytes, hex_quantity, parse_address, parse_bytes, parse_digest, parse_quantity

# ---- Why an endpoint does not take a transaction: each says it in words of its own, and no code tells it.

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
"""How geth, anvil, Nethermind and Besu say why they do not take a transaction, in lower case."""


def refusal_of(message: str) -> Refusal:
    """What an endpoint means by the words with which it does not take a transaction."""
    words = message.lower()
    # From a word's beginning: an unknown transaction type is no known transaction.
    return next((refusal for part, refusal in REFUSALS if re.search(f"(?<![a-z]){part}", words)), "other")


# ---- rpc client

T = TypeVar("T")

FINALITY_DEPTH: Final = 64
"""Blocks below the head that count as final where an endpoint does not say: two epochs of Ethereum."""

REVERT_WORD: Final = "revert"


class Endpoint(Protocol):
    """Carries one question to whoever answers it."""

    @property
    def name(self) -> str:
        """What a message may call it: no secret of its address."""

    def ask(self, method: str, params: list[Any]) -> Any:
        """The result.

        Raises:
            RpcError: the answer is an error.
            ChainError: there is no answer.
        """

    def close(self) -> None:
        """Let go of it."""


class RpcClient:
    """Fits the chain's socket."""

    def __init__(self, endpoint: Endpoint, *, chain_id: int | None = None) -> None:
        self._endpoint = endpoint
        self._chain_id = chain_id  # None: the one that is found first

    def chain_id(self) -> int:
        """The chain's own id.

        Raises:
            ChainError: it is not the one that was expected, or that it was before.
        """
        found = self._ask("eth_chainId", [], parse_quantity)
        expected = self._chain_id = found if self._chain_id is None else self._chain_id
        if found != expected:
            raise ChainError(
                f"{self._endpoint.name} is on chain {found}, not {expected}: name another one in network.json"
            )
        return found

    def head(self) -> Block:
        """The latest block, and still of the same chain."""
        self.chain_id()
        block = self._block("latest")
        if block is None:
            raise self._garbled("eth_getBlockByNumber", "it has no latest block")
        return block

    def finalized_number(self) -> int:
        """What the endpoint calls final, or 64 blocks below the head where it knows no such thing."""
        try:
            answer = self._endpoint.ask("eth_getBlockByNumber", ["finalized", False])
        except RpcError:
            answer = None
        block = self._read("eth_getBlockByNumber", answer, _header_if_any)
        return max(0, self.head().number - FINALITY_DEPTH) if block is None else block.number

    def block(self, number: int) -> Block | None:
        """The block of that number."""
        block = self._block(hex_quantity(number))
        if block is not None and block.number != number:
            raise self._garbled("eth_getBlockByNumber", f"block {block.number} in place of {number}")
        return block

    def logs(self, addresses: Sequence[Address], first: int, last: int) -> list[Log]:
        """Logs of these contracts, in order, each in a block that the endpoint still holds to be the one."""
        wanted = {"address": list(addresses), "fromBlock": hex_quantity(first), "toBlock": hex_quantity(last)}
        logs = self._ask("eth_getLogs", [wanted], lambda answer: [_log(fields) for fields in _list(answer)])
        self._check_logs(logs, frozenset(addresses), first, last)
        return logs

    def call(self, call: ContractCall, *, sender: Address | None = None, block_number: int | None = None) -> bytes:
        """What a call returns."""
        return self._ask("eth_call", [_message(call, sender), _block_name(block_number)], parse_bytes)

    def estimate_gas(self, call: ContractCall, *, sender: Address) -> int:
        """Gas that a call would use."""
        return self._ask("eth_estimateGas", [_message(call, sender)], parse_quantity)

    def fees(self) -> Fees:
        """The base fee of the next block, and the tip that the endpoint advises."""
        base_wei = self._ask("eth_feeHistory", [hex_quantity(1), "latest", []], _next_base_fee)
        tip_wei = self._ask("eth_maxPriorityFeePerGas", [], parse_quantity)
        return Fees(base_wei=Wei(base_wei), tip_wei=Wei(tip_wei))

    def coin_balance(self, address: Address) -> Wei:
        """What an account has of the chain's own coin."""
        return Wei(self._ask("eth_getBalance", [address, "latest"], parse_quantity))

    def nonce(self, address: Address) -> int:
        """Transactions of an account that are mined."""
        return self._ask("eth_getTransactionCount", [address, "latest"], parse_quantity)

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
        """Hand a signed transaction in, once."""
        expected = transaction_hash(raw)
        try:
            answer = self._endpoint.ask("eth_sendRawTransaction", [hex_bytes(raw)])
        except RpcError as error:
            raise SendRefusedError(refusal_of(error.message), error.message) from error
        found = self._read("eth_sendRawTransaction", answer, parse_digest)
        if found != expected:
            raise self._garbled("eth_sendRawTransaction", f"hash {found} in place of {expected}")
        return found

    def is_known(self, transaction_hash: Digest) -> bool:
        """Whether the endpoint has a transaction, mined or waiting."""

        def is_same(fields: Any) -> bool:
            return fields is not None and _same_hash(fields["hash"], transaction_hash)

        return self._ask("eth_getTransactionByHash", [transaction_hash], is_same)

    def receipt(self, transaction_hash: Digest) -> TransactionReceipt | None:
        """What came of a transaction."""

        def read(fields: Any) -> TransactionReceipt | None:
            if fields is None:
                return None
            _same_hash(fields["transactionHash"], transaction_hash)
            return _receipt(fields)

        return self._ask("eth_getTransactionReceipt", [transaction_hash], read)

    def close(self) -> None:
        """Let go of the endpoint."""
        self._endpoint.close()

    def _block(self, name: str) -> Block | None:
        return self._ask("eth_getBlockByNumber", [name, False], _header_if_any)

    def _check_logs(self, logs: list[Log], addresses: frozenset[Address], first: int, last: int) -> None:
        """An endpoint that has seen a reorganisation in one half only, or a balancer over two, shows here."""
        places = [(log.block_number, log.log_index) for log in logs]
        if places != sorted(set(places)):
            raise self._garbled("eth_getLogs", "logs that are not in order")
        if any(log.address not in addresses or not first <= log.block_number <= last for log in logs):
            raise self._garbled("eth_getLogs", "a log that was not asked for")
        for number in sorted({log.block_number for log in logs}):
            block = self.block(number)
            if any(log.block_hash != (block and block.hash) for log in logs if log.block_number == number):
                raise self._garbled("eth_getLogs", f"a log of another block {number} than it shows")

    def _ask(self, method: str, params: list[Any], read: Callable[[Any], T]) -> T:
        try:
            answer = self._endpoint.ask(method, params)
        except RpcError as error:
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
            "try again, and if it stays so, name another endpoint in network.json"
        )


def _block_name(number: int | None) -> str:
    return "latest" if number is None else hex_quantity(number)


def _message(call: ContractCall, sender: Address | None) -> dict[str, str]:
    message = {"to": call.to, "data": hex_bytes(call.data), "value": hex_quantity(call.value_wei)}
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
        raise ValueError(f"transaction {found} in place of {expected}")
    return True


def _next_base_fee(answer: Any) -> int:
    """The history's last entry is that of the block to come."""
    return parse_quantity(_list(answer["baseFeePerGas"])[-1])


def _revert_data(value: Any) -> bytes:
    """What the contract said: plain, within an object, or behind a word, as endpoints differ."""
    if isinstance(value, dict):
        value = value.get("data")
    try:
        return parse_bytes(str(value).rpartition(" ")[2])
    except ValueError:
        return b""
