"""A session on one network: chain client, keys, outbox, watcher and settler over one ledger.

Everything here blocks. The daemon steps it in a thread; a command without a daemon steps it itself.
"""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal

from openledger_protocol.epoch import Params, Windows, epoch_at
from openledger_protocol.primitives import Address, Wei
from openledger_protocol.signatures import sign_digest
from openledger_protocol.transactions import OutboxLimits, Transaction

from ..chain.client import ChainClient, ChainState
from ..chain.delivery import TOO_FEW_COINS
from ..chain.deployment import Deployment
from ..chain.encoding import UnsignedTransaction, sign_transaction
from ..chain.outbox import Outbox
from ..chain.watcher import Watcher, decode_with
from ..config import Config
from ..errors import KeyFileError, NodeError
from ..keystore import Key
from ..ledger.ledger import Ledger
from ..network_file import Network
from .balances import Balances, Operator, PlannedTransaction
from .coin_price import coin_price_wei, price_warning
from .overclaims import Overclaims
from .settler import SettlementPolicy, Settler
from .wrong_shares import WrongShares

# ---- unlocked keys


@dataclass(slots=True)
class KeyRing:
    """Unlocked keys, by address."""

    keys: dict[Address, Key] = field(default_factory=dict)

    def add(self, *keys: Key) -> None:
        """Add unlocked keys."""
        self.keys |= {key.address: key for key in keys}

    def sign(self, account: Address, digest: bytes) -> bytes:
        """Sign 32 bytes with an account's key.

        Raises:
            KeyFileError: the account is locked.
        """
        return sign_digest(self._unlocked(account), digest)

    def sign_transaction(self, sender: Address, unsigned: UnsignedTransaction) -> bytes:
        """Sign a transaction as its sender, and return the bytes to send.

        Raises:
            KeyFileError: the account is locked.
        """
        return sign_transaction(unsigned, self._unlocked(sender))

    def signer(self, account: Address) -> Callable[[bytes], bytes]:
        """Return a function that signs for one account."""
        return lambda digest: self.sign(account, digest)

    def _unlocked(self, account: Address) -> bytes:
        if account not in self.keys:
            raise KeyFileError(f"{account} is locked: a command that needs it asks for its password")
        return self.keys[account].private_key


# ---- session

Waits = Literal["block", "payers", "nothing"]
"""`payers` may withdraw what this node has earned and not claimed yet."""

