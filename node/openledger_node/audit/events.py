"""All events of a network's contracts, and sums over them."""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from openledger_protocol.events import Event

AMOUNTS = {
    "Transfer": ("value",),
    "VotesMoved": ("value",),
    "Claimed": ("record", "gross"),
    "Released": ("gross",),
    "AdapterRegistered": ("adapter", "bond"),
}
"""The path to the amount in an event; in others it is `amount`."""


class EventLog:
    """A network's events in the chain's order."""

    def __init__(self, events: Sequence[Event]) -> None:
        self.events = events

    def of(self, *names: str) -> Iterator[Event]:
        """The events of these names."""
        return (event for event in self.events if event.name in names)

    def total(self, *names: str) -> int:
        """The sum over events of these names."""
        return sum(map(amount_of, self.of(*names)))

    def by(self, field: str, *, plus: Sequence[str], minus: Sequence[str] = ()) -> dict[str, int]:
        """Sum `plus` events by an argument that they share, and subtract `minus` events."""
        sums: Counter[str] = Counter()
        for event in self.of(*plus, *minus):
            sums[text(event, field)] += amount_of(event) if event.name in plus else -amount_of(event)
        return dict(sums)


def amount_of(event: Event) -> int:
    """The amount in an event."""
    value: Any = event.arguments
    for step in AMOUNTS.get(event.name, ("amount",)):
        value = value[step]
    return int(value)


def text(event: Event, name: str) -> str:
    """Return an argument that is an account, an id or a digest."""
    return str(event.arguments[name])
