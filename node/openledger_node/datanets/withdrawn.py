"""Rows that were withdrawn from a Datanet, as the chain's events say."""

import contextlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from openledger_protocol.adapter import AdapterManifest, DatanetReference
from openledger_protocol.primitives import Address, DatanetId, Digest

from ..errors import NodeError
from ..home import Home
from ..ledger.events import EventRows
from ..ledger.ledger import open_ledger
from .version import OwnedRow, find_made_here, read_published

Withdrawn = Mapping[tuple[Address, Digest], int]
"""Withdrawn rows by account and digest, each with the second from which receipts leave it unpaid."""


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
        return f"trained on {self.count} of {self.of} rows that were withdrawn since"


def read_withdrawn(
    events: EventRows, datanet_id: DatanetId, *, last: int | None = None
) -> dict[tuple[Address, Digest], int]:
    """Read the rows that were withdrawn from a Datanet up to the block `last`; of several withdrawals the first counts.

    Anybody can withdraw digests under their own account, so a digest means nothing without it.
    """
    found: dict[tuple[Address, Digest], int] = {}
    for event in events.find("RowsWithdrawn", {"id": datanet_id}, last=last):
        given: Mapping[str, Any] = event.arguments
        for digest in given["rows"]:
            found.setdefault((Address(given["account"]), Digest(digest)), int(given["effectiveAt"]))
    return found


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


def withdrawn_here(home: Home, rows_roots: Sequence[Digest]) -> dict[tuple[Address, Digest], int]:
    """Read the rows that were withdrawn, on any network of this data directory, from the Datanet with these versions."""
    found: dict[tuple[Address, Digest], int] = {}
    for file in sorted((home.root / "networks").glob("*/ledger.db")):
        with contextlib.closing(open_ledger(file, is_writer=False)) as ledger:
            published = (ledger.events.find("DatanetVersion", {"rowsRoot": root}) for root in rows_roots)
            for datanet_id in {str(event.arguments["id"]) for events in published for event in events}:
                found = {**read_withdrawn(ledger.events, DatanetId(datanet_id)), **found}
    return found


def _rows_of(home: Home, datanet: DatanetReference) -> Sequence[OwnedRow] | None:
    with contextlib.suppress(NodeError):
        return read_published(home, datanet).rows
    made_here = find_made_here(home, datanet.rows_root)
    return made_here[0].rows if made_here else None


def _is_older(events: EventRows, datanet: DatanetReference) -> bool:
    """Return True if a withdrawal followed the version that a manifest names."""
    published = events.find("DatanetVersion", {"id": datanet.id, "rowsRoot": datanet.rows_root})
    withdrawals = events.find("RowsWithdrawn", {"id": datanet.id})
    places = [(event.block.number, event.log_index) for event in (published[0], withdrawals[-1])] if published else []
    return not places or places[0] < places[1]
