"""Attribution indexes made on the spot: of rows, on disk, or of bare tokens, in memory."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from openledger_node.attribution.index import AttributionIndex, DatanetIndex, build_index, open_index
from openledger_node.attribution.owners import OwnedDatanet, join_owners
from openledger_node.attribution.suffix_array import SEPARATOR, sort_suffixes
from openledger_node.datanets.near import distinct_rows
from openledger_node.datanets.version import VersionLabel, make_version
from openledger_node.engine.tokenizer import ByteTokenizer, Tokenizer
from openledger_protocol.codec import canonical_digest
from openledger_protocol.datanet import Row
from openledger_protocol.primitives import Address, DatanetId, Digest

BYTES = ByteTokenizer()
LAKE_ID = DatanetId("0x" + "11" * 32)
ADA, BO, CY, EVE = (Address("0x" + digit * 40) for digit in "1234")
ACCOUNTS = {"ada": ADA, "bo": BO, "cy": CY, "eve": EVE}


ROWS_ROOT = Digest("0x" + "22" * 32)


def label(id: str = "lake", version: str = "1", rows_root: Digest = ROWS_ROOT) -> VersionLabel:
    return VersionLabel(id=id, version=version, rows_root=rows_root)


def index_of(rows: Sequence[Row], folder: Path, *, tokenizer: Tokenizer = BYTES) -> AttributionIndex:
    """Build and open the index that an adapter trained on these rows ships."""
    root = build_index(folder, [(label(), distinct_rows(rows))], tokenizer, None)
    return open_index(folder, root)


def owned(
    rows: Sequence[Row],
    folder: Path,
    *,
    tokenizer: Tokenizer = BYTES,
    accounts: Mapping[str, Address] = ACCOUNTS,
) -> OwnedDatanet:
    """The same, with the owners that the Datanet's version names."""
    version = make_version("lake", "1", rows, accounts)
    index = index_of(rows, folder, tokenizer=tokenizer)
    return join_owners(index, {ROWS_ROOT: version.rows}, {ROWS_ROOT: LAKE_ID})[0]


def index_of_tokens(rows: Sequence[Sequence[int]]) -> DatanetIndex:
    """An index in memory whose rows are these tokens."""
    tokens = np.array([token for row in rows for token in (*row, SEPARATOR)], np.uint32)
    return DatanetIndex.of(
        id="lake",
        version="1",
        rows_root=ROWS_ROOT,
        row_digests=tuple(canonical_digest(place) for place in range(len(rows))),
        tokens=tokens,
        suffixes=sort_suffixes(tokens),
    )
