"""Channels that pay this node: one account each, kept in step with the ledger."""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from math import inf
from typing import Final

import trio

from openledger_protocol.channel_tab import Tab
from openledger_protocol.eip712 import Domain
from openledger_protocol.errors import MalformedError, UnavailableError, VoucherRefusedError
from openledger_protocol.payments import (
    ChannelConfig,
    ChannelState,
    SignedVoucher,
    channel_id,
    check_voucher,
)
from openledger_protocol.primitives import ChannelId, RequestId, Wei
from openledger_protocol.wire.inference import SignedReceipt

from ..errors import ChainError, LedgerError
from ..ledger.ledger import Ledger
from .credit import Standing, check_credit, is_good_unasked, limit_wei, secured_wei
from .generations import ChannelGenerations

FAIL_POINTS: Final = ("voucher:checked", "voucher:kept")
"""Points at which a crash test may kill the node, in order."""

SEEN_MAX = 1_000
"""Vouchers remembered per channel, more than can be in transit at once."""

CHAIN_ANSWER_S = 2.0
"""The chain counts as away after this long, if the node can go on without an answer. A payer waits for its chunks."""

AskStanding = Callable[[ChannelId], Awaitable[Standing]]


@dataclass(slots=True, kw_only=True)
class ChannelAccount:
    """A channel's account while the node runs."""

    channel_id: ChannelId
    config: ChannelConfig
    tab: Tab
    floor_wei: Wei  # a voucher up to this ceiling opens no stream: it may be a replay
    told: Standing = field(default_factory=Standing)  # the chain's last answer
    told_ns: int = 0  # time of the question that it answered
    seen: set[Wei] = field(default_factory=set)  # ceilings above the floor of accepted vouchers
    settling: trio.Lock = field(default_factory=trio.Lock)  # receipts of one channel are made one at a time
    changed: trio.Event = field(default_factory=trio.Event)  # replaced at each change of the tab
    num_uncovered: int = 0  # streams that no voucher covers yet
    num_users: int = 0  # streams that hold this object

    @property
    def secured_wei(self) -> Wei:
        """The total that the deposit covered at the last answer of the chain."""
        return secured_wei(self.told)

    def notify(self) -> None:
        """Wake the tasks that wait for a change of the tab."""
        changed, self.changed = self.changed, trio.Event()
        changed.set()

    def see(self, ceiling_wei: Wei) -> None:
        """Remember an accepted voucher. Once there are too many, the lower half moves below the floor."""
        self.seen.add(ceiling_wei)
        if len(self.seen) > SEEN_MAX:
            self.floor_wei = sorted(self.seen)[SEEN_MAX // 2]
            self.seen = {seen for seen in self.seen if seen > self.floor_wei}


class ChannelAccounts:
    """Accounts by channel, created at a payer's first request."""

    def __init__(
        self,
        ledger: Ledger,
        domain: Domain,
        generations: ChannelGenerations,
        credit_wei: Wei,
        ask_standing: AskStanding,
        now_ns: Callable[[], int],
        block_lag_s: float = 0.0,
        fail_point: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._ledger = ledger
        self._domain = domain
        self._generations = generations
        self._credit_wei = credit_wei  # on a deposit that is not final yet
        self._ask_standing = ask_standing
        self._now_ns = now_ns
        self._block_lag_s = block_lag_s  # of our endpoint behind a payer's
        self._fail_point = fail_point
        self._accounts: dict[ChannelId, ChannelAccount] = {}
        self._crediting = trio.Lock()  # two streams must not use the same money

    async def open(self, config: ChannelConfig, last: SignedReceipt | None = None) -> ChannelAccount:
        """Return a channel's account for one stream, which returns it by `close`; `last` is the payer's last receipt.

        Nothing is written yet: a peer that merely names a channel has not paid for a row.

        Raises:
            OldChannelError: the channel is of an earlier generation of the ledger.
            LedgerError: the ledger can't be read or written.
        """
        await self._generations.check(config, last)
        key = channel_id(config, self._domain)
        if key not in self._accounts:
            row = await trio.to_thread.run_sync(self._ledger.channels.find, key)
            tab = Tab(charged_wei=row.charged_wei, ceiling_wei=row.ceiling_wei) if row else Tab()
            made = ChannelAccount(channel_id=key, config=config, tab=tab, floor_wei=tab.ceiling_wei)
            self._accounts.setdefault(key, made)
        account = self._accounts[key]
        account.num_users += 1
        return account

    def close(self, account: ChannelAccount) -> None:
        """Return an account; one that never had a voucher is forgotten."""
        account.num_users -= 1
        if account.num_users == 0 and account.tab.ceiling_wei == 0:
            self._accounts.pop(account.channel_id, None)

    async def admit(
        self, account: ChannelAccount, signed: SignedVoucher, request_id: RequestId, price_wei: Wei
    ) -> None:
        """Admit a stream: its voucher is new, and the channel covers its first chunk, which is reserved.

        A voucher that was seen before opens nothing. Once a claim has published it, it no longer proves that the
        payer agreed to *this* request.

        Raises:
            ProtocolError: it is refused; nothing has changed.
        """
        standing = await self._ask_chain(account)
        if not standing.deposit_latest_wei and self._block_lag_s:
            await trio.sleep(self._block_lag_s)  # the payer asks as soon as its own endpoint has the deposit
            standing = await self._ask_chain(account)
        await self._generations.check_claimed(
            account.config, claimed_wei=standing.claimed_wei, charged_wei=account.tab.charged_wei
        )
        async with self._crediting:
            if request_id in account.tab.running:
                raise MalformedError(f"request {request_id} runs already: an id names one request")
            needed = account.tab.needed_wei(request_id, price_wei)
            check_credit(standing, self._credit_wei, needed_wei=needed)
            ceiling = check_voucher(self._state(account, standing), signed, self._domain)
            _check_unseen(account, signed.voucher.max_claimable_wei)
            await self._keep(account, signed, ceiling)
            account.tab.run_up(request_id, price_wei)

    async def accept(self, account: ChannelAccount, signed: SignedVoucher) -> None:
        """Accept a voucher: check it, store it, and only then rely on it. One that is not higher changes nothing.

        Raises:
            ProtocolError: it is refused; nothing has changed.
        """
        standing = await self._ask_chain(account)
        async with self._crediting:
            ceiling = check_voucher(self._state(account, standing), signed, self._domain)
            if ceiling > account.tab.ceiling_wei:
                await self._keep(account, signed, ceiling)

    async def secured_wei(self, account: ChannelAccount) -> Wei:
        """The total that the channel's deposit covers; the last known value if the chain does not answer."""
        with suppress(UnavailableError):
            await self._ask_chain(account)
        return account.secured_wei

    def settle(self, account: ChannelAccount, request_id: RequestId, amount_wei: Wei) -> None:
        """End a stream whose receipt is committed."""
        account.tab.settle(request_id, amount_wei)
        account.notify()

    def drop(self, account: ChannelAccount, request_id: RequestId) -> None:
        """Forget a stream that ends without a receipt."""
        account.tab.drop(request_id)
        account.notify()

    async def _keep(self, account: ChannelAccount, signed: SignedVoucher, ceiling_wei: Wei) -> None:
        self._fail_point("voucher:checked")
        account.see(signed.voucher.max_claimable_wei)
        if ceiling_wei > account.tab.ceiling_wei:
            await trio.to_thread.run_sync(self._store, account, signed)
            account.tab.ceiling_wei = ceiling_wei
            account.notify()
        self._fail_point("voucher:kept")

    def _store(self, account: ChannelAccount, signed: SignedVoucher) -> None:
        """Store a channel and its highest voucher.

        Raises:
            UnavailableError: the ledger can't be written now.
        """
        try:
            with self._ledger.transaction():
                self._ledger.channels.ensure(account.channel_id, account.config, now_ns=self._now_ns())
                self._ledger.channels.raise_ceiling(signed)
        except LedgerError as error:
            raise UnavailableError("this node's ledger can't be written just now: try again soon") from error

    async def _ask_chain(self, account: ChannelAccount) -> Standing:
        """Ask the chain for the account's state; while it is away, use its last answer as long as that is good.

        Raises:
            UnavailableError: the chain does not answer, and has not answered lately.
        """
        asked_ns = self._now_ns()
        age_s = (asked_ns - account.told_ns) / 10**9
        is_good = is_good_unasked(account.told, age_s=age_s, withdraw_delay_s=account.config.withdraw_delay_s)
        with trio.move_on_after(CHAIN_ANSWER_S if is_good else inf):
            try:
                account.told = await self._ask_standing(account.channel_id)
                account.told_ns = asked_ns
            except ChainError as error:
                if not is_good:
                    raise UnavailableError(
                        "the chain is away, and this node has not seen the channel's deposit lately: try again soon"
                    ) from error
        return account.told

    def _state(self, account: ChannelAccount, standing: Standing) -> ChannelState:
        return ChannelState(
            channel_id=account.channel_id,
            authorizer=account.config.authorizer,
            ceiling_wei=account.tab.ceiling_wei,
            limit_wei=limit_wei(standing, self._credit_wei),
            is_withdrawing=standing.withdrawing_wei > 0,
        )


def _check_unseen(account: ChannelAccount, ceiling_wei: Wei) -> None:
    if ceiling_wei <= account.floor_wei or ceiling_wei in account.seen:
        raise VoucherRefusedError(
            f"the voucher for {ceiling_wei} wei was seen before: a new one opens a stream, if only for 1 wei more"
        )
