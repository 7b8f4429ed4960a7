"""Owners of an index's rows, taken from the Datanet's version and never from a file of the adapter's author."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from openledger_protocol.errors import AdapterRefusedError
from openledger_protocol.primitives import Address, DatanetId, Digest

from ..datanets.version import OwnedRow
from .index import AttributionIndex, DatanetIndex


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnedDatanet:
    """A Datanet's index, its id on the chain, and each row's cluster and the account that is paid for it."""

    id: DatanetId
    index: DatanetIndex
    clusters: tuple[int, ...]
    accounts: tuple[Address, ...]
    firsts: tuple[Digest, ...]  # the first row of each row's cluster, whose account is paid


def join_owners(
    index: AttributionIndex, versions: Mapping[Digest, Sequence[OwnedRow]], datanet_ids: Mapping[Digest, DatanetId]
) -> tuple[OwnedDatanet, ...]:
    """Join an index with the rows of its Datanets' versions; both mappings are keyed by the root of these rows.

    A cluster is paid to the contributor of its first row, so a copy earns its contributor nothing.

    Raises:
        AdapterRefusedError: a Datanet is not known here, or its version lacks a row of the index.
    """
    return tuple(_join(datanet, versions, datanet_ids) for datanet in index.datanets)


def _join(
    index: DatanetIndex, versions: Mapping[Digest, Sequence[OwnedRow]], datanet_ids: Mapping[Digest, DatanetId]
) -> OwnedDatanet:
    if index.rows_root not in versions or index.rows_root not in datanet_ids:
        raise AdapterRefusedError(f"version {index.version} of Datanet {index.id} is not known here")
    rows = versions[index.rows_root]
    places = {row.digest: place for place, row in reversed(list(enumerate(rows)))}  # of equal rows, the first
    if missing := [digest for digest in index.row_digests if digest not in places]:
        raise AdapterRefusedError(
            f"row {missing[0]} of the index is not in version {index.version} of Datanet {index.id}"
        )
    found = [rows[places[digest]] for digest in index.row_digests]
    return OwnedDatanet(
        id=datanet_ids[index.rows_root],
        index=index,
        clusters=tuple(row.cluster for row in found),
        accounts=tuple(rows[row.cluster].account for row in found),
        firsts=tuple(rows[row.cluster].digest for row in found),
    )
