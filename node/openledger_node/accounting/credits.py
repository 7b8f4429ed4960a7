"""Credits of claims to the accounts of this node, final ones and those under way, each on its line of the books."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence

from openledger_protocol.constants import PPM
from openledger_protocol.events import Event
from openledger_protocol.payouts import CreditRole
from openledger_protocol.primitives import ZERO_ADDRESS, Address, DatanetId
from openledger_protocol.settlement import ClaimRecord

from ..audit.claims import register
from ..audit.events import amount_of, text
from ..audit.splits import DATANET_OWNERS, RegistryState, check_split
from ..ledger.events import EventRows
from ..settlement.records import integer, payouts_of, record_of
from .book_entries import Accounts, BookLine, Entry, in_order

When = Callable[[Event], float]
REGISTRY_EVENTS = ("AdapterRegistered", "DatanetCreated", "DatanetOwnerChanged", "ParamsQueued")
LINES = {
    CreditRole.CONTRIBUTOR: BookLine.CONTRIBUTOR,
    CreditRole.TREASURY: BookLine.TREASURY,
    CreditRole.PROTOCOL: BookLine.PROTOCOL,
}


def final_credits(events: EventRows, accounts: Accounts, rewards: Address, when: When) -> list[Entry]:
    """The credits of final claims, in the chain's order; `rewards` is the contract that makes them."""
    found = [
        event
        for account in accounts.roles
        for event in events.find("Credited", {"account": account}, contract=rewards)
    ]
    found.sort(key=lambda event: (event.block.number, event.log_index))
    owners = _OwnerLines(events)
    return [
        Entry(
            line=_line_of(event, accounts, owners),
            amount_wei=amount_of(event),
            at_s=when(event),
            account=Address(text(event, "account")),
            node=Address(text(event, "node")),
            seq=integer(event, "seq"),
            transaction_hash=event.transaction_hash,
        )
        for event in found
    ]


def credits_under_way(events: EventRows, accounts: Accounts) -> list[Entry]:
    """The credits that claims on the chain will bring when they are final, without this node's part of its claims.

    A contributor's part, and a treasury's, is known once the claim's payout list is on the chain. The time of such a
    credit is that of its claim.
    """
    owners = _OwnerLines(events)
    return [entry for event in events.unfinished_claims() for entry in _under_way(event, events, accounts, owners)]


def _under_way(claimed: Event, events: EventRows, accounts: Accounts, owners: "_OwnerLines") -> Iterator[Entry]:
    record = record_of(claimed)

    def entry(line: BookLine, account: Address, amount_wei: int) -> Entry:
        at_s = float(record.claimed_at_s)
        return Entry(line=line, amount_wei=amount_wei, at_s=at_s, account=account, node=record.node, seq=record.seq)

    if any(credit.account in accounts.roles for credit in record.credits):
        for credit, line in zip(record.credits, owners.of_record(claimed, record), strict=True):
            if credit.account in accounts.roles:
                yield entry(line, credit.account, credit.amount_wei)
    key: dict[str, int | str] = {"node": record.node, "seq": record.seq}
    for proposed in events.find("Proposed", key)[-1:]:
        treasuries = [treasury_of(events, pot.datanet_id) for pot in record.pots]
        for account, line, amount_wei in _list_parts(record, proposed, treasuries):
            if account and account in accounts.roles and amount_wei:
                yield entry(line, account, amount_wei)


def _list_parts(
    record: ClaimRecord, proposed: Event, treasuries: Sequence[Address | None]
) -> Iterator[tuple[Address | None, BookLine, int]]:
    """The parts that a payout list gives to each account, by the contract's rounding; the treasury gets the rest."""
    rests: dict[int, int] = {}
    for payout in payouts_of(proposed):
        pot = record.pots[payout.pot]
        rest = rests.setdefault(payout.pot, pot.amount_wei)
        if payout.account != ZERO_ADDRESS:
            amount_wei = pot.amount_wei * payout.weight // (PPM * pot.gross_wei)
            rests[payout.pot] = rest - amount_wei
            yield payout.account, BookLine.CONTRIBUTOR, amount_wei
    for place, rest in rests.items():
        yield treasuries[place], BookLine.TREASURY, rest


def treasury_of(events: EventRows, datanet_id: DatanetId) -> Address | None:
    """The treasury of a Datanet, which never changes; None if no event names it."""
    found = events.find("DatanetCreated", {"id": datanet_id})
    return Address(text(found[0], "treasury")) if found else None


def _line_of(credited: Event, accounts: Accounts, owners: "_OwnerLines") -> BookLine:
    match CreditRole(integer(credited, "role")):
        case CreditRole.NODE:
            return BookLine.NODE if text(credited, "node") == accounts.wallet else BookLine.OTHER_NODES
        case CreditRole.OWNER:
            return owners.next_of(credited)
        case role:
            return LINES[role]


class _OwnerLines:
    """Tells an adapter owner's credit from a Datanet owner's, because an event names both by one role.

    The record of a claim has both kinds of credits in order, and the registries say which is which.
    """

    def __init__(self, events: EventRows) -> None:
        self._events = events
        self._announced: list[Event] | None = None  # read when the first owner's credit is met
        self._waiting: dict[tuple[str, int], dict[str, list[BookLine]]] = {}

    def next_of(self, credited: Event) -> BookLine:
        """The line of the next credit to this account in a claim; credits come in the order of the record."""
        key = text(credited, "node"), integer(credited, "seq")
        if key not in self._waiting:
            self._waiting[key] = defaultdict(list)
            for claimed in self._events.find("Claimed", {"node": key[0], "seq": key[1]})[-1:]:
                record = record_of(claimed)
                for credit, line in zip(record.credits, self.of_record(claimed, record), strict=True):
                    self._waiting[key][credit.account].append(line)
        waiting = self._waiting[key][text(credited, "account")]
        return waiting.pop(0) if waiting else BookLine.ROYALTY

    def of_record(self, claimed: Event, record: ClaimRecord) -> list[BookLine]:
        """The line of each credit of a record, by the registries as they were at its claim."""
        if self._announced is None:
            self._announced = in_order(self._events, *REGISTRY_EVENTS)
        registry = RegistryState()
        for event in self._announced:
            if (event.block.number, event.log_index) < (claimed.block.number, claimed.log_index):
                register(registry, event)
        roles = check_split(record, registry).roles
        return [BookLine.DATANET if role == DATANET_OWNERS else BookLine.ROYALTY for role in roles]
