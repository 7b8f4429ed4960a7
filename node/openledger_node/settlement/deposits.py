"""Deposits of a payer: a channel with each node that is paid, opened when it is needed and topped up in time."""

import secrets
import threading
import time

from openledger_protocol.errors import PaymentRequiredError
from openledger_protocol.payments import ChannelConfig, channel_id
from openledger_protocol.primitives import Address, ChannelId, Salt, Wei

from ..chain.dev.constants import DEVELOPMENT_WITHDRAW_DELAY_S
from .actions import Action, OpenChannel, TopUp
from .session import NetworkSession

LOW_DIVISOR = 4
"""A channel with less than this part of a deposit left is topped up."""

DELAY_S = 2 * 86_400


class Deposits:
    """Sees to it that a node can be paid; blocks while it asks the chain. Any thread may call."""

    def __init__(self, economy: NetworkSession, *, deposit_wei: Wei) -> None:
        self._economy = economy
        self._deposit_wei = deposit_wei
        self._opening = threading.Lock()  # two streams to one node share one channel

    def channel_with(self, node: Address) -> ChannelConfig:
        """A channel with a node, open or about to be: the first answer comes on credit meanwhile.

        Raises:
            PaymentRequiredError: there is none, and the wallet is locked or holds too little to open one.
            ChainError: the chain can't be asked.
        """
        with self._opening:
            known = self._newest(node)
            if known is None:
                return self._open(node)
            config, ceiling_wei = known
            key = channel_id(config, self._economy.deployment.payments)
            deposit_wei = self._economy.deployment.channel(key).deposit_wei
            if deposit_wei - ceiling_wei < self._deposit_wei // LOW_DIVISOR and not self._is_paying_in(key):
                self._refill(config, key, is_open=deposit_wei > 0)
            return config

    def _newest(self, node: Address) -> tuple[ChannelConfig, Wei] | None:
        """The newest channel with a node that is not being withdrawn from, and what is signed away on it."""
        economy = self._economy
        rows = [row for row in economy.ledger.channels.of_payer(economy.accounts.wallet) if row.config.node == node]
        for row in reversed(rows):
            if not economy.deployment.withdrawal(row.channel_id).amount_wei:
                return row.config, row.ceiling_wei
        return None

    def _open(self, node: Address) -> ChannelConfig:
        self._check_means()
        accounts = self._economy.accounts
        config = ChannelConfig(
            payer=accounts.wallet,
            authorizer=accounts.authorizer,
            node=node,
            withdraw_delay_s=usual_delay_s(self._economy),
            salt=Salt("0x" + secrets.token_hex(32)),
        )
        key = channel_id(config, self._economy.deployment.payments)
        self._economy.ledger.channels.ensure(key, config, now_ns=time.time_ns())
        self._pay_in(OpenChannel(config=config, amount_wei=self._deposit_wei), key)
        return config

    def _refill(self, config: ChannelConfig, key: ChannelId, *, is_open: bool) -> None:
        """Top up; a channel whose first deposit never came is opened now."""
        self._check_means()
        action = TopUp if is_open else OpenChannel
        self._pay_in(action(config=config, amount_wei=self._deposit_wei), key)

    def _is_paying_in(self, key: ChannelId) -> bool:
        """Whether a deposit is on its way to a channel."""
        unfinished = self._economy.ledger.outbox.unfinished()
        return any(found.state != "mined" and found.intent.key.startswith(_deposit_key(key)) for found in unfinished)

    def _check_means(self) -> None:
        economy, wallet = self._economy, self._economy.accounts.wallet
        if wallet not in economy.ring.keys:
            raise PaymentRequiredError(
                "no channel with this node has money left, and the wallet is locked: `openledger-node channels open`"
            )
        if (has_wei := economy.deployment.token_balance(wallet)) < self._deposit_wei:
            raise PaymentRequiredError(
                f"a deposit takes {self._deposit_wei} wei, and {wallet} has {has_wei}: send it more OPEN, "
                "or lower [payer] deposit_wei"
            )

    def _pay_in(self, action: Action, key: ChannelId) -> None:
        economy, wallet = self._economy, self._economy.accounts.wallet
        name = f"{_deposit_key(key)}{time.time_ns()}"
        economy.send(economy.treasury.plan([action], wallet, economy.ring.signer(wallet), key=name))


def usual_delay_s(economy: NetworkSession) -> int:
    """How long a node has from a payer's wish to withdraw to the withdrawal: two days, where that is allowed."""
    if economy.network.is_development:
        return DEVELOPMENT_WITHDRAW_DELAY_S
    windows = economy.windows
    return max(windows.withdraw_delay_min_s, min(DELAY_S, windows.withdraw_delay_max_s))


def _deposit_key(key: ChannelId) -> str:
    return f"deposit:{key}:"
