"""Channels that pay this node: an account for each lane, kept in step with the ledger."""

from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import inf
from typing import Final

import trio

from openledger_protocol.eip712 import Domain
from openledger_protocol.errors import MalformedError, UnavailableError, VoucherRefusedError
from openledger_protocol.lane_tab import Tab
from openledger_protocol.payments import (
    ChannelConfig,
    LaneState,
    SignedVoucher,
    channel_id,
    check_voucher,
)
from openledger_protocol.primitives import ZERO_WEI, AdapterId, ChannelId, RequestId, Wei
from openledger_protocol.wire.inference import SignedReceipt

from ..errors import ChainError, LedgerError
from ..ledger.channels import Channel
from ..ledger.ledger import Ledger
from .credit import Standing, check_credit, is_good_unasked, limit_wei
from .generations import ChannelGenerations

FAIL_POINTS: Final = ("voucher:checked", "voucher:kept")
"""Points at which a crash test may kill the node, in order."""

SEEN_MAX = 1_000
"""Vouchers remembered per lane, more than can be in transit at once."""

CHAIN_ANSWER_S = 2.0
"""The chain counts as away after this long, if the node can go on without an answer. A payer waits for its chunks."""

AskStanding = Callable[[ChannelId], Awaitable[Standing]]


@dataclass(slots=True, kw_only=True, eq=False)
class ChannelAccount:
    """A channel while the node runs: its lanes, and what the chain says of its deposit."""

    channel_id: ChannelId
    config: ChannelConfig
    lanes: "dict[AdapterId, LaneAccount]" = field(default_factory=dict)
    told: Standing = field(default_factory=Standing)  # the chain's last answer
    told_ns: int = 0  # time of the question that it answered
    num_uncovered: int = 0  # streams that no voucher covers yet
    streams: set[RequestId] = field(default_factory=set)  # running ones, whose receipts are on their way
    looking: trio.Lock = field(default_factory=trio.Lock)  # streams opened together need one look at the chain

    @property
    def is_known(self) -> bool:
        """True if the chain or an accepted voucher has shown that there is money behind it."""
        return self.told.deposit_latest_wei > 0 or self.ceiling_wei > 0

    @property
    def charged_wei(self) -> Wei:
        """The sum of all receipts."""
        return Wei(sum(lane.tab.charged_wei for lane in self.lanes.values()))

    @property
    def ceiling_wei(self) -> Wei:
        """The most that may be claimed of the channel by its vouchers."""
        return Wei(sum(lane.tab.ceiling_wei for lane in self.lanes.values()))

    def lane(self, adapter_id: AdapterId) -> "LaneAccount":
        """The account of an adapter's lane, made now if there is none yet."""
        return self.lanes.setdefault(adapter_id, LaneAccount(channel=self, adapter_id=adapter_id))


