"""Standing of Datanets on the chain: their owners, what claims paid to each contributor, and who taught answers here.

Only final blocks are read, each once, so that no reorganisation can make a figure wrong.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from threading import Lock
from typing import Any, Final

from openledger_protocol.constants import PPM
from openledger_protocol.datanet import datanet_id
from openledger_protocol.events import Event
from openledger_protocol.primitives import ZERO_ADDRESS, Address, DatanetId, check_digest
from openledger_protocol.settlement import NOBODY, ClaimRecord, Payout, Pot

from ..datanets.held import is_datanet_id
from ..datanets.version import published_versions
from ..home import Home
from ..ledger.events import EventRows
from ..settlement.records import integer, payouts_of, record_of
from ..settlement.session import NetworkSession
from ..text import on_one_line

READ: Final = ("DatanetCreated", "DatanetOwnerChanged", "DatanetVersion", "Claimed", "Proposed", "Finalized")

ClaimKey = tuple[Address, int]
Standing = tuple[DatanetId, Address]


@dataclass(slots=True)
class _Datanet:
    """A registered Datanet."""

    name: str
    owner: Address
    licence: str
    num_versions: int = 0


@dataclass(slots=True)
class _Sums:
    """Sums over payout lists, of one account or of a whole Datanet."""

    weight: int = 0  # Σ amount · ppm over the receipts of the claims
    earned_wei: int = 0  # final
    pending_wei: int = 0  # proposed, not final


@dataclass(slots=True)
class DatanetBoards:
    """Reads the journal of chain events further at each look."""

    events: EventRows
    datanets: dict[DatanetId, _Datanet] = field(default_factory=dict)
    _records: dict[ClaimKey, ClaimRecord] = field(default_factory=dict)  # of claims that are not final
    _lists: dict[ClaimKey, list[Payout]] = field(default_factory=dict)  # the newest of each such claim
    _final: dict[Standing, _Sums] = field(default_factory=dict)
    _next_block: int = 0
    _reading: Lock = field(default_factory=Lock)

    def update(self) -> None:
        """Read the blocks that became final since the last look."""
        with self._reading:
            last = self.events.finalized_number()
            if last < self._next_block:
                return
            found = (each for name in READ for each in self.events.find(name, first=self._next_block, last=last))
            for event in sorted(found, key=lambda each: (each.block.number, each.log_index)):
                self._take(event)
            self._next_block = last + 1

    def sums(self) -> dict[Standing, _Sums]:
        """The sums of each account in each Datanet, with claims that are not final as pending."""
        found = {key: _Sums(each.weight, each.earned_wei) for key, each in self._final.items()}
        for claim, payouts in self._lists.items():
            for key, pot, payout in _paid(self._records[claim], payouts):
                sums = found.setdefault(key, _Sums())
                sums.weight += payout.weight
                sums.pending_wei += _amount_wei(pot, payout)
        return found

    def _take(self, event: Event) -> None:
        given: Any = event.arguments
        match event.name:
            case "DatanetCreated":
                name, licence = on_one_line(given["name"]), on_one_line(given["licence"])
                self.datanets[DatanetId(given["id"])] = _Datanet(name, Address(given["owner"]), licence)
            case "DatanetOwnerChanged":
                self.datanets[DatanetId(given["id"])].owner = Address(given["owner"])
            case "DatanetVersion":
                self.datanets[DatanetId(given["id"])].num_versions = integer(event, "version")
            case "Claimed":
                self._records[_claim_of(event)] = record_of(event)
            case "Proposed":
                self._lists[_claim_of(event)] = payouts_of(event)
            case "Finalized":
                self._close(_claim_of(event), is_late=bool(given["late"]))

    def _close(self, claim: ClaimKey, *, is_late: bool) -> None:
        """Add a closed claim's list to the sums; a late claim pays no contributor."""
        record, payouts = self._records.pop(claim), self._lists.pop(claim, [])
        for key, pot, payout in () if is_late else _paid(record, payouts):
            sums = self._final.setdefault(key, _Sums())
            sums.weight += payout.weight
            sums.earned_wei += _amount_wei(pot, payout)


