"""The embedded development chain: py-evm on a block store, one block at a time.

A block is stored in one commit. The caller of `mine` sets its time, which is always later than the parent's.
"""

import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

from eth.abc import BlockHeaderAPI, LogAPI, ReceiptAPI, SignedTransactionAPI, StateAPI
from eth.chains.base import Chain
from eth.constants import ZERO_ADDRESS
from eth.db.atomic import AtomicDB
from eth.exceptions import BlockNotFound, HeaderNotFound, TransactionNotFound
from eth.vm.forks.prague import PragueVM
from eth_hash.auto import keccak
from eth_utils.exceptions import ValidationError
from trie.exceptions import MissingTrieNode

from .block_store import BlockStore, damaged, open_block_store
from .calls import free_state, room_for_calls
from .constants import BANK, BANK_COINS_WEI, EMBEDDED_CHAIN_ID, FINALITY_DEPTH
from .mempool import Pool

GAS_LIMIT: Final = 30_000_000
CACHED_BLOCKS: Final = 256
CHECKED_BLOCKS: Final = 256
"""Newest headers that are checked when a chain is opened: as many as a contract can see."""


class _Chain(Chain):
    chain_id = EMBEDDED_CHAIN_ID
    vm_configuration = ((0, PragueVM),)  # type: ignore[assignment]  # a block number is an int to us


@dataclass(frozen=True, slots=True, kw_only=True)
class MinedTransaction:
    """A mined transaction, its place and its receipt."""

    header: BlockHeaderAPI
    index: int
    transaction: SignedTransactionAPI
    receipt: ReceiptAPI
    gas_used: int
    first_log_index: int


@dataclass(frozen=True, slots=True, kw_only=True)
class MinedLog:
    """A log and its place."""

    mined: MinedTransaction
    log: LogAPI
    log_index: int


