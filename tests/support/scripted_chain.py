"""A chain that does as a test says, and lies where it says so: it drops, doubles, falls silent, reorganises.

It reads raw transactions by another implementation than the node's own, and its calls do nothing but say that they
were made: each leaves one log, with the call's data.
"""

from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from eth_account import Account
from eth_account.typed_transactions.typed_transaction import TypedTransaction
from eth_hash.auto import keccak
from hexbytes import HexBytes

from openledger_node.chain.client import Refusal, SendRefusedError
from openledger_node.errors import ChainError
from openledger_protocol.chain import Block, ContractCall, Fees, Log, TransactionReceipt
from openledger_protocol.errors import RevertedError
from openledger_protocol.primitives import ZERO_WEI, Address, Digest, Wei, check_address, checksum_address

CHAIN_ID = 7_331
GAS = 400_000
GENESIS_S = 1_000_000
TIP = Wei(10)


@dataclass(frozen=True)
class Sent:
    """A raw transaction, read."""

    hash: Digest
    sender: Address
    nonce: int
    to: Address
    data: bytes
    fee_max_wei: int
    tip_max_wei: int
    gas_limit: int
    chain_id: int


@dataclass
class Mined:
    """A block with all that is in it."""

    block: Block
    base_wei: int
    sent: list[Sent] = field(default_factory=list)
    logs: list[Log] = field(default_factory=list)


