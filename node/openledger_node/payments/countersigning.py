"""The payer's countersignatures: it checks receipts against its own count, stores them, and signs those that fit.

A receipt may also come late, on the stream of a later answer.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Final

from openledger_protocol.eip712 import Domain, hex_digest
from openledger_protocol.errors import MalformedError, ProtocolError
from openledger_protocol.opening import Opening
from openledger_protocol.payments import ChannelConfig, ask_digest, channel_id, receipt_digest
from openledger_protocol.primitives import Address, ChannelId, RequestId, Wei
from openledger_protocol.receipts import Delivery, check_receipt
from openledger_protocol.wire.inference import (
    AskReceipts,
    Countersign,
    ErrorMessage,
    MissingReceipts,
    ReceiptMessage,
    decode,
    encode,
    error_from_message,
)

from ..ledger.receipts import ReceiptRow
from ..p2p.streams import MessageStream
from .audits import LAST_SEND_TIMEOUT_S, ReceiptAudits
from .payer_lanes import PayerLane, PayerLanes
from .purchase import Agreed, expected_late

RECEIPT_TURN_TIMEOUT_S = 5.0

FAIL_POINTS: Final = ("payer:receipt-checked", "payer:countersigned")
"""Points at which a crash test may kill the payer, in order."""

log = logging.getLogger(__name__)


class Countersigner:
    """Takes the receipts of one payer."""

    def __init__(
        self,
        *,
        wallet: PayerLanes,
        domain: Domain,
        sign: Callable[[bytes], bytes],
        now_ns: Callable[[], int],
        audits: ReceiptAudits | None,
        fail_point: Callable[[str], None],
    ) -> None:
        self._wallet = wallet
        self._domain = domain
        self._sign = sign
        self._now_ns = now_ns
        self.audits = audits  # None: receipts are countersigned without recomputing their shares
        self._fail_point = fail_point

    async def take(
        self, lane: PayerLane, message: ReceiptMessage, delivery: Delivery, node: Address, drawn: Opening | None
    ) -> ReceiptRow:
        """Check, store and countersign a receipt; `drawn` is its exchange if its shares must be recomputed first.

        Raises:
            ProtocolError: it is not what `delivery` says.
        """
        digest = check_receipt(message.receipt, message.signature, message.shares, delivery, self._domain)
        self._fail_point("payer:receipt-checked")
        row = ReceiptRow(
            digest=hex_digest(digest),
            receipt=message.receipt,
            shares=message.shares,
            signature=message.signature,
        )
        if self.audits and drawn:
            await self._wallet.keep(lane, row, partial(self.audits.begin, row, node, drawn))
            return row
        row = replace(row, countersignature=self._sign(digest))
        self._fail_point("payer:countersigned")
        await self._wallet.keep(lane, row)
        return row

    async def ask(
        self, config: ChannelConfig, ids: Sequence[RequestId], messages: MessageStream
    ) -> tuple[RequestId, ...]:
        """Ask a node for the receipts of these requests and countersign them; return those that it makes none for.

        Raises:
            ProtocolError: it refuses, or answers something else.
            NetworkError: it left.
        """
        key, now_s = channel_id(config, self._domain), self._now_ns() // 10**9
        signature = self._sign(ask_digest(key, ids, now_s, self._domain))
        asked = AskReceipts(channel_config=config, ids=tuple(ids), asked_at_s=now_s, signature=signature)
        await messages.send(encode(asked))
        for _ in range(len(ids) + 1):
            match decode(await messages.receive()):
                case ReceiptMessage() as message:
                    await self.answer_late(message, config, key, messages, is_last=True)
                case MissingReceipts() as message:
                    return tuple(request_id for request_id in ids if request_id in message.ids)
                case ErrorMessage() as message:
                    raise error_from_message(message)
                case _:
                    break
        raise MalformedError("a node answers `ask` with receipts, one of each request, and `missing`")

    async def answer_late(
        self,
        message: ReceiptMessage,
        config: ChannelConfig,
        channel_id: ChannelId,
        messages: MessageStream,
        *,
        is_last: bool = False,
    ) -> None:
        """Countersign a channel's earlier receipt, whose countersignature did not arrive or whose stream broke off.

        A receipt that fits no purchase gets no answer, and neither does a wrong one: it was never agreed on, and the
        running stream is not at fault. A receipt that is drawn for an audit is countersigned after it, and with
        `is_last` this waits for that, because there may be no later stream.
        """
        try:
            row = await self._take_late(message, config, channel_id)
        except ProtocolError as error:
            log.warning("a receipt of an earlier answer of %s is not countersigned: %s", config.node, error.message)
            return
        if row and row.countersignature:
            countersign = encode(Countersign(signature=row.countersignature))
            await messages.offer(countersign, timeout_s=LAST_SEND_TIMEOUT_S)
        elif row and self.audits and is_last:
            await self.audits.countersign(row.digest, messages)
        elif row and self.audits:
            self.audits.start(row.digest, messages, closes=False)

    async def _take_late(
        self, message: ReceiptMessage, config: ChannelConfig, channel_id: ChannelId
    ) -> ReceiptRow | None:
        receipt, now_s = message.receipt, self._now_ns() // 10**9
        request_id, digest = receipt.work.request_id, hex_digest(receipt_digest(receipt, self._domain))
        found = await self._wallet.agreed(request_id, channel_id)
        if found is None:
            return await self._wallet.find(digest)
        agreed = Agreed.from_plain(found)
        lane = await self._wallet.open(config, agreed.adapter_id)
        if request_id in lane.tab.running:  # it comes there, too, if its node is honest
            return None

        async def take() -> ReceiptRow:
            if known := await self._wallet.find(digest):  # another stream has brought it meanwhile
                return known
            lane.find_lost(before)
            drawn = await self.audits.find_lost(receipt.work.prompt_commit) if self.audits else None
            delivery = expected_late(agreed, receipt, lane, now_s=now_s)
            return await self.take(lane, message, delivery, config.node, drawn)

        before = Wei(max(0, receipt.cumulative_wei - receipt.amount_wei))
        return await self._wallet.in_turn(lane, request_id, before, take, timeout_s=RECEIPT_TURN_TIMEOUT_S)
