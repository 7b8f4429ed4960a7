"""OPEN of this node that contracts hold: its stake, its bonds, and deposits of channels.

Events say what went in, what came back and what was used up, and the contract says what it still holds.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from openledger_protocol.events import Event
from openledger_protocol.primitives import Address, Digest

from ..audit.events import amount_of, text
from ..ledger.events import EventRows
from ..settlement.records import integer
from .book_entries import ViewsAtBlock

NOT_RETIRED: Final = 0
RETURNS: Final = ("WithdrawFinished", "Refunded")
"""Events by which OPEN come back from a channel."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Locked:
    """The money of one kind that contracts hold or held."""

    what: str  # "stake", "adapters" or "channels"
    put_in_wei: int
    returned_wei: int
    used_wei: int  # slashed stake, or claims of nodes for answers
    locked_wei: int  # by the contract itself

    @property
    def holds(self) -> bool:
        """True if the contract holds exactly what the events leave there."""
        return self.put_in_wei == self.returned_wei + self.used_wei + self.locked_wei


@dataclass(frozen=True, slots=True, kw_only=True)
class AdapterBond:
    """The bond of one adapter that this node has registered."""

    adapter_id: Digest
    put_in_wei: int
    bond_wei: int  # that the contract still holds
    free_at_s: int  # when a retired adapter's bond can be taken back; 0 if it is not retired

    @property
    def state(self) -> str:
        """`published`, `retired` or `returned`."""
        if not self.bond_wei:
            return "returned"
        return "retired" if self.free_at_s else "published"


class LockedMoney:
    """Reads everything that is locked, as of one block."""

    def __init__(self, events: EventRows, views: ViewsAtBlock, own: Sequence[Address]) -> None:
        self._events = events
        self._ask = views.ask
        self._own = own

    def all(self) -> list[Locked]:
        """Locked money of each kind.

        Raises:
            ChainError: the chain can't be asked.
        """
        return [self.stake(), self.bonds_of_adapters(), self.deposits()]

    def stake(self) -> Locked:
        """The stake of the wallet, the first of our accounts."""
        node = self._own[0]
        row = self._ask("NodeStaking", "nodeOf", node)
        put_in, returned, slashed = (self._sum(name, node) for name in ("Bonded", "StakeWithdrawn", "Slashed"))
        return Locked(
            what="stake",
            put_in_wei=put_in,
            returned_wei=returned,
            used_wei=slashed,
            locked_wei=row["bonded"] + row["unbonding"],
        )

    def adapters(self) -> list[AdapterBond]:
        """The bonds of our adapters, oldest first."""
        found = [
            event for account in self._own for event in self._events.find("AdapterRegistered", {"owner": account})
        ]
        return [self._adapter(event) for event in found]

    def bonds_of_adapters(self) -> Locked:
        """All bonds of our adapters."""
        bonds = self.adapters()
        reclaimed = [
            event for account in self._own for event in self._events.find("BondReclaimed", {"owner": account})
        ]
        return Locked(
            what="adapters",
            put_in_wei=sum(bond.put_in_wei for bond in bonds),
            returned_wei=sum(map(amount_of, reclaimed)),
            used_wei=0,
            locked_wei=sum(bond.bond_wei for bond in bonds),
        )

    def deposits(self) -> Locked:
        """The deposits of channels that the wallet has opened as a payer."""
        opened = [event for account in self._own for event in self._events.find("ChannelOpened", {"payer": account})]
        put_in = returned = claimed = left = 0
        for event in opened:
            key = {"channelId": text(event, "channelId")}
            put_in += amount_of(event) + sum(map(amount_of, self._events.find("ToppedUp", key)))
            returned += sum(amount_of(each) for name in RETURNS for each in self._events.find(name, key))
            row = self._ask("PaymentChannels", "channelOf", key["channelId"])
            claimed += row["claimed"]
            left += row["deposit"] - row["claimed"]
        return Locked(what="channels", put_in_wei=put_in, returned_wei=returned, used_wei=claimed, locked_wei=left)

    def _adapter(self, registered: Event) -> AdapterBond:
        adapter_id = Digest(text(registered, "adapterId"))
        retired = self._events.find("AdapterRetired", {"adapterId": adapter_id})
        return AdapterBond(
            adapter_id=adapter_id,
            put_in_wei=amount_of(registered),
            bond_wei=self._ask("ModelRegistry", "adapterOf", adapter_id)["bond"],
            free_at_s=integer(retired[-1], "reclaimableAt") if retired else NOT_RETIRED,
        )

    def _sum(self, name: str, node: Address) -> int:
        return sum(map(amount_of, self._events.find(name, {"node": node})))
