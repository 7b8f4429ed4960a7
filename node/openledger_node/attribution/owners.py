"""Whose each row of an index is: the Datanet's version says so, never a file of the adapter's maker."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from openledger_protocol.errors import AdapterRefusedError
from openledger_protocol.primitives import Address, DatanetId, Digest

from .index import AttributionIndex, DatanetIndex


class VersionRow(Protocol):
    """A row as a Datanet's version lists it."""

    @property
    def digest(self) -> Digest:
        """Of the row's canonical JSON."""

    @property
    def account(self) -> Address:
        """Who gave it; zero: nobody who could be paid."""

    @property
    def cluster(self) -> int:
        """The first row of the version that it nearly repeats, or its own place."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnedDatanet:
    """A Datanet's index, its id on the chain, and of each row of the index the cluster and who is paid for that."""

    id: DatanetId
    index: DatanetIndex
    clusters: tuple[int, ...]
    accounts: tuple[Address, ...]


def join_owners(
    index: AttributionIndex, versions: Mapping[str, Sequence[VersionRow]], datanet_ids: Mapping[str, DatanetId]
) -> tuple[OwnedDatanet, ...]:
    """Join an index with the rows of its Datanets' versions, both mappings by the Datanet's name.

    A cluster is paid to whoever gave its first row, so a copy earns its maker nothing.

    Raises:
        AdapterRefusedError: a Datanet is not known here, or the index holds a row that its version does not.
    """
    return tuple(_join(datanet, versions, datanet_ids) for datanet in index.datanets)


def _join(
    index: DatanetIndex, versions: Mapping[str, Sequence[VersionRow]], datanet_ids: Mapping[str, DatanetId]
) -> OwnedDatanet:
    if index.id not in versions or index.id not in datanet_ids:
        raise AdapterRefusedError(f"version {index.version} of Datanet {index.id} is not known here")
    rows = versions[index.id]
    places = {row.digest: place for place, row in reversed(list(enumerate(rows)))}  # of the same, the first
    if missing := [digest for digest in index.row_digests if digest not in places]:
        raise AdapterRefusedError(
            f"row {missing[0]} of the index is not in version {index.version} of Datanet {index.id}"
        )
    found = [rows[places[digest]] for digest in index.row_digests]
    return OwnedDatanet(
        id=datanet_ids[index.id],
        index=index,
        clusters=tuple(row.cluster for row in found),
        accounts=tuple(rows[row.cluster].account for row in found),
    )
