"""Stakes, and the stakers' share of fees, recomputed event by event as NodeStaking counts them."""

from collections import Counter
from collections.abc import Callable, Mapping

from openledger_protocol.events import Event

from ..settlement.records import integer
from .events import amount_of, text

WEI_PARTS = 10**18
"""Parts in a wei: rewards per bonded wei are counted in parts, so that division loses nothing."""

Request = tuple[int, int]  # wei, and the second from which they can be withdrawn


class Stakes:
    """Each node's bonded stake, stake that leaves, and earnings; rewards are counted up to its last action.

    The rewards of a node are parts of a wei, and `counted` is the `per_wei` up to which they are.
    """

    def __init__(self) -> None:
        self.bonded: Counter[str] = Counter()
        self.requests: dict[str, list[Request]] = {}
        self.parts: Counter[str] = Counter()
        self.counted: Counter[str] = Counter()
        self.per_wei = 0  # earned on each bonded wei since the start, in parts
        self.remainder = 0  # parts that could not be divided yet
        self.faults: list[str] = []
        self._readers: Mapping[str, Callable[[Event], None]] = {
            "Bonded": lambda event: self._bond(text(event, "node"), amount_of(event)),
            "UnbondStarted": self._unbond,
            "StakeWithdrawn": lambda event: self._withdraw(text(event, "node"), amount_of(event)),
            "Slashed": lambda event: self._slash(text(event, "node"), amount_of(event)),
            "RewardsNotified": self._notify,
            "RewardsPaid": lambda event: self._pay(text(event, "node"), amount_of(event)),
        }

    @property
    def unbonding(self) -> int:
        """The sum of all nodes' requests."""
        return sum(amount for requests in self.requests.values() for amount, _ in requests)

    def read(self, event: Event) -> None:
        """Process the next event, of any kind."""
        if event.name in self._readers:
            self._readers[event.name](event)

    def _bond(self, node: str, amount: int) -> None:
        self._count(node)
        self.bonded[node] += amount

    def _unbond(self, event: Event) -> None:
        node, amount = text(event, "node"), amount_of(event)
        self._bond(node, -amount)
        self.requests.setdefault(node, []).append((amount, integer(event, "readyAt")))

    def _withdraw(self, node: str, amount: int) -> None:
        """The oldest requests leave, each as a whole."""
        requests, left = self.requests.get(node, []), amount
        while left > 0 and requests:
            left -= requests.pop(0)[0]
        if left:
            self.faults.append(f"{node} withdrew {amount} wei of stake, which are not its oldest requests")

    def _slash(self, node: str, amount: int) -> None:
        """The bonded stake goes first, and then the youngest requests."""
        requests, left = self.requests.get(node, []), amount - min(amount, self.bonded[node])
        self._bond(node, left - amount)
        while left > 0 and requests:
            youngest, ready_at = requests.pop()
            if youngest > left:
                requests.append((youngest - left, ready_at))
            left -= min(left, youngest)
        if left:
            self.faults.append(f"{node} lost {amount} wei of stake, {left} more than it had")

    def _notify(self, event: Event) -> None:
        amount, announced = amount_of(event), integer(event, "accPerShare")
        if not self.bonded.total():
            self.faults.append(f"{amount} wei were divided while nobody had bonded")
            return
        self.notify(amount)
        if announced != self.per_wei:
            self.faults.append(f"accPerShare is announced as {announced}, but by the bonds it is {self.per_wei}")

    def notify(self, amount: int) -> None:
        """Divide an amount over the bonds of its time; there must be one."""
        more, self.remainder = divmod(amount * WEI_PARTS + self.remainder, self.bonded.total())
        self.per_wei += more

    def earned(self) -> dict[str, int]:
        """Each node's rewards up to now that were not paid, in wei, rounded down."""
        for node in list(self.bonded):
            self._count(node)
        return {node: wei for node, parts in self.parts.items() if (wei := parts // WEI_PARTS)}

    def _pay(self, node: str, amount: int) -> None:
        self._count(node)
        if amount != (owed := self.parts[node] // WEI_PARTS):
            self.faults.append(f"{node} was paid {amount} wei, but had earned {owed}")
        self.parts[node] -= amount * WEI_PARTS

    def _count(self, node: str) -> None:
        self.parts[node] += self.bonded[node] * (self.per_wei - self.counted[node])
        self.counted[node] = self.per_wei