class ScriptedChain:
    """Fits the chain's socket; the attributes below are the strings that a test pulls."""

    def __init__(self, *, finality_depth: int = 2, block_time_s: int = 1) -> None:
        self.finality_depth = finality_depth
        self.block_time_s = block_time_s
        self.base_wei = 100
        self.told_chain_id = CHAIN_ID
        self.is_down = False
        self.refusing: set[bytes] = set()  # calls that are refused when they are simulated, and when mined
        self.refusing_mined: set[bytes] = set()  # calls that are refused only when they are mined
        self.poor: set[Address] = set()  # senders without coin
        self.refusals: deque[Refusal] = deque()  # of the next sends, whatever they hold
        self.num_to_drop = 0  # of the next sends: they are taken, and forgotten
        self.is_hiding_logs = False
        self.nonce_lie = 0  # added to each nonce that it tells
        self.is_automatic = False  # each send is mined at once
        self.asked: Counter[str] = Counter()
        self.pool: dict[Digest, Sent] = {}
        self.branch = 0
        self.chain: list[Mined] = []
        self._append(())

    # ---- what a test pulls

    def mine(self, count: int = 1) -> None:
        """Mine blocks; the first holds what the pool offers in order of nonces."""
        for _ in range(count):
            taken: list[Sent] = []
            for sent in sorted(self.pool.values(), key=lambda sent: (sent.sender, sent.nonce)):
                ahead = sum(other.sender == sent.sender for other in taken)
                if sent.fee_max_wei >= self.base_wei and sent.nonce == self._num_mined(sent.sender) + ahead:
                    taken.append(sent)
            for sent in taken:
                del self.pool[sent.hash]
            self._append(taken)

    def reorganise(self, depth: int) -> None:
        """Replace the newest blocks by empty ones of another branch; what they held is forgotten, not waiting."""
        del self.chain[len(self.chain) - depth :]
        self.branch += 1
        for _ in range(depth + 1):
            self._append(())

    def lose_pool(self) -> None:
        """As an endpoint that was restarted."""
        self.pool.clear()

    def take_nonce(self, sender: Address) -> None:
        """Another program uses the sender's key."""
        nonce = self._num_mined(sender)
        self._append(
            [
                Sent(
                    hash=Digest("0x" + keccak(f"foreign {sender} {nonce}".encode()).hex()),
                    sender=sender,
                    nonce=nonce,
                    to=sender,
                    data=b"",
                    fee_max_wei=10**9,
                    tip_max_wei=1,
                    gas_limit=GAS,
                    chain_id=CHAIN_ID,
                )
            ]
        )

    def mined_calls(self, sender: Address | None = None) -> list[bytes]:
        """Data of all calls on the present chain that were not refused, in order."""
        return [
            sent.data
            for mined in self.chain
            for sent in mined.sent
            if sender in (None, sent.sender) and not self._is_refused(sent)
        ]

    def nonces(self, sender: Address) -> list[int]:
        """Nonces on the present chain."""
        return [sent.nonce for mined in self.chain for sent in mined.sent if sent.sender == sender]

    # ---- what the node asks

    def chain_id(self) -> int:
        self._answer("chain_id")
        return self.told_chain_id

    def head(self) -> Block:
        self._answer("head")
        return self.chain[-1].block

    def finalized_number(self) -> int:
        self._answer("finalized_number")
        return max(0, self.chain[-1].block.number - self.finality_depth)

    def block(self, number: int) -> Block | None:
        self._answer("block")
        return self.chain[number].block if 0 <= number < len(self.chain) else None

    def logs(self, addresses: Sequence[Address], first: int, last: int) -> list[Log]:
        self._answer("logs")
        if self.is_hiding_logs:
            return []
        return [log for mined in self.chain[first : last + 1] for log in mined.logs if log.address in addresses]

    def call(self, call: ContractCall, *, sender: Address | None = None, block_number: int | None = None) -> bytes:
        self._answer("call")
        if call.data in self.refusing | self.refusing_mined:
            raise RevertedError(f"refused {call.data.decode()}")
        return b""

    def estimate_gas(self, call: ContractCall, *, sender: Address) -> int:
        self._answer("estimate_gas")
        if call.data in self.refusing:
            raise RevertedError(f"refused {call.data.decode()}")
        return GAS

    def fees(self) -> Fees:
        self._answer("fees")
        return Fees(base_wei=Wei(self.base_wei), tip_wei=TIP)

    def coin_balance(self, address: Address) -> Wei:
        self._answer("coin_balance")
        return ZERO_WEI if address in self.poor else Wei(10**20)

    def nonce(self, address: Address, *, block_number: int | None = None) -> int:
        self._answer("nonce")
        last = len(self.chain) if block_number is None else block_number + 1
        mined = sum(sent.sender == address for block in self.chain[:last] for sent in block.sent)
        return mined + self.nonce_lie

    def code(self, address: Address) -> bytes:
        return b"\x00"

    def storage(self, address: Address, slot: int, *, block_number: int | None = None) -> bytes:
        return bytes(32)

    def send(self, raw: bytes) -> Digest:
        self._answer("send")
        sent = read_raw(raw)
        if self.refusals:
            self._refuse(self.refusals.popleft())
        self._check(sent)
        if self.num_to_drop:
            self.num_to_drop -= 1
            return sent.hash
        for other in self._rivals(sent):
            del self.pool[other.hash]
        self.pool[sent.hash] = sent
        if self.is_automatic:
            self.mine()
        return sent.hash

    def is_known(self, transaction_hash: Digest) -> bool:
        self._answer("is_known")
        return transaction_hash in self.pool or self._find(transaction_hash) is not None

    def input_of(self, transaction_hash: Digest) -> bytes | None:
        self._answer("input_of")
        sent = self.pool.get(transaction_hash)
        found = self._find(transaction_hash)
        return found[1].data if found else sent.data if sent else None

    def receipt(self, transaction_hash: Digest) -> TransactionReceipt | None:
        self._answer("receipt")
        found = self._find(transaction_hash)
        if found is None:
            return None
        mined, sent = found
        return TransactionReceipt(
            transaction_hash=transaction_hash,
            block_number=mined.block.number,
            block_hash=mined.block.hash,
            is_ok=not self._is_refused(sent),
            gas_used=GAS,
            gas_price_wei=Wei(min(sent.fee_max_wei, mined.base_wei + sent.tip_max_wei)),
        )

    def close(self) -> None:
        pass

    def _answer(self, question: str) -> None:
        self.asked[question] += 1
        if self.is_down:
            raise ChainError("the endpoint does not answer")

    def _check(self, sent: Sent) -> None:
        if sent.chain_id != CHAIN_ID:
            self._refuse("other")
        if self.is_known(sent.hash):
            self._refuse("known")
        if sent.nonce < self._num_mined(sent.sender):
            self._refuse("nonce_too_low")
        if sent.sender in self.poor:
            self._refuse("no_funds")
        for other in self._rivals(sent):
            if sent.fee_max_wei * 10 < other.fee_max_wei * 11 or sent.tip_max_wei * 10 < other.tip_max_wei * 11:
                self._refuse("underpriced")

    def _rivals(self, sent: Sent) -> list[Sent]:
        return [other for other in self.pool.values() if (other.sender, other.nonce) == (sent.sender, sent.nonce)]

    def _refuse(self, reason: Refusal) -> None:
        raise SendRefusedError(reason, reason)

    def _is_refused(self, sent: Sent) -> bool:
        return sent.data in self.refusing | self.refusing_mined

    def _num_mined(self, sender: Address) -> int:
        return len(self.nonces(sender))

    def _find(self, transaction_hash: Digest) -> tuple[Mined, Sent] | None:
        found = ((mined, sent) for mined in self.chain for sent in mined.sent if sent.hash == transaction_hash)
        return next(found, None)

    def _append(self, taken: Sequence[Sent]) -> None:
        number = len(self.chain)
        parent = self.chain[-1].block.hash if self.chain else Digest("0x" + "0" * 64)
        digest = Digest("0x" + keccak(f"{self.branch} {number} {parent}".encode()).hex())
        timestamp_s = GENESIS_S + number * self.block_time_s
        block = Block(number=number, hash=digest, parent_hash=parent, timestamp_s=timestamp_s)
        told = [sent for sent in taken if not self._is_refused(sent)]
        logs = [_log(sent, block, index) for index, sent in enumerate(told)]
        self.chain.append(Mined(block=block, base_wei=self.base_wei, sent=list(taken), logs=logs))


def read_raw(raw: bytes) -> Sent:
    """Read a signed transaction."""
    fields: dict[str, Any] = TypedTransaction.from_bytes(HexBytes(raw)).as_dict()
    return Sent(
        hash=Digest("0x" + keccak(raw).hex()),
        sender=check_address(Account.recover_transaction(raw)),
        nonce=fields["nonce"],
        to=checksum_address(bytes(fields["to"])),
        data=bytes(fields["data"]),
        fee_max_wei=fields["maxFeePerGas"],
        tip_max_wei=fields["maxPriorityFeePerGas"],
        gas_limit=fields["gas"],
        chain_id=fields["chainId"],
    )


def _log(sent: Sent, block: Block, index: int) -> Log:
    return Log(
        address=sent.to,
        topics=(),
        data=sent.data,
        block_number=block.number,
        block_hash=block.hash,
        transaction_hash=sent.hash,
        log_index=index,
    )
