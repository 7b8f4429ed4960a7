"""Receipts for delivered answers: attributed, committed to the ledger, and only then signed."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, TypeVar

import trio

from openledger_protocol.attribution import Share, shares_hash
from openledger_protocol.eip712 import Domain, digest_word, hex_digest
from openledger_protocol.errors import BadSignatureError
from openledger_protocol.opening import Opening, work_of
from openledger_protocol.payments import Receipt, price_wei, receipt_digest
from openledger_protocol.primitives import ZERO_DIGEST, Address, Digest, Wei
from openledger_protocol.rules import TEXT_RULE
from openledger_protocol.signals import DatanetSignals, Signals
from openledger_protocol.signatures import recover_address
from openledger_protocol.wire.inference import Countersign, Open

from ..engine.tokenizer import Tokenizer
from ..errors import LedgerError
from ..ledger.ledger import Ledger
from ..ledger.receipts import Draft, ReceiptRow
from ..models.adapters import Adapter
from ..serving.recording import insist
from .accounts import ChannelAccounts, LaneAccount

FAIL_POINTS: Final = (
    "receipt:attributed",
    "receipt:committed",
    "receipt:signed",
    "receipt:stored",
    "receipt:countersign-checked",
    "receipt:countersigned",
)
"""Points at which a crash test may kill the node, in order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivered:
    """An answer as it was delivered to a payer."""

    opened: Open
    adapter: Adapter | None
    text: str
    ids: tuple[int, ...]
    tokens_in: int
    algo_id: int = TEXT_RULE  # the attribution rule that its bid has named
    signals: Mapping[Digest, Signals] = field(default_factory=dict)  # by root of a Datanet's rows; empty for texts
    issued_at_s: int = 0  # of its receipt, which decides the withdrawn rows that are not paid


log = logging.getLogger(__name__)