WATCH_CHUNKS_MAX = 64
"""Chunks of blocks read in one step; after a long absence money moves between the steps of catching up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeAccounts:
    """The accounts of this node."""

    wallet: Address
    signer: Address
    authorizer: Address


class NetworkSession:
    """One node's session on one network."""

    def __init__(
        self,
        *,
        network: Network,
        client: ChainClient,
        ledger: Ledger,
        accounts: NodeAccounts,
        ring: KeyRing,
        config: Config,
        fail_point: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.network = network
        self._config = config.settlement
        self.client = client
        self.ledger = ledger
        self.accounts = accounts
        self.ring = ring
        self.fail_point = fail_point
        self.on_sent: Callable[[], None] = lambda: None  # the daemon then looks for the block
        self._stepping = threading.Lock()  # a command may send something during the daemon's step
        self.deployment = Deployment(
            client,
            chain_id=network.chain_id,
            addresses=network.contracts,
            deploy_block=network.deploy_block,
        )
        self.windows: Windows = self.deployment.windows()
        self.gas_budget_wei = Wei(config.chain.gas_budget_wei)  # of one UTC day
        self.keep_texts_s = config.payer.keep_texts_s
        self.limits = OutboxLimits(fee_max_wei=Wei(config.chain.fee_max_wei), gas_budget_wei=self.gas_budget_wei)
        self.outbox = Outbox(
            client=client,
            journal=ledger.outbox,
            chain_id=network.chain_id,
            senders=ring.keys,
            sign=ring.sign_transaction,
            limits=self.limits,
            fail_point=fail_point,
        )
        self.watcher = Watcher(
            client=client,
            journal=ledger.events,
            chain_id=network.chain_id,
            addresses=list(network.contracts.values()),
            first_block=network.deploy_block,
            decode=decode_with(network.contracts),
        )
        self.settlement = Settler(
            ledger=ledger,
            client=client,
            deployment=self.deployment,
            node=accounts.wallet,
            signer=accounts.signer,
            windows=self.windows,
            policy=SettlementPolicy(coin_price_wei=coin_price_wei(network, config.settlement)),
            limits=self.limits,
            fail_point=fail_point,
        )
        self.overclaims = Overclaims(ledger=ledger, deployment=self.deployment, payer=accounts.wallet)
        self.wrong_shares = WrongShares(ledger)
        self.treasury = Balances(
            ledger=ledger,
            client=client,
            deployment=self.deployment,
            operator=Operator(
                wallet=accounts.wallet, signer=accounts.signer, sign_as_signer=ring.signer(accounts.signer)
            ),
            why_not=lambda: self.settlement.claimer.why_not,
        )

    @property
    def state(self) -> ChainState:
        """The state of the chain: the worse of outbox and watcher."""
        states = (self.watcher.state, self.outbox.state)
        return next((state for health in ("halted", "down") for state in states if state.health == health), states[0])

    @property
    def alerts(self) -> tuple[str, ...]:
        """Sentences for the operator on transactions, claims of its own and of nodes that it pays."""
        old_price = price_warning(self.network, self._config, datetime.now(UTC).date())
        return (
            *([old_price] if old_price else []),
            *self.outbox.alerts,
            *self.settlement.alerts,
            *self.overclaims.alerts,
            *self.wrong_shares.alerts,
        )

    @property
    def alert_counts(self) -> dict[str, int]:
        """The number of alerts by kind: too little gas, claims of this node, and sellers that took too much."""
        num_gas = sum(TOO_FEW_COINS in alert for alert in (*self.outbox.alerts, *self.settlement.alerts))
        own = (self.outbox, self.settlement)
        return {
            "gas": num_gas,
            "claims": sum(len(each.alerts) for each in own) - num_gas,
            "sellers": len(self.overclaims.alerts) + len(self.wrong_shares.alerts),
        }

    @property
    def coin_price_wei(self) -> Wei:
        """The price of a whole coin of gas in wei of OPEN; 0 on a development network."""
        return self.settlement.claimer.policy.coin_price_wei or Wei(0)

    @property
    def is_idle(self) -> bool:
        """True if the chain answers, and no transaction or claim of this node's own is under way."""
        return self.waits_for != "block"

    @property
    def waits_for(self) -> Waits:
        """The events that this node must see on the chain soon: a block, if it waits for one or was away."""
        own = (found for found in self.ledger.outbox.unfinished() if found.intent.sender in self.ring.keys)
        if self.state.health == "down" or any(own) or self.ledger.claims.unfinished():
            return "block"
        return "payers" if self.ledger.receipts.has_unclaimed(self.accounts.wallet) else "nothing"

    def step(self) -> None:
        """Read new blocks, and send the transactions that are due.

        Raises:
            ChainError: the chain does not answer; the next step continues here.
            LedgerError: the ledger can't be written; nothing is lost.
        """
        with self._stepping:
            self._step()

    def read(self) -> bool:
        """Read new blocks, and send nothing. Returns True if the newest one was read.

        Raises:
            LedgerError: the ledger can't be written; nothing is lost.
        """
        with self._stepping:
            self._read()
            return self.watcher.seen is not None

    def send(self, steps: Sequence[PlannedTransaction] = ()) -> list[Transaction]:
        """Store planned transactions and send everything that waits, without reading new blocks.

        Raises:
            LedgerError: the ledger can't be written; nothing is lost.
        """
        with self._stepping:
            stored = self.treasury.submit(steps)
            self.outbox.step()
        self.on_sent()
        found = (self.ledger.outbox.find(each.intent.key) for each in stored)
        return [each for each in found if each]

    def rescan(self) -> None:
        """Read the chain again from the start and lift a halt, for an operator who trusts the endpoint.

        Raises:
            LedgerError: the ledger can't be written.
        """
        with self._stepping:
            self.watcher.rescan()
            self.outbox.resume()

    def forgive(self, kind: str) -> int:
        """Send transactions of a kind again after paid failures, and return how many failures were counted.

        Raises:
            NodeError: there is no such kind, or none of its failures is counted; the message names those that are.
            LedgerError: the ledger can't be written.
        """
        with self._stepping:
            outbox = self.ledger.outbox
            kinds = outbox.kinds()
            counts = {each: num for each in kinds if (num := outbox.num_paid_failures(each))}
            if kind not in counts:
                why = "counts no failure of" if kind in kinds else "has no transaction of the kind"
                shown = ", ".join(f"{each} ({num})" for each, num in counts.items()) or "none"
                raise NodeError(f"this node {why} {kind!r}, so there is nothing to forgive; counted are: {shown}")
            outbox.forgive(kind)
            return counts[kind]

    def params(self) -> Params:
        """The parameters that governance has set for the current epoch."""
        return self.deployment.params(epoch_at(self.client.head().timestamp_s, self.windows))

    def close(self) -> None:
        """Close the connection to the chain."""
        self.client.close()

    def _read(self) -> None:
        for _ in range(WATCH_CHUNKS_MAX):
            if not self.watcher.step():
                break

    def _step(self) -> None:
        self.wrong_shares.step()
        self._read()
        if self.watcher.state.health == "halted":
            self.outbox.halt(self.watcher.state.why or "the watcher has halted")
            return
        if self.watcher.head and self.watcher.state.health == "ok":
            self.settlement.step(self.watcher.head)
            self.overclaims.step()
        self.outbox.step(self.watcher.seen)
