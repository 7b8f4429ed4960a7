"""All that a network's contracts have said, and sums over it."""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from openledger_protocol.events import Event

AMOUNTS = {
    "Transfer": ("value",),
    "Claimed": ("record", "gross"),
    "Released": ("gross",),
    "AdapterRegistered": ("adapter", "bond"),
}
"""Where an event says how much; others call it `amount`."""


class EventLog:
    """Events in the chain's order."""

    def __init__(self, events: Sequence[Event]) -> None:
        self.events = events

    def of(self, *names: str) -> Iterator[Event]:
        """Those of some names."""
        return (event for event in self.events if event.name in names)

    def total(self, *names: str) -> int:
        """What events of these names sum to."""
        return sum(map(amount_of, self.of(*names)))

    def by(self, field: str, *, plus: Sequence[str], minus: Sequence[str] = ()) -> dict[str, int]:
        """The same by an argument that they share, less what other events take away."""
        sums: Counter[str] = Counter()
        for event in self.of(*plus, *minus):
            sums[text(event, field)] += amount_of(event) if event.name in plus else -amount_of(event)
        return dict(sums)


def amount_of(event: Event) -> int:
    """The amount that an event tells of."""
    value: Any = event.arguments
    for step in AMOUNTS.get(event.name, ("amount",)):
        value = value[step]
    return int(value)


def text(event: Event, name: str) -> str:
    """An argument that is an account, an id or a digest."""
    return str(event.arguments[name])
