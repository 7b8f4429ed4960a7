"""The buyer's side of receipts that did not come: it asks their sellers for them, a few times, and then gives up.

A seller makes the receipt of an answer that broke off, unless it died on the way. The receipt is how contributors are
paid, and it shows the buyer what the answer cost. The rule is in `docs/explanation/money.md`.
"""

import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import groupby
from typing import Final

import trio

from openledger_protocol.codec import DATA_FRAME_BYTES_MAX
from openledger_protocol.constants import RECEIPTS_OPEN_MAX
from openledger_protocol.errors import BadSignatureError, ProtocolError, StaleError
from openledger_protocol.payments import ChannelConfig
from openledger_protocol.primitives import Address, ChannelId, RequestId

from ..beats import sleep_to_beat
from ..errors import LedgerError, NetworkError
from ..ledger.bought import OpenPurchase
from ..ledger.sellers import Sellers
from ..p2p.streams import MessageStream
from .countersigning import Countersigner
from .payer_lanes import PayerLanes
from .purchase import Agreed
from .spending_limit import SpendingLimit

LOOK_S: Final = 15.0
ASK_AFTER_S: Final = (15, 60, 300, 1_800, 7_200, 21_600)
"""A seller is asked so long after a stream to it was lost, or after a restart of this node. Then no more."""

ASKED_S: Final = 43_200
"""Nobody is asked for the receipt of an answer that began longer ago."""

ANSWER_S: Final = 15.0
WITHHELD_AFTER_S: Final = 300
"""A seller may be making the receipt for so long, because it may not have noticed that the stream is lost."""

WITHHELD_MAX: Final = 2
"""A seller that was reached so often and neither showed a right receipt nor said that there is none has failed."""

Reach = Callable[[Address], Awaitable[trio.abc.Stream | None]]
"""Opens a stream to the seller with this wallet; None if it can't be reached now."""

Key = tuple[RequestId, ChannelId]

log = logging.getLogger(__name__)


@dataclass(slots=True, kw_only=True)
class _Awaited:
    """A purchase without its receipt in this run of the node."""

    lost_s: int  # when it was first seen
    num_asked: int = 0

    def is_due(self, now_s: int) -> bool:
        """True if its seller should be asked now."""
        return self.num_asked < len(ASK_AFTER_S) and now_s >= self.lost_s + ASK_AFTER_S[self.num_asked]


class LateReceipts:
    """Asks sellers for the receipts of answers that ended without one."""

    def __init__(
        self,
        *,
        lanes: PayerLanes,
        countersigner: Countersigner,
        reach: Reach,
        spending_limit: SpendingLimit,
        sellers: Sellers,
        now_ns: Callable[[], int],
    ) -> None:
        self._lanes = lanes
        self._countersigner = countersigner
        self._reach = reach
        self._spending_limit = spending_limit
        self._sellers = sellers
        self._now_ns = now_ns
        self._seen: dict[Key, _Awaited] = {}

    async def run(self) -> None:
        """Ask until cancelled."""
        while True:
            await sleep_to_beat(LOOK_S)
            try:
                await self.look()
            except LedgerError as error:  # a full disk, say; the next look tries again
                log.warning("receipts that did not come are not asked for now: %s", error)

    async def look(self) -> None:
        """Ask each seller that is due."""
        now_s = self._now_s()
        found = [
            (config, purchase)
            for config, purchase in await self._lanes.lost_since(now_s - ASKED_S)
            if not is_over(purchase)
        ]
        keys = {_key(purchase) for _, purchase in found}
        self._seen = {key: seen for key, seen in self._seen.items() if key in keys}
        due = [pair for pair in found if self._seen.setdefault(_key(pair[1]), _Awaited(lost_s=now_s)).is_due(now_s)]
        due.sort(key=lambda pair: pair[1].channel_id)
        for _, pairs in groupby(due, key=lambda pair: pair[1].channel_id):
            of_channel = list(pairs)[:RECEIPTS_OPEN_MAX]
            await self._ask(of_channel[0][0], [purchase for _, purchase in of_channel])

    async def _ask(self, config: ChannelConfig, purchases: Sequence[OpenPurchase]) -> None:
        """Ask one seller, and note its answer on each purchase."""
        for purchase in purchases:
            self._seen[_key(purchase)].num_asked += 1
        stream = await self._reach(config.node)
        if stream is None:
            return
        messages = MessageStream(stream, frame_bytes_max=DATA_FRAME_BYTES_MAX)
        missing: tuple[RequestId, ...] = ()
        was_answered = False
        try:
            with trio.move_on_after(ANSWER_S):
                ids = [purchase.request_id for purchase in purchases]
                missing = await self._countersigner.ask(config, ids, messages)
                was_answered = True
        except NetworkError:
            return
        except ProtocolError as error:
            log.info("%s does not show its receipts: %s", config.node, error.message)
            # It is busy, one of the two clocks is wrong, or this node has another key since it paid.
            if error.retryable or isinstance(error, StaleError | BadSignatureError):
                return
            was_answered = True
        finally:
            await messages.aclose_shielded()
        if was_answered:
            await self._note(config.node, purchases, missing)

    async def _note(self, node: Address, purchases: Sequence[OpenPurchase], missing: tuple[RequestId, ...]) -> None:
        has_failed = False
        for purchase in purchases:
            if await self._lanes.agreed(purchase.request_id, purchase.channel_id) is None:
                continue  # its receipt has come
            if purchase.request_id in missing:
                await self._lanes.change(changed(purchase, is_forgone=True))
                self._spending_limit.release(purchase.request_id, purchase.most_wei)
            elif self._now_s() >= self._seen[_key(purchase)].lost_s + WITHHELD_AFTER_S:
                agreed = Agreed.from_plain(purchase.agreed)
                withheld = changed(purchase, num_withheld=agreed.num_withheld + 1)
                await self._lanes.change(withheld)
                # A wrong receipt of a whole answer has counted as a failure when it came.
                has_failed |= is_over(withheld) and agreed.work is None
        if has_failed:
            log.warning("%s does not show the receipt of an answer that broke off, which counts as a failure", node)
            note = partial(self._sellers.note, node, "failures", now_ns=self._now_ns(), is_default=True)
            await trio.to_thread.run_sync(note)

    def _now_s(self) -> int:
        return self._now_ns() // 10**9


def is_over(purchase: OpenPurchase) -> bool:
    """True if the seller is not asked any more."""
    agreed = Agreed.from_plain(purchase.agreed)
    return agreed.is_forgone or agreed.num_withheld >= WITHHELD_MAX


def changed(purchase: OpenPurchase, **fields: object) -> OpenPurchase:
    """The purchase with these fields of its agreement changed."""
    return replace(purchase, agreed={**purchase.agreed, **fields})


def _key(purchase: OpenPurchase) -> Key:
    return purchase.request_id, purchase.channel_id