@dataclass(slots=True, kw_only=True, eq=False)
class LaneAccount:
    """A lane's account while the node runs."""

    channel: ChannelAccount = field(repr=False)
    adapter_id: AdapterId
    tab: Tab = field(default_factory=Tab)
    floor_wei: Wei = ZERO_WEI  # a voucher up to this ceiling opens no stream: it may be a replay
    seen: set[Wei] = field(default_factory=set)  # ceilings above the floor of accepted vouchers
    settling: trio.Lock = field(default_factory=trio.Lock)  # receipts of one lane are made one at a time
    changed: trio.Event = field(default_factory=trio.Event)  # replaced at each change of the tab
    num_users: int = 0  # streams that hold this object

    @property
    def beside_wei(self) -> Wei:
        """The most that may be claimed of the channel by its other lanes."""
        return Wei(self.channel.ceiling_wei - self.tab.ceiling_wei)

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
    """Accounts by channel and lane, created at a payer's first request."""

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
        self._served: Counter[tuple[ChannelId, RequestId]] = Counter()  # requests that have come and not ended
        self._crediting = trio.Lock()  # two streams must not use the same money

    async def open(
        self, config: ChannelConfig, adapter_id: AdapterId, last: SignedReceipt | None = None
    ) -> LaneAccount:
        """Return a lane's account for one stream, which returns it by `close`; `last` is the payer's last receipt.

        Nothing is written yet: a peer that merely names a channel has not paid for a row.

        Raises:
            OldChannelError: the channel is of an earlier generation of the ledger.
            LedgerError: the ledger can't be read or written.
        """
        await self._generations.check(config, last)
        key = channel_id(config, self._domain)
        if key not in self._accounts:
            row = await trio.to_thread.run_sync(self._ledger.channels.find, key)
            self._accounts.setdefault(key, _account(key, config, row))
        lane = self._accounts[key].lane(adapter_id)
        lane.num_users += 1
        return lane

    def close(self, lane: LaneAccount) -> None:
        """Return an account; a lane that never had a voucher is forgotten, and so is a channel without lanes."""
        channel = lane.channel
        lane.num_users -= 1
        if lane.num_users == 0 and lane.tab.ceiling_wei == 0:
            channel.lanes.pop(lane.adapter_id, None)
        if not channel.lanes:
            self._accounts.pop(channel.channel_id, None)

    @contextmanager
    def serving(self, config: ChannelConfig, request_id: RequestId) -> Iterator[None]:
        """Count a request as running from its first message on: it may wait for the chain before it is admitted."""
        served = channel_id(config, self._domain), request_id
        self._served[served] += 1
        try:
            yield
        finally:
            self._served[served] -= 1
            if not self._served[served]:
                del self._served[served]

    def running(self, channel_id: ChannelId) -> set[RequestId]:
        """The requests of a channel that are being served, so that their receipts may still be made."""
        return {request_id for key, request_id in self._served if key == channel_id}

    async def was_paid_in(self, channel: ChannelAccount) -> bool:
        """True if this node has read in a block that the channel was opened, and in none that it was withdrawn."""
        find, key = self._ledger.events.find, {"channelId": channel.channel_id}
        opened = await trio.to_thread.run_sync(find, "ChannelOpened", key)
        return bool(opened) and not await trio.to_thread.run_sync(find, "WithdrawFinished", key)

    async def standing_of(self, lane: LaneAccount) -> Standing:
        """The chain's state of a channel; one without a deposit is asked for twice.

        Raises:
            UnavailableError: the chain does not answer, and has not answered lately.
        """
        standing = await self._ask_chain(lane.channel)
        if not standing.deposit_latest_wei and self._block_lag_s:
            await trio.sleep(self._block_lag_s)  # the payer asks as soon as its own endpoint has the deposit
            standing = await self._ask_chain(lane.channel)
        return standing

    async def admit(
        self,
        lane: LaneAccount,
        signed: SignedVoucher,
        request_id: RequestId,
        price_wei: Wei,
        standing: Standing | None = None,
    ) -> None:
        """Admit a stream: its voucher is new, and the channel covers its first chunk, which is reserved.

        A voucher that was seen before opens nothing. Once a claim has published it, it no longer proves that the
        payer agreed to *this* request.

        Raises:
            ProtocolError: it is refused; nothing has changed.
        """
        channel = lane.channel
        standing = standing or await self.standing_of(lane)
        await self._generations.check_claimed(
            channel.config, claimed_wei=standing.claimed_wei, charged_wei=channel.charged_wei
        )
        async with self._crediting:
            if request_id in lane.tab.running:
                raise MalformedError(f"request {request_id} runs already: an id names one request")
            needed = Wei(lane.beside_wei + lane.tab.needed_wei(request_id, price_wei))
            check_credit(standing, self._credit_wei, needed_wei=needed)
            ceiling = check_voucher(self._state(lane, standing), signed, self._domain)
            _check_unseen(lane, signed.voucher.max_claimable_wei)
            await self._keep(lane, signed, ceiling)
            lane.tab.run_up(request_id, price_wei)

    async def accept(self, lane: LaneAccount, signed: SignedVoucher) -> None:
        """Accept a voucher: check it, store it, and only then rely on it. One that is not higher changes nothing.

        Raises:
            ProtocolError: it is refused; nothing has changed.
        """
        standing = await self._ask_chain(lane.channel)
        async with self._crediting:
            ceiling = check_voucher(self._state(lane, standing), signed, self._domain)
            if ceiling > lane.tab.ceiling_wei:
                await self._keep(lane, signed, ceiling)

    def settle(self, lane: LaneAccount, request_id: RequestId, amount_wei: Wei) -> None:
        """End a stream whose receipt is committed."""
        lane.tab.settle(request_id, amount_wei)
        lane.notify()

    def drop(self, lane: LaneAccount, request_id: RequestId) -> None:
        """Forget a stream that ends without a receipt."""
        lane.tab.drop(request_id)
        lane.notify()

    async def _keep(self, lane: LaneAccount, signed: SignedVoucher, ceiling_wei: Wei) -> None:
        self._fail_point("voucher:checked")
        lane.see(signed.voucher.max_claimable_wei)
        if ceiling_wei > lane.tab.ceiling_wei:
            await trio.to_thread.run_sync(self._store, lane.channel, signed)
            lane.tab.ceiling_wei = ceiling_wei
            lane.notify()
        self._fail_point("voucher:kept")

    def _store(self, channel: ChannelAccount, signed: SignedVoucher) -> None:
        """Store a channel and its lane's highest voucher.

        Raises:
            UnavailableError: the ledger can't be written now.
        """
        try:
            with self._ledger.transaction():
                self._ledger.channels.ensure(channel.channel_id, channel.config, now_ns=self._now_ns())
                self._ledger.channels.raise_ceiling(signed)
        except LedgerError as error:
            raise UnavailableError("this node's ledger can't be written just now: try again soon") from error

    async def _ask_chain(self, channel: ChannelAccount) -> Standing:
        """Ask the chain for the channel's state; while it is away, use its last answer as long as that is good.

        Raises:
            UnavailableError: the chain does not answer, and has not answered lately.
        """
        asked_ns = self._now_ns()
        age_s = (asked_ns - channel.told_ns) / 10**9
        is_good = is_good_unasked(channel.told, age_s=age_s, withdraw_delay_s=channel.config.withdraw_delay_s)
        with trio.move_on_after(CHAIN_ANSWER_S if is_good else inf):
            try:
                channel.told = await self._ask_standing(channel.channel_id)
                channel.told_ns = asked_ns
            except ChainError as error:
                if not is_good:
                    raise UnavailableError(
                        "the chain is away, and this node has not seen the channel's deposit lately: try again soon"
                    ) from error
        return channel.told

    def _state(self, lane: LaneAccount, standing: Standing) -> LaneState:
        return LaneState(
            channel_id=lane.channel.channel_id,
            adapter_id=lane.adapter_id,
            authorizer=lane.channel.config.authorizer,
            ceiling_wei=lane.tab.ceiling_wei,
            # Σ of what the lanes were claimed of is `claimed`, so it stands on both sides and cancels out.
            limit_wei=Wei(max(0, limit_wei(standing, self._credit_wei) - lane.beside_wei)),
            is_withdrawing=standing.withdrawing_wei > 0,
        )


def _account(channel_id: ChannelId, config: ChannelConfig, row: Channel | None) -> ChannelAccount:
    """Make a channel's account from its row in the ledger."""
    made = ChannelAccount(channel_id=channel_id, config=config)
    for lane in row.lanes if row else ():
        tab = Tab(charged_wei=lane.charged_wei, ceiling_wei=lane.ceiling_wei)
        made.lanes[lane.adapter_id] = LaneAccount(
            channel=made, adapter_id=lane.adapter_id, tab=tab, floor_wei=tab.ceiling_wei
        )
    return made


def _check_unseen(lane: LaneAccount, ceiling_wei: Wei) -> None:
    if ceiling_wei <= lane.floor_wei or ceiling_wei in lane.seen:
        raise VoucherRefusedError(
            f"the voucher for {ceiling_wei} wei was seen before: a new one opens a stream, if only for 1 wei more"
        )
