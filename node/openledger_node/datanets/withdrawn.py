"""Rows that were withdrawn from a Datanet, as the chain's events say."""

import contextlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from openledger_protocol.adapter import AdapterManifest, DatanetReference
from openledger_protocol.events import Event
from openledger_protocol.primitives import AdapterId, Address, DatanetId, Digest

from ..errors import NodeError
from ..home import Home
from ..ledger.events import EventRows
from ..ledger.ledger import Ledger
from .ledgers import read_ledgers
from .version import OwnedRow, find_made_here, published_file, read_published

Withdrawn = Mapping[tuple[Address, Digest], int]
"""Withdrawn rows by account and digest, each with the second from which receipts leave it unpaid."""

NEVER: Final = 2**64
"""Second for a row that only the Datanet's owner has withdrawn. It stays paid: the treasury may be the owner's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WithdrawnRows:
    """Withdrawn rows among those that an adapter was trained on."""

    count: int | None  # None: its Datanet's version is not here, so nobody here can count them
    of: int | None  # rows of its Datanets

    @property
    def says(self) -> str:
        """The flag, as a sentence for whoever uses the adapter."""
        if self.count is None:
            return "rows of its Datanet were withdrawn after it was trained"
        return f"{self.count} of the {self.of} rows of its Datanets were withdrawn after it was trained"


def read_withdrawn(
    events: EventRows, datanet_id: DatanetId, *, first: int = 0, last: int | None = None
) -> dict[tuple[Address, Digest], int]:
    """Read the rows withdrawn from a Datanet in blocks `first` to `last`; of several withdrawals the earliest counts.

    Anybody can withdraw digests under their own account, so a digest means nothing without it.
    """
    found: dict[tuple[Address, Digest], int] = {}
    for event in events.find("RowsWithdrawn", {"id": datanet_id}, first=first, last=last):
        given: Mapping[str, Any] = event.arguments
        unpaid_from_s = NEVER if given["byOwner"] else int(given["effectiveAt"])
        add_earliest(found, {(Address(given["account"]), Digest(each)): unpaid_from_s for each in given["rows"]})
    return found


def add_earliest(known: dict[tuple[Address, Digest], int], more: Withdrawn) -> None:
    """Add withdrawals to those that are known; of one row the earliest second counts."""
    known.update((row, min(second, known.get(row, NEVER))) for row, second in more.items())


def withdrawn_to_plain(found: WithdrawnRows | None) -> dict[str, Any] | None:
    """The flag for JSON; None for an adapter without withdrawn rows."""
    return None if found is None else {"rows": found.count, "of_rows": found.of, "says": found.says}


def find_withdrawn(rows: Iterable[OwnedRow], withdrawn: Withdrawn) -> list[Digest]:
    """Find the rows of a version that were withdrawn, in the version's order."""
    return [row.digest for row in rows if (row.account, row.digest) in withdrawn]


def withdrawn_from(home: Home, events: EventRows, manifest: AdapterManifest) -> WithdrawnRows | None:
    """Find the withdrawn rows that an adapter was trained on, as far as the ledger has read the chain.

    Without a copy of the Datanet's version only the order of events tells: a later version leaves withdrawn rows out.
    """
    count, of = 0, 0
    is_unsure = False
    for datanet in manifest.datanets or ():
        withdrawn = read_withdrawn(events, datanet.id)
        if not withdrawn:
            continue
        rows = _rows_of(home, datanet)
        if rows is None:
            is_unsure = is_unsure or _is_older(events, datanet)
        else:
            count += len(find_withdrawn(rows, withdrawn))
            of += len(rows)
    if count:
        return WithdrawnRows(count=count, of=of)
    return WithdrawnRows(count=None, of=None) if is_unsure else None


def withdrawn_of_registered(events: EventRows, adapter_id: AdapterId) -> WithdrawnRows | None:
    """The same for an adapter that is not here, by the chain alone, as if trained on the newest versions."""
    for registered in events.find("AdapterRegistered", {"adapterId": adapter_id}):
        entry: Any = registered.arguments["adapter"]
        for datanet_id in map(DatanetId, entry["datanetIds"]):
            versions = events.find("DatanetVersion", {"id": datanet_id}, last=registered.block.number)
            if versions and _has_withdrawn(events, datanet_id, after=versions[-1]):
                return WithdrawnRows(count=None, of=None)
    return None


def withdrawn_here(home: Home, rows_roots: Sequence[Digest]) -> dict[tuple[Address, Digest], int]:
    """Read the rows withdrawn from the Datanet with these versions, on any network of this data directory.

    On each network only a Datanet counts whose version is here. Where these rows were never published from here, a
    stranger could publish them, and withdraw them as the owner of that Datanet.

    Only final blocks count. Whoever asks keeps the answer for good, and a reorganisation may take a withdrawal back.
    The second from which receipts leave a row unpaid is two epochs later, so nothing is paid that should not be.

    Raises:
        ConfigError, LedgerError: the ledger of a network in use can't be read.
    """

    def read(_: str, ledger: Ledger) -> dict[tuple[Address, Digest], int]:
        final = ledger.events.finalized_number()
        published = [(root, ledger.events.find("DatanetVersion", {"rowsRoot": root})) for root in rows_roots]
        ids = [(DatanetId(str(event.arguments["id"])), root) for root, events in published for event in events]
        ours = {id for id, root in ids if published_file(home, id, root).exists()}
        found: dict[tuple[Address, Digest], int] = {}
        for datanet_id in ours:
            add_earliest(found, read_withdrawn(ledger.events, datanet_id, last=final))
        return found

    found: dict[tuple[Address, Digest], int] = {}
    for each in read_ledgers(home, read):
        add_earliest(found, each)
    return found


def _rows_of(home: Home, datanet: DatanetReference) -> Sequence[OwnedRow] | None:
    with contextlib.suppress(NodeError):
        return read_published(home, datanet).rows
    made_here = find_made_here(home, datanet.rows_root)
    return made_here[0].rows if made_here else None


def _is_older(events: EventRows, datanet: DatanetReference) -> bool:
    """Return True if the owner withdrew rows after publishing the version that a manifest names."""
    published = events.find("DatanetVersion", {"id": datanet.id, "rowsRoot": datanet.rows_root})
    return bool(published) and _has_withdrawn(events, datanet.id, after=published[0])


def _has_withdrawn(events: EventRows, datanet_id: DatanetId, *, after: Event) -> bool:
    """Return True if the owner of a Datanet withdrew rows after an event, their own rows included.

    NOTE: Another contributor's withdrawals mean nothing without the version, because a stranger could send one too.
    """
    owners = {
        event.arguments["owner"]
        for name in ("DatanetCreated", "DatanetOwnerChanged")
        for event in events.find(name, {"id": datanet_id})
    }
    return any(
        (event.arguments["byOwner"] or event.arguments["account"] in owners) and _place(event) > _place(after)
        for event in events.find("RowsWithdrawn", {"id": datanet_id})
    )


def _place(event: Event) -> tuple[int, int]:
    return event.block.number, event.log_index