class DatanetQueries:
    """Answers questions about Datanets with plain values for JSON."""

    def __init__(self, home: Home, session: NetworkSession) -> None:
        self._home = home
        self._session = session
        self._boards = DatanetBoards(session.ledger.events)
        self.answers = {
            "datanets": lambda _: self._list(),
            "datanet_board": lambda given: self._board(str(given["datanet"])),
        }

    def _list(self) -> dict[str, Any]:
        """The Datanets that the wallet owns on the chain, and those in which it has rows or pay."""
        self._boards.update()
        wallet, sums = self._session.accounts.wallet, self._boards.sums()
        found = []
        for id_, datanet in self._boards.datanets.items():
            own, rows = sums.get((id_, wallet), _Sums()), self._rows_of(id_, wallet)
            roles = [*["owner"] * (datanet.owner == wallet), *["contributor"] * bool(rows or own.weight)]
            if roles:
                found.append(
                    {
                        **_terms(id_, datanet),
                        "roles": roles,
                        "rows": rows,
                        "earned_wei": str(own.earned_wei),
                        "pending_wei": str(own.pending_wei),
                    }
                )
        return {"account": wallet, "datanets": found}

    def _rows_of(self, id_: DatanetId, account: Address) -> int | None:
        """The rows of an account in the newest version here that has some; None if no version is here."""
        versions = published_versions(self._home, id_)
        return max((sum(row.account == account for row in each.rows) for each in versions), default=None)

    def _board(self, datanet: str) -> dict[str, Any]:
        """Pay of each contributor of a Datanet, which is named by its id, or by its name if the wallet owns it."""
        self._boards.update()
        wallet = self._session.accounts.wallet
        id_ = DatanetId(check_digest(datanet)) if is_datanet_id(datanet) else datanet_id(wallet, datanet)
        known, sums = self._boards.datanets.get(id_), self._boards.sums()
        lines = {account: each for (of, account), each in sums.items() if of == id_}
        taught = self._session.ledger.receipts.count_taught(id_)
        return {
            **({"id": id_} if known is None else _terms(id_, known)),
            "is_registered": known is not None,
            "roles": [] if known is None or known.owner != wallet else ["owner"],
            "lines": _lines(lines, taught),
        }


def _lines(sums: Mapping[Address, _Sums], taught: Mapping[Address, int]) -> list[dict[str, Any]]:
    whole = sum(each.weight for account, each in sums.items() if account != NOBODY)
    order = sorted({*sums, *taught} - {NOBODY}, key=lambda each: (-sums.get(each, _Sums()).weight, each))
    return [
        {
            "account": account,
            "pays": "treasury" if account == ZERO_ADDRESS else "contributor",
            "answers": taught.get(account, 0),
            "influence_ppm": PPM * found.weight // whole if whole else 0,
            "earned_wei": str(found.earned_wei),
            "pending_wei": str(found.pending_wei),
        }
        for account in order
        for found in (sums.get(account, _Sums()),)
    ]


def _terms(id_: DatanetId, datanet: _Datanet) -> dict[str, Any]:
    return {
        "id": id_,
        "name": datanet.name,
        "owner": datanet.owner,
        "licence": datanet.licence,
        "versions": datanet.num_versions,
    }


def _claim_of(event: Event) -> ClaimKey:
    return Address(str(event.arguments["node"])), integer(event, "seq")


def _paid(record: ClaimRecord, payouts: list[Payout]) -> Iterator[tuple[Standing, Pot, Payout]]:
    """The entries of a payout list with their pots; those of a list that the contract would refuse are left out."""
    for payout in payouts:
        pot = record.pots[payout.pot] if payout.pot < len(record.pots) else None
        if pot and pot.gross_wei:
            yield (pot.datanet_id, payout.account), pot, payout


def _amount_wei(pot: Pot, payout: Payout) -> int:
    return pot.amount_wei * payout.weight // (PPM * pot.gross_wei)
