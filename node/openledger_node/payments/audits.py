"""The payer's own audit: the shares of one receipt in N are recomputed before it is countersigned.

A receipt with wrong shares is never countersigned, so the accounts that it names get nothing of it. Its texts are
kept as evidence while the node's stake answers for it. A draw comes after the receipt, or after a stream that broke
off before its receipt, so the node can't know the draw when it signs.
"""

import logging
from collections.abc import Callable

import trio

from openledger_protocol.attribution import Share
from openledger_protocol.commitments import prompt_commit
from openledger_protocol.eip712 import digest_word
from openledger_protocol.errors import ProtocolError
from openledger_protocol.opening import Opening, check_opening
from openledger_protocol.primitives import Address, Digest
from openledger_protocol.rules import SIGNALS_RULE
from openledger_protocol.wire.inference import Countersign, encode

from ..attribution.recount import ShareRecount
from ..attribution.signal_checks import WrongSharesError
from ..contained import contained
from ..errors import LedgerError, NodeError
from ..ledger.audits import Audit, Ruling
from ..ledger.ledger import Ledger
from ..ledger.receipts import ReceiptRow
from ..p2p.streams import MessageStream
from .kept_texts import KeptTexts
from .purchase import Purchase

NS = 10**9
LAST_SEND_TIMEOUT_S = 5.0
"""Longest that a payer tries to hand over a countersignature. A node that did not read it asks for it again."""

log = logging.getLogger(__name__)


