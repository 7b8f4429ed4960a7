"""Deposits of a payer: one channel with each seller, opened when needed and topped up in time."""

import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from math import inf

from openledger_protocol.errors import PaymentRequiredError, UnavailableError
from openledger_protocol.generation import SALT_HALF_BYTES, channel_salt, is_of_generation
from openledger_protocol.payments import ChannelConfig, channel_id
from openledger_protocol.primitives import Address, ChannelId, Generation, Wei

from ..chain.dev.constants import DEVELOPMENT_WITHDRAW_DELAY_S
from ..chain.refusals import time_text
from ..errors import ChainError
from ..ledger.channels import Channel
from .actions import Action, OpenChannel, TopUp
from .session import NetworkSession

LOW_DIVISOR = 4
"""A channel with less than 1 / 4 of a deposit left is topped up."""

DELAY_S = 2 * 86_400
DAY_NS = 86_400 * 10**9
CHANNELS_A_DAY_MAX = 4
"""With one node. An honest one needs a second channel after a restore, and a third after another."""

AWAY_AGAIN_S = 5.0
"""While the chain can't be asked, channels are used as they were last seen for so long before it is asked again. A
silent endpoint would hold up each stream."""

DEPOSIT = "deposit:"
PAUSE_S, PAUSES_MAX = 0.2, 75
"""15 s in all, more than a block takes and less than a bid is valid. The next request repeats a refused deposit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Seen:
    """A channel's deposit when the chain was last asked, without a withdrawal pending."""

    deposit_wei: Wei
    at_s: float


