"""One network's money, composed: the chain's client, keys, outbox, watcher and the settlement desk over one ledger.

Everything here blocks; the daemon steps it in a thread, and a verb without a daemon steps it itself.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from openledger_protocol.epoch import Windows, epoch_at
from openledger_protocol.primitives import ZERO_WEI, Address, Wei
from openledger_protocol.signatures import sign_digest
from openledger_protocol.transactions import OutboxLimits

from .chain.client import ChainClient
from .chain.deployment import Deployment
from .chain.faucet import fund
from .chain.outbox import Outbox
from .chain.state import ChainState
from .chain.watcher import Watcher, decode_with
from .config import Config
from .errors import KeyFileError
from .keystore import Key
from .ledger.ledger import Ledger
from .networks import Network
from .settlement.actions import Action, AddStake, AppointSigner
from .settlement.service import SettlementDesk, SettlementPolicy
from .settlement.treasury import Party, Treasury

WATCH_CHUNKS_MAX = 64
"""Chunks of blocks read in one step: after a long absence the rest waits for the next, and money meanwhile moves."""

DEVELOPMENT_COINS_WEI = Wei(10 * 10**18)
DEVELOPMENT_SIGNER_COINS_WEI = Wei(10**18)
DEVELOPMENT_SPARE_WEI = Wei(100 * 10**18)
"""OPEN that a throwaway wallet gets beyond the minimum stake."""


@dataclass(slots=True)
class KeyRing:
    """Keys that may sign just now, by address."""

    keys: dict[Address, Key] = field(default_factory=dict)

    def add(self, *keys: Key) -> None:
        """Let keys sign."""
        self.keys |= {key.address: key for key in keys}

    def sign(self, account: Address, digest: bytes) -> bytes:
        """Sign 32 bytes.

        Raises:
            KeyFileError: the account is locked.
        """
        if account not in self.keys:
            raise KeyFileError(f"{account} is locked: the verb that needs it asks for its password")
        return sign_digest(self.keys[account].private_key, digest)

    def signer(self, account: Address) -> Callable[[bytes], bytes]:
        """What signs for one account."""
        return lambda digest: self.sign(account, digest)


@dataclass(frozen=True, slots=True, kw_only=True)
class Accounts:
    """Who this side of the money is."""

    wallet: Address
    signer: Address
    authorizer: Address


class Economy:
    """The money of one party on one network."""

    def __init__(
        self,
        *,
        network: Network,
        client: ChainClient,
        ledger: Ledger,
        accounts: Accounts,
        ring: KeyRing,
        config: Config,
        fail_point: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.network = network
        self.client = client
        self.ledger = ledger
        self.accounts = accounts
        self.ring = ring
        self.deployment = Deployment(
            client,
            chain_id=network.chain_id,
            addresses=network.contracts,
            deploy_block=network.deploy_block,
        )
        self.windows: Windows = self.deployment.windows()
        self.outbox = Outbox(
            client=client,
            journal=ledger.outbox,
            chain_id=network.chain_id,
            senders=ring.keys,
            sign=ring.sign,
            limits=OutboxLimits(
                fee_max_wei=Wei(config.chain.fee_max_wei), gas_budget_wei=Wei(config.chain.gas_budget_wei)
            ),
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
        self.settlement = SettlementDesk(
            ledger=ledger,
            deployment=self.deployment,
            node=accounts.wallet,
            signer=accounts.signer,
            windows=self.windows,
            policy=_policy(network, config, self.windows),
            fail_point=fail_point,
        )
        self.treasury = Treasury(
            ledger=ledger,
            client=client,
            deployment=self.deployment,
            party=Party(wallet=accounts.wallet, signer=accounts.signer),
            why_not=lambda: self.settlement.why_not,
        )

    @property
    def state(self) -> ChainState:
        """How it goes with the chain: the worse of what outbox and watcher say."""
        states = (self.watcher.state, self.outbox.state)
        return next((state for health in ("halted", "down") for state in states if state.health == health), states[0])

    def step(self) -> None:
        """Read on, want what is due, and send it.

        Raises:
            LedgerError: the ledger can't be written; nothing is lost.
        """
        for _ in range(WATCH_CHUNKS_MAX):
            if not self.watcher.step():
                break
        if self.watcher.state.health == "halted":
            self.outbox.halt(self.watcher.state.why or "the watcher has halted")
            return
        if self.watcher.head and self.watcher.state.health == "ok":
            self.settlement.step(self.watcher.head)
        self.outbox.step()

    def min_stake_wei(self) -> Wei:
        """What must be bonded just now."""
        return self.deployment.params(epoch_at(self.client.head().timestamp_s, self.windows)).min_stake_wei

    def close(self) -> None:
        """Let go of the chain."""
        self.client.close()


def prepare_development(economy: Economy) -> list[str]:
    """On a development network: give the throwaway accounts money, bond, appoint the signer; say what was done.

    Raises:
        ChainError: the chain does not answer.
    """
    done = []
    wallet, signer = economy.accounts.wallet, economy.accounts.signer
    min_stake = economy.min_stake_wei()
    stake = economy.deployment.stake(wallet)
    if economy.deployment.coin_balance(signer) == ZERO_WEI:
        fund(economy.client, economy.network, signer, coin_wei=DEVELOPMENT_SIGNER_COINS_WEI, open_wei=0)
    if stake.bonded_wei == 0 and economy.deployment.token_balance(wallet) < min_stake:
        fund(
            economy.client,
            economy.network,
            wallet,
            coin_wei=DEVELOPMENT_COINS_WEI,
            open_wei=min_stake + DEVELOPMENT_SPARE_WEI,
        )
        done.append("funded the throwaway wallet")
    actions: list[Action] = []
    if stake.bonded_wei < min_stake:
        actions.append(AddStake(amount_wei=Wei(min_stake - stake.bonded_wei)))
    if not economy.deployment.is_signer(wallet, signer):
        actions.append(AppointSigner(signer=signer))
    if actions and not _is_under_way(economy):
        sign = economy.ring.signer(wallet)
        steps = economy.treasury.plan(actions, sign, key=f"start:{time.time_ns()}")
        economy.treasury.want(steps)
        done += [step.intent.summary for step in steps]
    return done


def _is_under_way(economy: Economy) -> bool:
    """Whether an earlier start has begun to bond, and its transactions are on their way."""
    return any(found.intent.key.startswith("start:") for found in economy.ledger.outbox.unfinished())


def _policy(network: Network, config: Config, windows: Windows) -> SettlementPolicy:
    """Gas costs nothing on a development network."""
    settlement = config.settlement
    return SettlementPolicy(
        interval_s=int(settlement.claim_interval_s) or windows.epoch_s,
        coin_price_wei=None if network.is_development else Wei(settlement.coin_price_wei),
    )
