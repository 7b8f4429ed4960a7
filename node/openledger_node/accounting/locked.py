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

    what: str  # "stake", "adapters", "cases", "contributors" or "channels"
    put_in_wei: int
    returned_wei: int
    used_wei: int  # slashed stake, lost bonds, or claims of nodes for answers
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


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseBond:
    """A bond that one of our accounts put into a case, and how it ended."""

    account: Address
    digest: Digest  # of the case's receipt
    amount_wei: int
    put_in: Event
    ended: Event | None  # None while the case is open
    is_returned: bool = False


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
        bonds = [self.bonds_of_adapters(), self.bonds_of_cases()]
        return [self.stake(), *bonds, self.deposits()]

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

    def cases(self) -> list[CaseBond]:
        """The bonds that our accounts have put into cases, oldest first."""
        bonds = [bond for event in self._events.find("Challenged") for bond in self._case(event)]
        return [bond for bond in bonds if bond.account in self._own]

    def bonds_of_cases(self) -> Locked:
        """All bonds of cases."""
        bonds = self.cases()
        return Locked(
            what="cases",
            put_in_wei=sum(bond.amount_wei for bond in bonds),
            returned_wei=sum(bond.amount_wei for bond in bonds if bond.is_returned),
            used_wei=sum(bond.amount_wei for bond in bonds if bond.ended and not bond.is_returned),
            locked_wei=self._bonds_of_open_cases(),
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

    def _case(self, challenged: Event) -> list[CaseBond]:
        """The bonds of one case: the challenger's, and those of all who have contested it."""
        digest, amount_wei = Digest(text(challenged, "digest")), amount_of(challenged)
        key = {"digest": digest}
        contests = self._events.find("Contested", key)
        judged, lapsed = self._events.find("Judged", key), self._events.find("Lapsed", key)
        end = next(iter([*judged, *lapsed]), None)
        is_guilty = bool(judged and judged[0].arguments["guilty"])
        bonds = [
            CaseBond(
                account=Address(text(challenged, "challenger")),
                digest=digest,
                amount_wei=amount_wei,
                put_in=challenged,
                ended=end,
                is_returned=bool(lapsed) or is_guilty,
            )
        ]
        for place, contested in enumerate(contests):
            follower = contests[place + 1] if place + 1 < len(contests) else None  # takes the place, so it comes back
            bonds.append(
                CaseBond(
                    account=Address(text(contested, "contester")),
                    digest=digest,
                    amount_wei=amount_wei,
                    put_in=contested,
                    ended=follower or end,
                    is_returned=bool(follower or lapsed or (judged and not is_guilty)),
                )
            )
        return bonds

    def _bonds_of_open_cases(self) -> int:
        nodes = {
            text(event, "node")
            for event in self._events.find("Challenged")
            if not self._events.find("Judged", {"digest": text(event, "digest")})
        }
        sides = [self._ask("Disputes", "sidesOf", node) for node in nodes]
        return sum(
            row["bond"] * [row["challenger"], row["contester"]].count(own) for row in sides for own in self._own
        )

    def _sum(self, name: str, node: Address) -> int:
        return sum(map(amount_of, self._events.find(name, {"node": node})))
