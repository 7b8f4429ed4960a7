"""The stakers' share of fees, recomputed event by event as NodeStaking divides it."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from openledger_protocol.events import Event

from .events import amount_of, text

WEI_PARTS = 10**18
"""Parts in a wei: rewards per bonded wei are counted in parts, so that division loses nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rewards:
    """Rewards that were not withdrawn, as the contract stores them: counted up to each node's last action."""

    per_wei: int  # earned on each bonded wei since the start, in parts
    remainder: int  # parts that could not be divided yet
    parts: Mapping[str, int]  # by node
    counted: Mapping[str, int]  # by node: the `per_wei` up to which its `parts` are
    faults: tuple[str, ...]


class _Accumulator:
    def __init__(self) -> None:
        self.bonded: Counter[str] = Counter()
        self.parts: Counter[str] = Counter()
        self.counted: Counter[str] = Counter()
        self.faults: list[str] = []
        self.per_wei = 0
        self.remainder = 0

    def bond(self, node: str, amount: int) -> None:
        self.count(node)
        self.bonded[node] += amount

    def notify(self, amount: int, announced: object) -> None:
        if not (bonded := self.bonded.total()):
            self.faults.append(f"{amount} wei were divided while nobody had bonded")
            return
        more, self.remainder = divmod(amount * WEI_PARTS + self.remainder, bonded)
        self.per_wei += more
        if announced != self.per_wei:
            self.faults.append(f"accPerShare is announced as {announced}, but by the bonds it is {self.per_wei}")

    def pay(self, node: str, amount: int) -> None:
        self.count(node)
        if amount != (owed := self.parts[node] // WEI_PARTS):
            self.faults.append(f"{node} was paid {amount} wei, but had earned {owed}")
        self.parts[node] -= amount * WEI_PARTS

    def count(self, node: str) -> None:
        self.parts[node] += self.bonded[node] * (self.per_wei - self.counted[node])
        self.counted[node] = self.per_wei


def replay_rewards(events: Iterable[Event]) -> Rewards:
    """Divide each notified amount over the bonds of its time."""
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
    return Rewards(
        per_wei=books.per_wei,
        remainder=books.remainder,
        parts=dict(books.parts),
        counted=dict(books.counted),
        faults=tuple(books.faults),
    )
