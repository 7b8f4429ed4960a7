"""How far the scores of a receipt have come: its shares are signed before anybody knows whether it is drawn."""

from openledger_protocol.constants import FLAG_AUDITABLE
from openledger_protocol.eip712 import digest_word
from openledger_protocol.payments import is_sampled
from openledger_protocol.primitives import BASE_ONLY

from ..ledger.receipts import ReceiptRow

ALGORITHMS = {1: "suffix-v1", 2: "grad-v1", 3: "poa-v1", 4: "size-v0", 5: "uniform-v0", 6: "poa-v2"}
SCORED_BY_DRAW = (2, 3, 6)
"""Algorithms whose scores wait for the payer's nonce: one receipt in eight is scored by gradients, too."""


def state_of(row: ReceiptRow) -> dict[str, str]:
    """How far the scores of a receipt have come, in a word and in words."""
    state = _state(row)
    says = {
        "base": "the base alone answered: it pays no Datanet",
        "not_auditable": "its payer lets nobody audit it, so its data shares go to treasuries",
        "text_match": "text match, in the receipt",
        "waits": "text match, in the receipt; waits for the draw",
        "not_drawn": "not drawn, text match stands",
        "drawn": "drawn: its text can be demanded and matched again",
        "scored": f"scored by {ALGORITHMS.get(row.receipt.algo_id)}, final",
    }
    return {"state": state, "says": says[state]}


def _state(row: ReceiptRow) -> str:
    if row.receipt.adapter_id == BASE_ONLY:
        return "base"
    if not row.receipt.flags & FLAG_AUDITABLE:
        return "not_auditable"
    if row.nonce is None:
        return "waits" if row.receipt.algo_id in SCORED_BY_DRAW else "text_match"
    if not is_sampled(row.nonce, digest_word(row.digest)):
        return "not_drawn"
    return "scored" if row.receipt.algo_id in SCORED_BY_DRAW else "drawn"
