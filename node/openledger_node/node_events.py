"""Events of a node that matter to its operator: one line of the log each, from which alerts are made.

Any part of the node reports an event by `note_event`. The log writes it, and a `NodeEventHandler` hands it on, for
example to the alerts.
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class EventKind(StrEnum):
    """The kinds of events, as they are named in the log, in settings and in alerts."""

    STARTED = "started"
    STOPPING = "stopping"
    FAILED = "failed"  # the node could not start, or ended by an error that its operator can fix
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
    EventKind.PAUSED: EventKind.RESUMED,
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
ATTRIBUTE: Final = "node_event"


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeEvent:
    """One event. Its text never holds a prompt, an answer or a key."""

    kind: EventKind
    text: str  # one sentence for the operator
    time_s: float  # wall clock, in seconds since 1970


def note_event(kind: EventKind, text: str) -> None:
    """Report an event from any thread; line breaks in `text` become spaces."""
    level = logging.WARNING if kind in WARNINGS else logging.INFO
    logging.getLogger(LOGGER).log(level, "%s: %s", kind, " ".join(text.split()), extra={ATTRIBUTE: kind})


class NodeEventHandler(logging.Handler):
    """A handler of the log that hands each event to a function, in the thread that reported it."""

    def __init__(self, take: Callable[[NodeEvent], None]) -> None:
        """`take` must return soon and must not raise."""
        super().__init__(logging.INFO)
        self._take = take

    def emit(self, record: logging.LogRecord) -> None:
        """Hand on a record of an event; other records are passed over."""
        if (kind := getattr(record, ATTRIBUTE, None)) is not None:
            text = record.getMessage().removeprefix(f"{kind}: ")
            self._take(NodeEvent(kind=kind, text=text, time_s=record.created))


@contextmanager
def listening_to_events(take: Callable[[NodeEvent], None]) -> Iterator[None]:
    """Hand each event to `take` until the context ends."""
    handler = NodeEventHandler(take)
    logger = logging.getLogger(LOGGER)
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