class EmbeddedChain:
    """One chain, for one thread at a time."""

    def __init__(self, store: BlockStore, chain: Chain) -> None:
        self._store = store
        self._chain = chain
        self._pool = Pool(chain.chain_id)
        self._mined_in = lru_cache(CACHED_BLOCKS)(
            self._read_block
        )  # otherwise a block would be read for each of its receipts
        self._state_after: tuple[bytes, StateAPI] | None = None  # of the block that was asked for last

    @property
    def chain_id(self) -> int:
        """The chain's id, which is part of every signature."""
        return self._chain.chain_id

    @property
    def head(self) -> BlockHeaderAPI:
        """The latest block's header."""
        return self._chain.get_canonical_head()

    @property
    def finalized_number(self) -> int:
        """The highest block that counts as final."""
        return max(0, self.head.block_number - FINALITY_DEPTH)

    def header(self, number: int) -> BlockHeaderAPI | None:
        """The header of that number."""
        try:
            return self._chain.get_canonical_block_header_by_number(number)  # type: ignore[arg-type]
        except HeaderNotFound:
            return None

    def header_by_hash(self, block_hash: bytes) -> BlockHeaderAPI | None:
        """The header of that hash, if it is on the current chain."""
        try:
            header = self._chain.get_block_header_by_hash(block_hash)  # type: ignore[arg-type]
        except HeaderNotFound:
            return None
        present = self.header(header.block_number)
        return header if present is not None and present.hash == block_hash else None

    def state(self, header: BlockHeaderAPI) -> StateAPI:
        """The state of accounts and contracts after a block, which its users leave as it is.

        Questions about one block share it: what the first has read, the next need not read again.
        """
        if self._state_after is None or self._state_after[0] != header.hash:
            self._state_after = (header.hash, free_state(self._chain.get_vm(header), header))
        return self._state_after[1]

    def send(self, raw: bytes) -> bytes:
        """Add a signed transaction to the pool, and return its hash.

        Raises:
            SendRefusedError: no block could hold it.
        """
        transaction = self._pool.add(raw, self.state(self.head), gas_limit=GAS_LIMIT)
        return bytes(transaction.hash)

    def waiting(self, transaction_hash: bytes) -> SignedTransactionAPI | None:
        """The pending transaction of that hash."""
        return self._pool.find(transaction_hash)

    def pending_nonce(self, sender: bytes) -> int:
        """A sender's next nonce, after the pending transactions."""
        nonce: int = self.state(self.head).get_nonce(sender)  # type: ignore[arg-type]
        return self._pool.next_nonce(sender, nonce)

    def mine(self, timestamp_s: int) -> BlockHeaderAPI:
        """Mine the pending transactions; the block's time is `timestamp_s`, but at least 1 s after the parent's.

        Raises:
            ChainError: the block can't be stored; the chain is unchanged.
        """
        state = self.state(self.head)
        base_fee = self.next_base_fee(self.head)
        header = self._build(self.head, timestamp_s, self._pool.ready(state.get_nonce, base_fee))  # type: ignore[arg-type]
        self._pool.drop_mined(self.state(header).get_nonce)  # type: ignore[arg-type]
        return header

    def reorganise(self, depth: int) -> BlockHeaderAPI:
        """Replace the newest `depth` blocks by `depth` + 1 empty ones; their transactions become pending again."""
        parent = self.header(self.head.block_number - depth)
        assert parent is not None, "a chain can't lose its genesis"
        lost = self._transactions_after(parent)
        for _ in range(depth + 1):
            parent = self._build(parent, parent.timestamp + 1, (), salt=b"fork")
        state = self.state(parent)
        for transaction in lost:
            self._pool.add(transaction.encode(), state, gas_limit=GAS_LIMIT)
        return parent

    def next_base_fee(self, header: BlockHeaderAPI) -> int:
        """The base fee of the block after this one."""
        child: Any = self._chain.create_header_from_parent(header, gas_limit=header.gas_limit)
        base_fee: int = child.base_fee_per_gas
        return base_fee

    def mined_in(self, header: BlockHeaderAPI) -> list[MinedTransaction]:
        """The transactions of a block, in order."""
        return self._mined_in(header.hash)

    def mined(self, transaction_hash: bytes) -> MinedTransaction | None:
        """A transaction of the current chain, by its hash."""
        try:
            number, index = self._chain.get_canonical_transaction_index(transaction_hash)  # type: ignore[arg-type]
        except TransactionNotFound:
            return None
        header = self.header(number)
        # The index keeps the places of transactions that a reorganisation took back.
        there = self.mined_in(header)[index : index + 1] if header else []
        return next((mined for mined in there if mined.transaction.hash == transaction_hash), None)

    def logs(self, first: int, last: int) -> Iterator[MinedLog]:
        """Logs of blocks `first` to `last`, inclusive, in order."""
        for number in self._store.busy_blocks(first, last):
            header = self.header(number)
            if header is None:
                continue
            for mined in self.mined_in(header):
                for index, log in enumerate(mined.receipt.logs, start=mined.first_log_index):
                    yield MinedLog(mined=mined, log=log, log_index=index)

    def close(self) -> None:
        """Close the file."""
        self._store.close()

    def _read_block(self, block_hash: bytes) -> list[MinedTransaction]:
        try:
            block = self._chain.get_block_by_hash(block_hash)  # type: ignore[arg-type]
            receipts = block.get_receipts(self._chain.chaindb)
        except (BlockNotFound, MissingTrieNode) as error:
            raise damaged(self._store.name, f"a transaction is missing: {error}") from error
        found: list[MinedTransaction] = []
        gas_before = logs_before = 0
        for index, (transaction, receipt) in enumerate(zip(block.transactions, receipts, strict=True)):
            mined = MinedTransaction(
                header=block.header,
                index=index,
                transaction=transaction,
                receipt=receipt,
                gas_used=receipt.gas_used - gas_before,
                first_log_index=logs_before,
            )
            found.append(mined)
            gas_before, logs_before = receipt.gas_used, logs_before + len(receipt.logs)
        return found

    def _build(
        self,
        parent: BlockHeaderAPI,
        timestamp_s: int,
        transactions: Sequence[SignedTransactionAPI],
        *,
        salt: bytes = b"",
    ) -> BlockHeaderAPI:
        try:
            block = self._fill(parent, max(timestamp_s, parent.timestamp + 1), transactions, salt)
            self._chain.persist_block(block)
            self._store.commit(busy=block.number if block.transactions else None)
        except BaseException:
            self._store.forget_waiting()
            raise
        return block.header  # type: ignore[no-any-return]

    def _fill(
        self, parent: BlockHeaderAPI, timestamp_s: int, transactions: Sequence[SignedTransactionAPI], salt: bytes
    ) -> Any:
        header = self._chain.create_header_from_parent(
            parent, timestamp=timestamp_s, gas_limit=parent.gas_limit, mix_hash=keccak(salt + parent.hash)
        )
        vm: Any = self._chain.get_vm(header)
        held: list[SignedTransactionAPI] = []
        receipts: list[ReceiptAPI] = []
        held_back: set[bytes] = set()  # senders whose later nonces must wait
        for transaction in transactions:
            if transaction.sender in held_back or header.gas_used + transaction.gas > header.gas_limit:
                held_back.add(transaction.sender)
                continue
            try:
                with room_for_calls():
                    receipt, _ = vm.apply_transaction(header, transaction)
            except ValidationError:  # an earlier transaction spent the coins that it needs
                self._pool.drop(transaction)
                held_back.add(transaction.sender)
                continue
            header = vm.add_receipt_to_header(header, receipt)
            held.append(transaction)
            receipts.append(receipt)
        block = vm.set_block_transactions_and_withdrawals(vm.get_block(), header, held, receipts)
        return vm.mine_block(block).block

    def _transactions_after(self, ancestor: BlockHeaderAPI) -> list[SignedTransactionAPI]:
        headers = map(self.header, range(ancestor.block_number + 1, self.head.block_number + 1))
        return [mined.transaction for header in headers if header for mined in self.mined_in(header)]


