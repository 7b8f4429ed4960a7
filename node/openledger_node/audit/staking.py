"""Stakes, recomputed event by event as NodeStaking counts them, and slashes by its rules."""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from openledger_protocol.events import BlockId, Event

from ..settlement.records import integer
from .events import amount_of, text
from .splits import RegistryState

Request = tuple[int, int]  # wei, and the second from which they can be withdrawn


BURNT = "0x000000000000000000000000000000000000dEaD"
"""Where slashed stake goes; nobody has the key of this account."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fixed:
    """Values that a network's contracts were deployed with, and that nothing changes."""

    treasury: str
    windows: Mapping[str, int]  # of Params, in seconds and blocks
    seconds_of: Callable[[BlockId], int]  # a block's time


class Stakes:
    """Each node's bonded stake, and stake that leaves."""

    def __init__(self, fixed: Fixed, registry: RegistryState) -> None:
        self.slashed_at_s: dict[str, int] = {}  # the newest slash of each node
        self.slash_epochs: set[int] = set()  # by whose minimum stake a slash was limited
        self._fixed = fixed
        self._registry = registry
        self.bonded: Counter[str] = Counter()
        self.requests: dict[str, list[Request]] = {}
        self.faults: list[str] = []
        self._readers: Mapping[str, Callable[[Event], None]] = {
            "Bonded": self._bond,
            "UnbondStarted": self._unbond,
            "StakeWithdrawn": lambda event: self._withdraw(text(event, "node"), amount_of(event)),
            "Slashed": self._slash,
        }

    @property
    def unbonding(self) -> int:
        """The sum of all nodes' requests."""
        return sum(amount for requests in self.requests.values() for amount, _ in requests)

    def read(self, event: Event) -> None:
        """Process the next event, of any kind."""
        if event.name in self._readers:
            self._readers[event.name](event)

    def _bond(self, event: Event) -> None:
        self.bonded[text(event, "node")] += amount_of(event)

    def _unbond(self, event: Event) -> None:
        node, amount = text(event, "node"), amount_of(event)
        self.bonded[node] -= amount
        self.requests.setdefault(node, []).append((amount, integer(event, "readyAt")))

    def _withdraw(self, node: str, amount: int) -> None:
        """The oldest requests leave, each as a whole."""
        requests, left = self.requests.get(node, []), amount
        while left > 0 and requests:
            left -= requests.pop(0)[0]
        if left:
            self.faults.append(f"{node} withdrew {amount} wei of stake, which are not its oldest requests")

    def _slash(self, event: Event) -> None:
        """The bonded stake goes first, and then the oldest requests."""
        node, amount = text(event, "node"), amount_of(event)
        self._check_slash(node, amount, self._fixed.seconds_of(event.block))
        requests, left = self.requests.get(node, []), amount - min(amount, self.bonded[node])
        self.bonded[node] -= amount - left
        while left > 0 and requests:
            oldest, ready_at = requests.pop(0)
            if oldest > left:
                requests.insert(0, (oldest - left, ready_at))
            left -= min(left, oldest)
        if left:
            self.faults.append(f"{node} lost {amount} wei of stake, {left} more than it had")

    def _check_slash(self, node: str, amount: int, now_s: int) -> None:
        """At most the minimum stake, and not too soon after another slash of the node."""
        epoch = now_s // self._fixed.windows["epoch"]
        try:
            most = self._registry.terms_at(epoch).min_stake_wei
        except KeyError:
            most = 0  # no event announces any
        if amount > most:
            self.faults.append(f"{node} lost {amount} wei of stake at once, and {most} are the most")
        if node in self.slashed_at_s and now_s < self.slashed_at_s[node] + self._fixed.windows["slashGap"]:
            self.faults.append(f"{node} was slashed twice within {self._fixed.windows['slashGap']} s")
        self.slash_epochs.add(epoch)
        self.slashed_at_s[node] = now_s
