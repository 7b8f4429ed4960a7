"""Lines of the log about transactions: those that an operator waits for are events of the node."""

import logging
from typing import Final

from openledger_protocol.transactions import Intent

from ..node_events import EventKind, note_event

MINED: Final = {"claim": EventKind.CLAIM_MADE}
FINALIZE: Final = "finalize"
FINAL: Final = {
    FINALIZE: EventKind.CLAIM_FINAL,
    "withdraw": EventKind.WITHDRAWN,
    "adapter": EventKind.ADAPTER_PUBLISHED,
}
"""Events by the kind of their transaction."""

log = logging.getLogger(__name__)


def note_mined(intent: Intent, block_number: int, error: str | None) -> None:
    """Log that a transaction is in a block; `error` is the contract's refusal."""
    kind = MINED.get(intent.kind)
    if kind and not error:
        note_event(kind, f"{intent.summary}, in block {block_number}")
    else:
        outcome = f"refused ({error})" if error else "mined"
        log.info("%s in block %d: %s", outcome, block_number, intent.summary)


def note_final(intent: Intent, error: str | None) -> None:
    """Log that no reorganisation takes a transaction back; `error` is the contract's refusal."""
    is_finalize = intent.kind.startswith(FINALIZE)  # "finalize late" too
    kind = FINAL.get(FINALIZE if is_finalize else intent.kind)
    if kind and not error:
        note_event(kind, intent.summary)
    else:
        log.info("final: %s", intent.summary)