class Deposits:
    """Keeps channels funded, so that sellers can be paid. Methods ask the chain and block; any thread may call."""

    def __init__(
        self,
        session: NetworkSession,
        *,
        deposit_wei: Wei,
        pause: Callable[[float], None] = time.sleep,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._session = session
        self._pause = pause
        self._now_s = now_s
        self._deposit_wei = deposit_wei
        self._opening: dict[Address, threading.Lock] = {}  # so that two streams to one node do not open two channels
        self._paying_in = threading.Lock()  # so that two deposits do not sign the same nonce
        self._seen: dict[ChannelId, _Seen] = {}
        self._away_until_s = -inf

    def channel_with(self, node: Address, generation: Generation) -> ChannelConfig:
        """Return a channel with a node whose deposit is in a block. Until it is final, the node answers on credit.

        `generation` is that of the node's ledger: channels of an earlier one are for claims only. While the chain
        can't be asked, the channel is used as it was last seen, for as long as the node may serve on it.

        Raises:
            PaymentRequiredError: there is none, and the wallet is locked or holds too little to open one.
            UnavailableError: no block has the deposit yet, new deposits are stopped, the node's generation changes
                too often, or the node has claimed money without receipts or signed wrong shares.
            ChainError: the chain can't be asked.
        """
        self._session.overclaims.check(node)
        self._session.wrong_shares.check(node)
        opening = self._opening.setdefault(node, threading.Lock())
        if not opening.acquire(blocking=False):
            # Another stream to this node asks the chain now. A silent endpoint must hold up one stream, not all.
            if seen := self._seen_lately(node, generation):
                return seen
            opening.acquire()
        try:
            if self._now_s() < self._away_until_s and (seen := self._seen_lately(node, generation)):
                return seen
            try:
                config, is_open = self._ensure(node, generation)
            except ChainError:
                if seen := self._seen_lately(node, generation):
                    self._away_until_s = self._now_s() + AWAY_AGAIN_S
                    return seen
                raise
        finally:
            opening.release()
        if not is_open:
            self._wait_until_open(config)
        return config

    def _seen_lately(self, node: Address, generation: Generation) -> ChannelConfig | None:
        """A channel that needed no top-up when the chain was last asked, less than half its delay ago.

        Without the chain no top-up is possible, and a request that the rest does not cover would fail for good.
        """
        for row in reversed(self._channels_with(node)):
            seen = self._seen.get(row.channel_id)
            if seen is None or not self._is_of(row, generation):
                continue
            left_wei = seen.deposit_wei - row.ceiling_wei
            if left_wei <= 0 or self._is_low(left_wei):
                continue
            if self._now_s() - seen.at_s < row.config.withdraw_delay_s / 2:
                return row.config
        return None

    def _is_of(self, row: Channel, generation: Generation) -> bool:
        """True if the node of a channel still serves on it, by the generation of its ledger."""
        network = self._session.network.network
        return not row.is_retired and is_of_generation(row.config.salt, network, generation)

    def _ensure(self, node: Address, generation: Generation) -> tuple[ChannelConfig, bool]:
        """A channel with a node, and whether a block has its deposit; opened or topped up if needed."""
        known = self._newest(node, generation)
        if known is None:
            return self._open(node, generation), False
        config, ceiling_wei = known
        key = channel_id(config, self._session.deployment.payments)
        deposit_wei = self._session.deployment.channel(key).deposit_wei
        self._seen[key] = _Seen(deposit_wei=deposit_wei, at_s=self._now_s())
        left_wei = deposit_wei - ceiling_wei
        if self._is_low(left_wei) and not self._is_deposit_under_way(key):
            if left_wei > 0 and self._stopped_until_s():
                return config, True  # what is left can be spent
            self._refill(config, key, is_open=deposit_wei > 0)
        return config, deposit_wei > 0

    def _is_low(self, left_wei: int) -> bool:
        """True if a channel with so much left is topped up."""
        return left_wei < self._deposit_wei // LOW_DIVISOR

    def _wait_until_open(self, config: ChannelConfig) -> None:
        """Wait until a block has the channel's first deposit: no node gives credit before.

        Raises:
            UnavailableError: it takes too long, or the deposit was refused.
        """
        deployment = self._session.deployment
        key = channel_id(config, deployment.payments)
        for _ in range(PAUSES_MAX):
            unfinished = self._session.ledger.outbox.unfinished()
            if deployment.channel(key).deposit_wei:
                return
            if not any(found.intent.key.startswith(_deposit_key(key)) for found in unfinished):
                break  # it was refused
            self._pause(PAUSE_S)
        raise UnavailableError(
            f"no block has the deposit of the channel with {config.node} yet: try again in a moment"
        )

    def _newest(self, node: Address, generation: Generation) -> tuple[ChannelConfig, Wei] | None:
        """The newest usable channel with a node that has no withdrawal pending, and its voucher's ceiling."""
        session = self._session
        for row in reversed(self._channels_with(node)):
            if not self._is_of(row, generation):
                continue
            if not session.deployment.withdrawal(row.channel_id).amount_wei:
                return row.config, row.ceiling_wei
            self._seen.pop(row.channel_id, None)  # its node refuses new streams, so it is of no use without the chain
        return None

    def _channels_with(self, node: Address) -> list[Channel]:
        session = self._session
        return [row for row in session.ledger.channels.of_payer(session.accounts.wallet) if row.config.node == node]

    def _check_patience(self, node: Address) -> None:
        """Require that few channels with the node are young.

        Otherwise a node that names another generation in each bid could lock up all of a payer's money.

        Raises:
            UnavailableError: too many are.
        """
        since_ns = time.time_ns() - DAY_NS
        num_young = sum(row.opened_ns > since_ns for row in self._channels_with(node))
        if num_young >= CHANNELS_A_DAY_MAX:
            raise UnavailableError(
                f"{num_young} channels with {node} were opened within a day, and its ledger has changed again: "
                "no more deposits go to it today"
            )

    def _open(self, node: Address, generation: Generation) -> ChannelConfig:
        self._check_patience(node)
        self._check_deposit()
        accounts = self._session.accounts
        config = ChannelConfig(
            payer=accounts.wallet,
            authorizer=accounts.authorizer,
            node=node,
            withdraw_delay_s=usual_delay_s(self._session),
            salt=channel_salt(self._session.network.network, generation, secrets.token_bytes(SALT_HALF_BYTES)),
        )
        key = channel_id(config, self._session.deployment.payments)
        self._session.ledger.channels.ensure(key, config, now_ns=time.time_ns())
        self._pay_in(OpenChannel(config=config, amount_wei=self._deposit_wei), key)
        return config

    def _refill(self, config: ChannelConfig, key: ChannelId, *, is_open: bool) -> None:
        """Top up; open the channel if its first deposit never arrived."""
        self._check_deposit()
        action = TopUp if is_open else OpenChannel
        self._pay_in(action(config=config, amount_wei=self._deposit_wei), key)

    def _is_deposit_under_way(self, key: ChannelId | None = None) -> bool:
        """True if a deposit to the channel, or to any channel, is in no block yet."""
        start = _deposit_key(key) if key else DEPOSIT
        unfinished = self._session.ledger.outbox.unfinished()
        return any(found.state != "mined" and found.intent.key.startswith(start) for found in unfinished)

    def _stopped_until_s(self) -> int:
        """The end of a stop of new deposits that runs; 0 if they are taken."""
        until_s = self._session.deployment.stopped_until_s()
        return until_s if until_s and self._session.client.head().timestamp_s < until_s else 0

    def _check_deposit(self) -> None:
        session, wallet = self._session, self._session.accounts.wallet
        if until_s := self._stopped_until_s():
            raise UnavailableError(
                f"the guardian has stopped new deposits until {time_text(until_s)}, and no channel with this node "
                "has money left: ask again then, or ask another node"
            )
        if wallet not in session.ring.keys:
            raise PaymentRequiredError(
                "no channel with this node has money left, and the wallet is locked: `openledger-node channels open`"
            )
        if (has_wei := session.deployment.token_balance(wallet)) < self._deposit_wei:
            raise PaymentRequiredError(
                f"a deposit takes {self._deposit_wei} wei, and {wallet} has {has_wei}: send it more OPEN, "
                "or lower [payer] deposit_wei"
            )

    def _pay_in(self, action: Action, key: ChannelId) -> None:
        """Send a deposit, after the previous one is in a block.

        Each deposit has a permit with the wallet's next nonce on the chain. Two at once would have the same nonce,
        and the contract would refuse the second one.
        """
        session, wallet = self._session, self._session.accounts.wallet
        with self._paying_in:
            for _ in range(PAUSES_MAX):
                if not self._is_deposit_under_way():
                    break
                self._pause(PAUSE_S)
            self._check_deposit()  # the deposit before may have taken what was there
            name = f"{_deposit_key(key)}{time.time_ns()}"
            session.send(session.treasury.plan([action], wallet, session.ring.signer(wallet), key=name))


def usual_delay_s(session: NetworkSession) -> int:
    """The delay between a payer's request to withdraw and the withdrawal: two days, within the network's bounds."""
    if session.network.is_development:
        return DEVELOPMENT_WITHDRAW_DELAY_S
    windows = session.windows
    return max(windows.withdraw_delay_min_s, min(DELAY_S, windows.withdraw_delay_max_s))


def _deposit_key(key: ChannelId) -> str:
    return f"{DEPOSIT}{key}:"
