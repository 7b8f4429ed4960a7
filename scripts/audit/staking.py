"""The stakers' share of fees, replayed event by event as NodeStaking divides it."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from openledger_protocol.events import Event

from .said import amount_of, text

WEI_PARTS = 10**18
"""What is earned on a bonded wei is counted in parts of a wei, so that nothing is lost by dividing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rewards:
    """What bonds have earned and not taken out."""

    accrued: Mapping[str, int]  # by node, whole wei
    dust_parts: int  # fractions of nodes, and what could not be divided yet
    faults: tuple[str, ...]


class _Accumulator:
    def __init__(self) -> None:
        self.bonded: Counter[str] = Counter()
        self.parts: Counter[str] = Counter()  # earned by a node, in parts of a wei
        self.faults: list[str] = []
        self.remainder = 0
        self._per_wei = 0
        self._counted: Counter[str] = Counter()  # `_per_wei` up to which `parts` are

    def bond(self, node: str, amount: int) -> None:
        self.count(node)
        self.bonded[node] += amount

    def notify(self, amount: int, told: object) -> None:
        if not (bonded := self.bonded.total()):
            self.faults.append(f"{amount} wei were shared out while nobody had bonded")
            return
        more, self.remainder = divmod(amount * WEI_PARTS + self.remainder, bonded)
        self._per_wei += more
        if told != self._per_wei:
            self.faults.append(f"accPerShare is {told}, and by what was bonded {self._per_wei}")

    def pay(self, node: str, amount: int) -> None:
        self.count(node)
        if amount != (owed := self.parts[node] // WEI_PARTS):
            self.faults.append(f"{node} was paid {amount} wei and had earned {owed}")
        self.parts[node] -= amount * WEI_PARTS

    def count(self, node: str) -> None:
        self.parts[node] += self.bonded[node] * (self._per_wei - self._counted[node])
        self._counted[node] = self._per_wei


def replay_rewards(events: Iterable[Event]) -> Rewards:
    """Divide what was notified over what was bonded at the time."""
    books = _Accumulator()
    for event in events:
        match event.name:
            case "Bonded":
                books.bond(text(event, "node"), amount_of(event))
            case "UnbondStarted":
                books.bond(text(event, "node"), -amount_of(event))
            case "RewardsNotified":
                books.notify(amount_of(event), event.arguments["accPerShare"])
            case "RewardsPaid":
                books.pay(text(event, "node"), amount_of(event))
    for node in list(books.bonded):
        books.count(node)
    return Rewards(
        accrued={node: parts // WEI_PARTS for node, parts in books.parts.items()},
        dust_parts=books.remainder + sum(parts % WEI_PARTS for parts in books.parts.values()),
        faults=tuple(books.faults),
    )
