"""Proof of a receipt in its claim: its line and payout list, recomputed and compared with the chain."""

from dataclasses import dataclass

from openledger_protocol.payouts import payout_list, receipts_root
from openledger_protocol.primitives import Digest
from openledger_protocol.settlement import ClaimRecord, Payout

from ..ledger.ledger import Ledger
from ..ledger.receipts import ReceiptRow
from .claim_line import find_line
from .records import payouts_of


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimProof:
    """A receipt's place in its claim, and the recomputed payout list beside the one on the chain."""

    record: ClaimRecord  # from the chain
    index: int
    num_receipts: int
    payouts: tuple[Payout, ...]  # computed from the claim's receipts
    root: Digest  # of the tree of receipts, computed as well
    proposed: tuple[Payout, ...] | None  # from the chain; None: not proposed yet
    proposed_root: Digest | None


def find_proof(ledger: Ledger, row: ReceiptRow) -> ClaimProof | None:
    """Prove a receipt; None if no claim of ours on the chain holds it."""
    claim = ledger.claims.find(row.claim_id) if row.claim_id is not None else None
    channel = ledger.channels.find(row.receipt.channel_id)
    if claim is None or channel is None:
        return None
    line = find_line(ledger, channel.config.node, claim.seq, ledger.receipts.of_claim(claim.claim_id))
    digests = [claimed.digest for claimed in line.receipts] if line else []
    if line is None or row.digest not in digests:
        return None
    listed = payout_list(line.record.pots, line.receipts)
    proposals = ledger.events.find("Proposed", {"node": channel.config.node, "seq": claim.seq})
    return ClaimProof(
        record=line.record,
        index=digests.index(row.digest),
        num_receipts=len(digests),
        payouts=listed.payouts,
        root=receipts_root(line.receipts, listed.offsets),
        proposed=tuple(payouts_of(proposals[-1])) if proposals else None,
        proposed_root=Digest(str(proposals[-1].arguments["receiptsRoot"])) if proposals else None,
    )
