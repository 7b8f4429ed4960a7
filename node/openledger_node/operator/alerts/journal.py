"""The journal of alerts, `alerts.json`: open causes, alerts that wait to be sent, and the last ones that were.

A change is on the disk before an alert leaves, so a restart repeats none and loses none. Only a crash between the
receiver's answer and the note of it sends an alert twice, under the same id.
"""

import json
import logging
from collections import deque
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from ...errors import NodeError
from ...home import Home, write_private
from .causes import Phase, is_urgent

SCHEMA: Final = "openledger.alerts/1"
WAITING_MAX: Final = 64
"""Alerts that wait for one receiver; a further one takes the place of the oldest that is least urgent."""

SENT_KEPT: Final = 50

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """One message to the owner."""

    id: str
    event: str
    cause: str
    phase: Phase
    at_s: int  # since 1970
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SentAlert:
    """An alert that a receiver has taken."""

    id: str
    event: str
    phase: Phase
    at_s: int
    sent_s: int
    receiver: str
    text: str


@dataclass(slots=True)
class AlertJournal:
    """The contents of the file; `save` writes them."""

    file: Path
    open_causes: dict[str, int] = field(default_factory=dict)  # cause → its beginning, since 1970
    waiting: dict[str, deque[Alert]] = field(default_factory=dict)  # receiver → urgent first, then oldest first
    sent: deque[SentAlert] = field(default_factory=lambda: deque(maxlen=SENT_KEPT))
    num_dropped: int = 0  # alerts that gave their place to newer ones

    def put(self, receiver: str, alert: Alert) -> None:
        """Let an alert wait for a receiver: an urgent one before all that are not, also when it tells of an end."""
        queue = self.waiting.setdefault(receiver, deque())
        queue.insert(_end_of_urgent(queue) if is_urgent(alert.event) else len(queue), alert)
        if len(queue) > WAITING_MAX:
            others_at = _end_of_urgent(queue)
            del queue[others_at if others_at < len(queue) else 0]
            self.num_dropped += 1

    def note_sent(self, receiver: str, alert: Alert, *, now_s: int) -> None:
        """Take an alert out of the queue that its receiver has taken."""
        queue = self.waiting[receiver]
        if queue and queue[0].id == alert.id:
            queue.popleft()
        self.sent.append(
            SentAlert(
                id=alert.id,
                event=alert.event,
                phase=alert.phase,
                at_s=alert.at_s,
                sent_s=now_s,
                receiver=receiver,
                text=alert.text,
            )
        )

    def num_sent_since(self, receiver: str, since_s: int, *, now_s: int) -> int:
        """Count the alerts that a receiver has taken since a time; those of a clock that was set back don't count."""
        return sum(each.receiver == receiver and since_s <= each.sent_s <= now_s for each in self.sent)

    def save(self) -> None:
        """Write the file. A full disk is logged only, because alerts must leave then, too."""
        kept = {
            "schema": SCHEMA,
            "open": self.open_causes,
            "waiting": {receiver: [asdict(each) for each in queue] for receiver, queue in self.waiting.items()},
            "sent": [asdict(each) for each in self.sent],
            "dropped": self.num_dropped,
        }
        try:
            write_private(self.file, json.dumps(kept) + "\n", is_new=False)
        except (NodeError, OSError) as error:
            log.warning("a restart may repeat alerts, since their journal can't be written: %s", error)


def _end_of_urgent(queue: deque[Alert]) -> int:
    return next((place for place, each in enumerate(queue) if not is_urgent(each.event)), len(queue))


def open_journal(home: Home) -> AlertJournal:
    """Read the journal; a damaged one is begun anew, with a line in the log."""
    file = home.root / "alerts.json"
    try:
        return _journal(file, json.loads(file.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return AlertJournal(file)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        log.warning("%s can't be read (%s): it is begun anew", file, type(error).__name__)
        return AlertJournal(file)


def _journal(file: Path, kept: dict[str, Any]) -> AlertJournal:
    if kept["schema"] != SCHEMA:
        raise ValueError("of another schema")
    return AlertJournal(
        file,
        open_causes={str(cause): int(since_s) for cause, since_s in kept["open"].items()},
        waiting={name: deque(Alert(**each) for each in queue) for name, queue in kept["waiting"].items()},
        sent=deque((SentAlert(**each) for each in kept["sent"]), maxlen=SENT_KEPT),
        num_dropped=int(kept["dropped"]),
    )