def open_chain(file: Path | None, genesis_s: int, *, seed: bytes | None = None) -> EmbeddedChain:
    """Open the chain in a file, or create one; None creates one in memory.

    `seed`, which is random if it is not given, makes the genesis hash of each chain unique.

    Raises:
        ChainError: the file is damaged, or another program has it open.
    """
    store = open_block_store(file)
    try:
        return chain_in(store, genesis_s, seed=seed)
    except BaseException:
        store.close()
        raise


def chain_in(store: BlockStore, genesis_s: int, *, seed: bytes | None = None) -> EmbeddedChain:
    """Open the chain in a store, or create one if the store is empty.

    Raises:
        ChainError: the store is damaged.
    """
    database = AtomicDB(store)
    if b"v1:canonical_head_hash" in database:
        found = EmbeddedChain(store, _Chain(database))
        _check_newest(found, store.name)
        return found
    if not store.is_empty:
        raise damaged(store.name, "it has no latest block")
    bank = {"balance": BANK_COINS_WEI, "nonce": 0, "code": b"", "storage": {}}
    accounts: dict[Any, Any] = {bytes.fromhex(BANK[2:]): bank}
    chain: Any = _Chain.from_genesis(database, _genesis(genesis_s, seed or secrets.token_bytes(32)), accounts)
    store.commit()
    return EmbeddedChain(store, chain)


def _genesis(genesis_s: int, seed: bytes) -> dict[str, Any]:
    return {
        "difficulty": 0,
        "gas_limit": GAS_LIMIT,
        "timestamp": genesis_s,
        "extra_data": seed,
        "nonce": bytes(8),
        "mix_hash": bytes(32),
        "coinbase": ZERO_ADDRESS,
    }


def _check_newest(chain: EmbeddedChain, name: str) -> None:
    """Check that the head's state and the newest blocks are there."""
    try:
        header = chain.head
        chain.state(header).get_balance(bytes.fromhex(BANK[2:]))  # type: ignore[arg-type]
        for number in range(header.block_number - 1, max(-1, header.block_number - CHECKED_BLOCKS), -1):
            parent = chain.header(number)
            if parent is None or parent.hash != header.parent_hash:
                raise damaged(name, f"block {number} does not fit the one after it")
            header = parent
    except (HeaderNotFound, MissingTrieNode, KeyError) as error:
        raise damaged(name, f"an entry is missing: {error}") from error
