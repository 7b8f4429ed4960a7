"""Events of a node that matter to its operator: one line of the log each.

Any part of the node reports an event by `note_event`. The text never holds a prompt, an answer or a key.
"""

import logging
from enum import StrEnum
from typing import Final


class EventKind(StrEnum):
    """The kinds of events, as they are named in the log, in settings and in alerts."""

    STARTED = "started"
    STOPPING = "stopping"
    BASE_CHANGED = "base_changed"
    CLAIM_MADE = "claim_made"
    CLAIM_FINAL = "claim_final"
    WITHDRAWN = "withdrawn"
    TRAINING_BEGUN = "training_begun"
    TRAINING_ENDED = "training_ended"
    TRAINING_FAILED = "training_failed"
    ADAPTER_LOADED = "adapter_loaded"
    ADAPTER_PUBLISHED = "adapter_published"
    ADAPTER_PULLED = "adapter_pulled"
    CHAIN_LOST = "chain_lost"
    CHAIN_BACK = "chain_back"
    PEERS_LOST = "peers_lost"
    PEERS_BACK = "peers_back"
    ENGINE_FAILED = "engine_failed"
    ENGINE_BACK = "engine_back"
    DISK_LOW = "disk_low"
    DISK_FREE = "disk_free"
    PAUSED = "paused"
    RESUMED = "resumed"
    SUSPENDED = "suspended"  # the machine slept, and has woken
    CLOCK_CHANGED = "clock_changed"


ENDS: Final = {
    EventKind.CHAIN_LOST: EventKind.CHAIN_BACK,
    EventKind.PEERS_LOST: EventKind.PEERS_BACK,
    EventKind.ENGINE_FAILED: EventKind.ENGINE_BACK,
    EventKind.DISK_LOW: EventKind.DISK_FREE,
}
"""Troubles that last, each with the event that ends it."""

WARNINGS: Final = frozenset(
    {
        EventKind.CHAIN_LOST,
        EventKind.PEERS_LOST,
        EventKind.DISK_LOW,
        EventKind.TRAINING_FAILED,
    }
)
"""Events that the terminal shows as well as the log. An engine that fails says more by itself."""

LOGGER: Final = "openledger_node.event"


def note_event(kind: EventKind, text: str) -> None:
    """Report an event from any thread; line breaks in `text` become spaces."""
    level = logging.WARNING if kind in WARNINGS else logging.INFO
    logging.getLogger(LOGGER).log(level, "%s: %s", kind, " ".join(text.split()))