Written = TypeVar("Written")
Attribute = Callable[[Delivered], tuple[Share, ...]]
"""Attributes an answer to contributors: for each Datanet of its adapter, shares that sum to 1,000,000 ppm."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MadeReceipt:
    """A signed receipt, and the signals that it commits to, which only its payer keeps."""

    row: ReceiptRow
    signals: DatanetSignals = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceiptTerms:
    """Fields that are equal in every receipt of this node."""

    profile_hash: Digest


class ReceiptMaker:
    """Makes and signs receipts, one for each delivery."""

    def __init__(
        self,
        *,
        ledger: Ledger,
        accounts: ChannelAccounts,
        domain: Domain,
        tokenizer: Tokenizer,
        same: ReceiptTerms,
        attribute: Attribute,
        sign: Callable[[bytes], bytes],
        now_ns: Callable[[], int],
        is_stopping: Callable[[], bool] = lambda: True,
        fail_point: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._ledger = ledger
        self._accounts = accounts
        self._domain = domain
        self._tokenizer = tokenizer
        self._same = same
        self._attribute = attribute
        self._sign = sign
        self._now_ns = now_ns
        self._is_stopping = is_stopping
        self._fail_point = fail_point

    async def make(self, delivered: Delivered, lane: LaneAccount) -> MadeReceipt:
        """Make and sign the receipt of one answer.

        Attribution has no time limit and comes before signing: with a limit, the receipt would depend on a clock, and
        nobody could recompute it.
        """
        delivered = replace(delivered, issued_at_s=self._now_ns() // 10**9)
        shares = await trio.to_thread.run_sync(self._attribute, delivered)
        self._fail_point("receipt:attributed")
        async with lane.settling:
            draft = self._draft(delivered, lane, shares)
            row = await self._insist(lambda: self._ledger.receipts.commit(draft))
            self._fail_point("receipt:committed")
            self._accounts.settle(lane, delivered.opened.id, row.receipt.amount_wei)
        signed = await self._insist(lambda: self._sign_row(row))
        return MadeReceipt(row=signed, signals=signals_of_datanets(delivered))

    async def waiting(self, lane: LaneAccount) -> list[ReceiptRow]:
        """The receipts of a lane's channel that wait for their countersignature, oldest first.

        Raises:
            LedgerError: the ledger can't be read.
        """
        return await trio.to_thread.run_sync(self._ledger.receipts.open, lane.channel.channel_id)

    async def countersign(self, rows: Sequence[ReceiptRow], authorizer: Address, message: Countersign) -> ReceiptRow:
        """Store a countersignature by a channel's authorizer, which is of one of these receipts; return that receipt.

        If the ledger can't be written, the receipt is sent again with the payer's next stream.

        Raises:
            BadSignatureError: the authorizer has signed none of them.
        """
        signed = (row for row in rows if recover_address(digest_word(row.digest), message.signature) == authorizer)
        if (row := next(signed, None)) is None:
            raise BadSignatureError("the channel's authorizer has countersigned none of the receipts that were sent")
        self._fail_point("receipt:countersign-checked")
        try:
            await trio.to_thread.run_sync(self._ledger.receipts.countersign, row.digest, message.signature)
        except LedgerError as error:
            log.warning("the countersignature of receipt %s is lost: %s", row.digest, error)
        self._fail_point("receipt:countersigned")
        return row

    def recover(self) -> int:
        """Sign the receipts that a crash left unsigned, with the same bytes as before; return their count."""
        rows = self._ledger.receipts.unsigned()
        for row in rows:
            self._sign_row(row)
        return len(rows)

    async def _insist(self, write: Callable[[], Written]) -> Written:
        """Write, also if the disk must be freed first, because the delivery must be charged."""
        return await insist(lambda: trio.to_thread.run_sync(write), until=self._is_stopping)

    def _sign_row(self, row: ReceiptRow) -> ReceiptRow:
        signature = self._sign(digest_word(row.digest))
        self._fail_point("receipt:signed")
        self._ledger.receipts.sign(row.digest, signature)
        self._fail_point("receipt:stored")
        return replace(row, signature=signature)

    def _draft(self, delivered: Delivered, lane: LaneAccount, shares: tuple[Share, ...]) -> Draft:
        opened, exchange = delivered.opened, opening_of(delivered)
        manifest = delivered.adapter.manifest if delivered.adapter else None
        work = work_of(
            exchange,
            request_id=opened.id,
            adapter_id=opened.adapter,
            profile_hash=self._same.profile_hash,
            index_root=(manifest.index_root if manifest else None) or ZERO_DIGEST,
            tokens_in=delivered.tokens_in,
            canonical_ids=self._tokenizer.encode(delivered.text),
        )
        amount = price_wei(work.tokens_in, work.tokens_out, opened.award.terms)

        def build(seq: int, cumulative_wei: Wei) -> Receipt:
            return Receipt(
                channel_id=lane.channel.channel_id,
                seq=seq,
                issued_at_s=delivered.issued_at_s,
                adapter_id=opened.adapter,
                amount_wei=amount,
                cumulative_wei=cumulative_wei,
                algo_id=delivered.algo_id,
                shares_hash=shares_hash(shares),
                work=work,
            )

        return Draft(
            build=build,
            digest=lambda receipt: hex_digest(receipt_digest(receipt, self._domain)),
            channel_id=lane.channel.channel_id,
            adapter_id=lane.adapter_id,
            amount_wei=amount,
            shares=shares,
        )


def opening_of(delivered: Delivered) -> Opening:
    """The exchange with the salts of its commitments; it is forgotten once the receipt is made."""
    opened = delivered.opened
    return Opening(
        messages=opened.messages,
        sampling=opened.sampling,
        prefix=opened.prefix,
        text=delivered.text,
        ids=delivered.ids,
        salts=opened.salts,
        tooling=opened.tooling,
        signals=signals_of_datanets(delivered),
    )


def signals_of_datanets(delivered: Delivered) -> DatanetSignals:
    """The answer's signals beside each Datanet of its adapter, ascending by Datanet; none for a rule of texts."""
    datanets = delivered.adapter.manifest.datanets or () if delivered.adapter else ()
    found = ((each.id, delivered.signals[each.rows_root]) for each in datanets if each.rows_root in delivered.signals)
    return tuple(sorted(found, key=lambda pair: pair[0]))