class ReceiptAudits:
    """Draws receipts, recomputes their shares in the background, and only then countersigns them."""

    def __init__(
        self,
        *,
        ledger: Ledger,
        texts: KeptTexts,
        recount: ShareRecount,
        sign: Callable[[bytes], bytes],
        one_in: int,
        liable_s: int,
        draw_below: Callable[[int], int],
        now_ns: Callable[[], int],
    ) -> None:
        self._ledger = ledger
        self._texts = texts
        self._recount = recount
        self._sign = sign
        self._one_in = one_in  # 0 draws none
        self._liable_s = liable_s  # for which a node's stake answers for a receipt
        self._draw_below = draw_below  # a random number below another; no peer may foresee it
        self._now_ns = now_ns
        self._thread = trio.CapacityLimiter(1)  # a large index takes seconds and memory
        self._judging = set[Digest]()
        self._nursery: trio.Nursery | None = None

    async def run(self, *, task_status: "trio.TaskStatus[None]" = trio.TASK_STATUS_IGNORED) -> None:
        """Run audits until cancelled, first those that the last run has left open."""
        try:
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                nursery.start_soon(contained, self._catch_up)
                nursery.start_soon(self._texts.forget_in_time)
                task_status.started()
                await trio.sleep_forever()
        finally:
            self._nursery = None

    def start(self, digest: Digest, messages: MessageStream, *, closes: bool) -> bool:
        """Audit a drawn receipt, and send its countersignature unless its shares are wrong.

        `closes` closes the stream then. False if audits have ended: the next start takes up those that are open.
        """
        if self._nursery is None:
            return False
        self._nursery.start_soon(contained, self._countersign, digest, messages, closes)
        return True

    def draw(self, purchase: Purchase) -> bool:
        """Decide whether the receipt of a purchase that has ended is audited. The base alone has no shares."""
        if not purchase.datanet_ids:
            return False
        return self._one_in > 0 and self._draw_below(self._one_in) == 0

    def begin(self, row: ReceiptRow, node: Address, exchange: Opening) -> None:
        """Store that a receipt was drawn, and its exchange; call it in the transaction that stores the receipt."""
        until_s = max(row.receipt.issued_at_s, self._now_ns() // NS) + self._liable_s  # an early date hides nothing
        self._ledger.audits.begin(Audit(digest=row.digest, node=node, until_s=until_s))
        self._texts.hold(row.digest, exchange, until_s=until_s)
        self._texts.release(row.receipt.work.prompt_commit)  # if it was held while there was no receipt

    # ---- streams that broke off before their receipt

    async def hold_lost(self, purchase: Purchase, exchange: Opening) -> None:
        """Draw a purchase whose receipt has not come, and hold its exchange.

        Otherwise a node would send receipts with wrong shares only later, when nobody has the texts any more. A late
        receipt by poa-v3 comes without its signals, and only a replay can check it. So each one is drawn, unless this
        payer draws none at all.
        """
        is_by_signals = purchase.algo_id == SIGNALS_RULE and bool(purchase.datanet_ids) and self._one_in > 0
        if is_by_signals or self.draw(purchase):
            with trio.CancelScope(shield=True):
                await trio.to_thread.run_sync(self._hold_lost, exchange)

    async def find_lost(self, commit: Digest) -> Opening | None:
        """The exchange of a drawn purchase by its prompt commitment; None if it was not drawn."""
        try:
            return await trio.to_thread.run_sync(self._texts.find, commit)
        except NodeError as error:
            log.warning("an exchange that was drawn for an audit can't be read: %s", error)
            return None

    def _hold_lost(self, exchange: Opening) -> None:
        commit = prompt_commit(exchange.salts.prompt, exchange.messages, exchange.sampling, exchange.tooling)
        try:
            self._texts.hold(commit, exchange, until_s=self._now_ns() // NS + self._liable_s)
        except LedgerError as error:
            log.warning("an exchange that was drawn for an audit could not be kept: %s", error)

    # ---- the audit itself

    async def _catch_up(self) -> None:
        for audit in await trio.to_thread.run_sync(self._ledger.audits.open):
            await contained(self._judge_once, audit.digest)

    async def countersign(self, digest: Digest, messages: MessageStream) -> None:
        """Audit a drawn receipt now, and send its countersignature unless its shares are wrong."""
        if signature := await self._judge_once(digest):
            await messages.offer(encode(Countersign(signature=signature)), timeout_s=LAST_SEND_TIMEOUT_S)

    async def _countersign(self, digest: Digest, messages: MessageStream, closes: bool) -> None:
        try:
            await self.countersign(digest, messages)
        finally:
            if closes:
                await messages.aclose_shielded()

    async def _judge_once(self, digest: Digest) -> bytes | None:
        """The countersignature of a receipt; None if its shares are wrong, or another task recomputes them now."""
        if digest in self._judging:
            return None
        self._judging.add(digest)
        try:
            return await trio.to_thread.run_sync(self._judge, digest, abandon_on_cancel=True, limiter=self._thread)
        finally:
            self._judging.discard(digest)

    def _judge(self, digest: Digest) -> bytes | None:
        audit = self._ledger.audits.find(digest)
        (row,) = self._ledger.receipts.find(digest)
        if audit and audit.verdict is None:
            self._end(row, audit, self._rule(row))
            (row,) = self._ledger.receipts.find(digest)
        return row.countersignature

    def _rule(self, row: ReceiptRow) -> Ruling:
        try:
            exchange = self._texts.find(row.digest)
            if exchange is None:
                return Ruling(verdict="unknown", detail="its texts are no longer here")
            check_opening(exchange, row.receipt)
            if row.receipt.algo_id == SIGNALS_RULE:
                return self._rule_by_signals(row, exchange)
            expected = self._recount.shares_of(row.receipt, exchange.messages, exchange.text)
        except (NodeError, ProtocolError) as error:
            return Ruling(verdict="unknown", detail=str(error))
        if expected == row.shares:
            return Ruling(verdict="right", detail="recomputed to the same integers")
        detail = difference(row.shares, expected)
        return Ruling(verdict="wrong", detail=detail)

    def _rule_by_signals(self, row: ReceiptRow, exchange: Opening) -> Ruling:
        try:
            said = self._recount.check_signals(row.receipt, row.shares, exchange)
        except WrongSharesError as error:
            return Ruling(verdict="wrong", detail=str(error))
        return Ruling(verdict="right", detail=said)

    def _end(self, row: ReceiptRow, audit: Audit, ruling: Ruling) -> None:
        """Store a verdict and, unless it is wrong, the countersignature, before anybody can see either."""
        with self._ledger.transaction():
            self._ledger.audits.end(row.digest, ruling)
            if ruling.verdict != "wrong":
                self._ledger.receipts.countersign(row.digest, self._sign(digest_word(row.digest)))
                self._texts.release(row.digest)
        if ruling.verdict == "wrong":
            log.error("%s signed wrong shares in receipt %s: %s", audit.node, row.digest, ruling.detail)


def difference(signed: tuple[Share, ...], expected: tuple[Share, ...]) -> str:
    """Name the first share that differs, and how many do."""
    told, right = ({(each.datanet_id, each.account): each.ppm for each in shares} for shares in (signed, expected))
    differing = sorted(key for key in told.keys() | right.keys() if told.get(key) != right.get(key))
    if not differing:
        return "the shares are right, but in another order"
    first, num_more = differing[0], len(differing) - 1
    more = f", and {num_more} more differ" if num_more else ""
    return (
        f"it gives {first[1]} {told.get(first, 0):,} ppm of Datanet {first[0][:10]}…, and "
        f"{right.get(first, 0):,} are right{more}"
    )
