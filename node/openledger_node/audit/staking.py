"""Stakes, recomputed event by event as NodeStaking counts them."""

from collections import Counter
from collections.abc import Callable, Mapping

from openledger_protocol.events import Event

from ..settlement.records import integer
from .events import amount_of, text

Request = tuple[int, int]  # wei, and the second from which they can be withdrawn


class Stakes:
    """Each node's bonded stake, and stake that leaves."""

    def __init__(self) -> None:
        self.bonded: Counter[str] = Counter()
        self.requests: dict[str, list[Request]] = {}
        self.faults: list[str] = []
        self._readers: Mapping[str, Callable[[Event], None]] = {
            "Bonded": self._bond,
            "UnbondStarted": self._unbond,
            "StakeWithdrawn": lambda event: self._withdraw(text(event, "node"), amount_of(event)),
            "Slashed": lambda event: self._slash(text(event, "node"), amount_of(event)),
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

    def _slash(self, node: str, amount: int) -> None:
        """The bonded stake goes first, and then the youngest requests."""
        requests, left = self.requests.get(node, []), amount - min(amount, self.bonded[node])
        self.bonded[node] -= amount - left
        while left > 0 and requests:
            youngest, ready_at = requests.pop()
            if youngest > left:
                requests.append((youngest - left, ready_at))
            left -= min(left, youngest)
        if left:
            self.faults.append(f"{node} lost {amount} wei of stake, {left} more than it had")
