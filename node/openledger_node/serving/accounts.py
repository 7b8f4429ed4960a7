"""The channels that this node is paid through: one account each, kept in step with the ledger."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import trio

from openledger_protocol.eip712 import Domain
from openledger_protocol.payments import (
    ChannelConfig,
    ChannelState,
    SignedVoucher,
    channel_id,
    check_voucher,
)
from openledger_protocol.primitives import Address, ChannelId, RequestId, Wei
from openledger_protocol.tab import Tab

from ..ledger.ledger import Ledger
from .credit import DAY_S, CreditPolicy, Record, Standing, check_credit, limit_wei, secured_wei

AskStanding = Callable[[ChannelId, ChannelConfig], Awaitable[Standing]]


@dataclass(slots=True, kw_only=True)
class Account:
    """One channel while the node runs."""

    channel_id: ChannelId
    config: ChannelConfig
    tab: Tab
    settling: trio.Lock = field(default_factory=trio.Lock)  # receipts of one channel are made one after the other
    raised: trio.Event = field(default_factory=trio.Event)  # replaced at each higher voucher


class Accounts:
    """Accounts by channel, made at a payer's first request."""

    def __init__(
        self,
        ledger: Ledger,
        domain: Domain,
        policy: CreditPolicy,
        ask_standing: AskStanding,
        now_ns: Callable[[], int],
    ) -> None:
        self._ledger = ledger
        self._domain = domain
        self._policy = policy
        self._ask_standing = ask_standing
        self._now_ns = now_ns
        self._accounts: dict[ChannelId, Account] = {}

    async def open(self, config: ChannelConfig) -> Account:
        """The account of a channel."""
        key = channel_id(config, self._domain)
        if key not in self._accounts:
            row = await trio.to_thread.run_sync(
                lambda: self._ledger.channels.ensure(key, config, now_ns=self._now_ns())
            )
            tab = Tab(charged_wei=row.charged_wei, ceiling_wei=row.ceiling_wei)
            self._accounts.setdefault(key, Account(channel_id=key, config=config, tab=tab))
        return self._accounts[key]

    async def accept(self, account: Account, signed: SignedVoucher) -> None:
        """Take a voucher: checked, kept, and only then relied on.

        Raises:
            ProtocolError: it is refused; nothing has changed.
        """
        if signed.voucher.max_claimable_wei <= account.tab.ceiling_wei:
            return
        standing, record = await self._look(account)
        state = self._state(account, standing, record)
        ceiling = check_voucher(state, signed, self._domain)
        await trio.to_thread.run_sync(self._ledger.channels.raise_ceiling, signed)
        account.tab.ceiling_wei = max(ceiling, account.tab.ceiling_wei)
        raised, account.raised = account.raised, trio.Event()
        raised.set()

    async def check_credit(self, account: Account, needed_wei: Wei) -> None:
        """Require that the channel is good for `needed_wei` in all, by deposit or by credit.

        Raises:
            PaymentRequiredError: it is not.
        """
        standing, record = await self._look(account)
        check_credit(standing, self._policy, record, charged_wei=account.tab.charged_wei, needed_wei=needed_wei)

    async def secured_wei(self, account: Account) -> Wei:
        """What the channel's deposit covers, in all."""
        standing, _ = await self._look(account)
        return secured_wei(standing)

    def drop(self, account: Account, request_id: RequestId) -> None:
        """Forget a stream that ends without a receipt."""
        account.tab.drop(request_id)

    async def _look(self, account: Account) -> tuple[Standing, Record]:
        standing = await self._ask_standing(account.channel_id, account.config)
        return standing, await trio.to_thread.run_sync(self._remember, account.config.payer, standing)

    def _remember(self, payer: Address, standing: Standing) -> Record:
        """What the ledger says of a payer: a UTC day's credit, and whether an older day's was never covered."""
        today_ns = self._now_ns() // (DAY_S * 10**9) * DAY_S * 10**9
        receipts = self._ledger.receipts
        return Record(
            unsecured_today_wei=receipts.unsecured(since_ns=today_ns, payer=payer),
            unsecured_today_total_wei=receipts.unsecured(since_ns=today_ns),
            has_defaulted=standing.deposit_latest_wei == 0
            and receipts.unsecured(since_ns=0, payer=payer) > receipts.unsecured(since_ns=today_ns, payer=payer),
        )

    def _state(self, account: Account, standing: Standing, record: Record) -> ChannelState:
        return ChannelState(
            channel_id=account.channel_id,
            authorizer=account.config.authorizer,
            ceiling_wei=account.tab.ceiling_wei,
            limit_wei=limit_wei(standing, self._policy, record, charged_wei=account.tab.charged_wei),
            is_withdrawing=standing.withdrawing_wei > 0,
        )
