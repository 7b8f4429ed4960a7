"""The seller's answer to a payer that asks for receipts, because their streams broke off before they came.

Receipts are also sent again with the payer's next request. But a payer may never come back with one, and then the
contributors would get nothing for these answers.
"""

from collections.abc import Callable
from dataclasses import dataclass

import trio

from openledger_protocol.constants import ISSUED_SKEW_S_MAX
from openledger_protocol.eip712 import Domain
from openledger_protocol.errors import MalformedError, OldChannelError, StaleError
from openledger_protocol.payments import ask_digest, channel_id
from openledger_protocol.primitives import Address, ChannelId, RequestId
from openledger_protocol.signatures import check_signer
from openledger_protocol.wire.inference import AskReceipts, Countersign, MissingReceipts, decode, encode

from ..errors import NetworkError
from ..ledger.ledger import Ledger
from ..ledger.receipts import ReceiptRow
from ..p2p.streams import MessageStream
from .accounts import ChannelAccounts
from .delivery import COUNTERSIGN_TIMEOUT_S, SEND_TIMEOUT_S, receipt_message
from .receipts import ReceiptMaker

NO_RECORD = "this node's ledger has no record of the channel, so it can't tell which receipts are missing"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    """The receipts that exist, and the requests for which none is made any more."""

    rows: tuple[ReceiptRow, ...]
    missing: tuple[RequestId, ...]


class AskedReceipts:
    """Shows payers the receipts of answers that broke off, and takes their countersignatures."""

    def __init__(
        self,
        *,
        node: Address,
        ledger: Ledger,
        accounts: ChannelAccounts,
        receipts: ReceiptMaker,
        domain: Domain,
        now_ns: Callable[[], int],
    ) -> None:
        self._node = node
        self._ledger = ledger
        self._accounts = accounts
        self._receipts = receipts
        self._domain = domain
        self._now_ns = now_ns

    async def answer(self, asked: AskReceipts, messages: MessageStream) -> None:
        """Send the receipts that were asked for, then name those that don't exist.

        Raises:
            ProtocolError: the question is not the payer's, or this ledger can't answer it.
            NetworkError: the payer left.
        """
        config = asked.channel_config
        key = channel_id(config, self._domain)
        self._check(asked, key)
        # Streams are looked at first. One that ends meanwhile has its receipt by the time the ledger is read.
        running = self._accounts.running(key)
        found = await trio.to_thread.run_sync(self._find, key, asked.ids, running)
        for row in found.rows:
            await messages.send(encode(receipt_message(row)), timeout_s=SEND_TIMEOUT_S)
        await messages.send(encode(MissingReceipts(ids=found.missing)), timeout_s=SEND_TIMEOUT_S)
        waiting = [row for row in found.rows if row.countersignature is None]
        with trio.move_on_after(COUNTERSIGN_TIMEOUT_S):
            while waiting:
                try:
                    message = decode(await messages.receive())
                except NetworkError:
                    return  # the payer takes as long as it likes, and has countersigned what it agrees to
                if not isinstance(message, Countersign):
                    raise MalformedError("only countersignatures follow `ask`")
                waiting.remove(await self._receipts.countersign(waiting, config.authorizer, message))

    def _check(self, asked: AskReceipts, key: ChannelId) -> None:
        config, now_s = asked.channel_config, self._now_ns() // 10**9
        if config.node != self._node:
            raise MalformedError(f"the channel is with {config.node}, this node is {self._node}")
        if abs(asked.asked_at_s - now_s) > ISSUED_SKEW_S_MAX:
            raise StaleError(f"the question is of {asked.asked_at_s}, and this node's clock says {now_s}")
        check_signer(ask_digest(key, asked.ids, asked.asked_at_s, self._domain), asked.signature, config.authorizer)

    def _find(self, key: ChannelId, ids: tuple[RequestId, ...], running: set[RequestId]) -> _Found:
        channel = self._ledger.channels.find(key)
        if channel is None or channel.is_retired:
            raise OldChannelError(NO_RECORD)
        rows = self._ledger.receipts.of_channel(key, ids)
        there = running | {row.receipt.work.request_id for row in rows}
        return _Found(
            rows=tuple(row for row in rows if row.signature),  # a receipt that is not signed yet comes later
            missing=tuple(request_id for request_id in ids if request_id not in there),
        )
