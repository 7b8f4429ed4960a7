"""Proof of a receipt in its claim: root and payout list, recomputed and compared with the chain."""

from collections.abc import Mapping
from dataclasses import dataclass

from openledger_protocol.payouts import payouts_for
from openledger_protocol.settlement import ClaimRecord, Payout

from ..ledger.ledger import Ledger
from ..ledger.receipts import ReceiptRow
from .batcher import receipts_root
from .records import payouts_of, record_of
from .settler import attributed_receipts, earned_of


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimProof:
    """A receipt's place in its claim, and the recomputed claim beside the one on the chain."""

    record: ClaimRecord  # from the chain
    index: int
    is_in_root: bool
    payouts: tuple[Payout, ...]  # computed from the claim's receipts
    proposed: tuple[Payout, ...] | None  # from the chain; None: not proposed yet


def find_proof(ledger: Ledger, row: ReceiptRow) -> ClaimProof | None:
    """Prove a receipt; None if no claim of ours on the chain holds it."""
    claim = ledger.claims.find(row.claim_id) if row.claim_id is not None else None
    channel = ledger.channels.find(row.receipt.channel_id)
    if claim is None or channel is None:
        return None
    key: Mapping[str, int | str] = {"node": channel.config.node, "seq": claim.seq}
    records = [record_of(event) for event in ledger.events.find("Claimed", key)]
    record = next((found for found in records if found.items_hash == claim.items_hash), None)
    if record is None:
        return None
    rows = ledger.receipts.of_claim(claim.claim_id)
    root = receipts_root([earned_of(each) for each in rows], node=record.node, seq=record.seq)
    proposed = ledger.events.find("Proposed", key)
    attributed = attributed_receipts(record, rows)
    return ClaimProof(
        record=record,
        index=[each.digest for each in rows].index(row.digest),
        is_in_root=root == record.receipts_root,
        payouts=tuple(payouts_for(record.pots, attributed)) if record.pots else (),
        proposed=tuple(payouts_of(proposed[-1])) if proposed else None,
    )
