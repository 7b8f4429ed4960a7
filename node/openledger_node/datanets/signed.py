"""Signed batches: rows in a file with the statement by which their contributor offers them to one Datanet.

The contributor needs no node. Whoever gets the file can check it, and nobody can use it for another Datanet.
"""

import json
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from openledger_protocol.codec import canonical_digest, to_plain
from openledger_protocol.datanet import Row, datanet_id, row_from_json
from openledger_protocol.errors import BadSignatureError, MalformedError
from openledger_protocol.offer import RowOffer, check_offer, offer_from_json
from openledger_protocol.primitives import Address, DatanetId

from ..errors import NodeError
from ..home import Home
from ..keystore import list_accounts
from ..network_file import Network
from ..text import counted
from .files import FilePreview, open_preview
from .own import Datanet
from .reading import ReadOptions
from .rows import write_rows

SIGNED_SCHEMA: Final = "openledger.signed_batch/1"
FILE_BYTES_MAX: Final = 256 * 1024**2
HEAD_BYTES: Final = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedBatch:
    """Rows and the offer that names them."""

    rows: tuple[Row, ...]
    offer: RowOffer


@dataclass(frozen=True, slots=True, kw_only=True)
class DatanetPlace:
    """The place that an offer is for: a Datanet on one chain."""

    chain_id: int
    contract: Address
    datanet_id: DatanetId


def draft_batch(rows: Sequence[Row], place: DatanetPlace, account: Address, licence: str) -> SignedBatch:
    """Make a batch for its contributor to sign; all its rows become theirs."""
    own = tuple(replace(row, contributor=account) for row in rows)
    offer = RowOffer(
        chain_id=place.chain_id,
        contract=place.contract,
        datanet_id=place.datanet_id,
        account=account,
        licence=licence,
        rows=tuple(canonical_digest(row) for row in own),
    )
    return SignedBatch(rows=own, offer=offer)


def write_signed(file: Path, batch: SignedBatch) -> None:
    """Write a signed batch.

    Raises:
        NodeError: the file can't be written.
    """
    offer: Any = to_plain(batch.offer)
    content = {"schema": SIGNED_SCHEMA, "offer": offer, "rows": [to_plain(row) for row in batch.rows]}
    try:
        with file.open("x", encoding="utf-8") as stream:
            stream.write(json.dumps(content, ensure_ascii=False, indent=1) + "\n")
    except FileExistsError as error:
        raise NodeError(f"{file} exists already, and nothing is overwritten: name another file with --out") from error
    except OSError as error:
        raise NodeError(f"cannot write {file}: {error.strerror}") from error


def read_own_signed(home: Home, network: Network | None, datanet: Datanet, file: Path) -> SignedBatch:
    """Read a signed batch, and check that it is for a Datanet that is owned here.

    Raises:
        NodeError: it is damaged, or was signed for another Datanet, another chain or another licence.
    """
    batch = read_signed(file)
    if network is None:
        raise NodeError(
            "a signed batch names a Datanet on a chain, and this data directory is on no network: join one with "
            "`openledger-node network join`"
        )
    accounts = list_accounts(home.network_keys(network.network))
    ids = [datanet_id(account.address, datanet.name) for account in accounts]
    if not ids:
        raise NodeError("there is no wallet here: create one with `openledger-node wallet create`")
    ours = batch.offer.datanet_id if batch.offer.datanet_id in ids else ids[0]
    place = DatanetPlace(chain_id=network.chain_id, contract=network.contracts["DatanetRegistry"], datanet_id=ours)
    check_place(batch, place, datanet.licence)
    return batch


@contextmanager
def open_signed_preview(batch: SignedBatch, file: Path, *, keep: bool) -> Iterator[FilePreview]:
    """Read the rows of a signed batch as those of any file, with the same checks.

    Raises:
        NodeError: a row can't be taken; without it, its signature would be of other rows.
    """
    with tempfile.TemporaryDirectory(prefix="openledger-signed-") as folder:
        rows_file = Path(folder) / "rows.jsonl"
        write_rows(rows_file, batch.rows)
        with open_preview(rows_file, ReadOptions(name=rows_file.name, keep=keep)) as preview:
            if flaws := preview.report["flaws"]:
                raise NodeError(
                    f"{counted(preview.report['num_flaws'], 'row')} of {file} can't be taken, and a signed batch is "
                    f"taken whole. Row {flaws[0]['place']}: {flaws[0]['reason']}. Ask for one without them, or pass "
                    "--keep if they are personal data or secrets that may stay"
                )
            if preview.rows(None) != batch.rows:
                raise NodeError(
                    f"the rows of {file} were changed by its check: ask for one without invisible letters"
                )
            yield preview


def is_signed_batch(file: Path) -> bool:
    """Return True if a file begins as a signed batch does."""
    try:
        with file.open("rb") as stream:
            head = stream.read(HEAD_BYTES)
    except OSError:
        return False
    return head.lstrip().startswith(b"{") and SIGNED_SCHEMA.encode() in head


def read_signed(file: Path) -> SignedBatch:
    """Read a signed batch, and check that its account has signed exactly these rows.

    Raises:
        NodeError: the file can't be read, or the batch is not what its account has signed.
    """
    try:
        with file.open("rb") as stream:
            text = stream.read(FILE_BYTES_MAX + 1)
        if len(text) > FILE_BYTES_MAX:
            raise MalformedError(f"it is larger than {FILE_BYTES_MAX // 1024**2} MiB")
        return _signed_from_json(json.loads(text))
    except OSError as error:
        raise NodeError(f"cannot read {file}: {error.strerror}") from error
    except (ValueError, RecursionError, MalformedError, BadSignatureError) as error:
        raise NodeError(f"{file} can't be taken: {error}") from error


def check_place(batch: SignedBatch, place: DatanetPlace, licence: str) -> None:
    """Check that a batch was signed for this Datanet, and under its licence.

    Raises:
        NodeError: it was signed for another chain, another Datanet or under another licence.
    """
    offer = batch.offer
    if (offer.chain_id, offer.contract) != (place.chain_id, place.contract):
        raise NodeError(
            f"{offer.account} has signed this batch for chain {offer.chain_id} and registry {offer.contract}, but "
            f"this Datanet is on chain {place.chain_id} in {place.contract}: ask for a batch that is signed for it"
        )
    if offer.datanet_id != place.datanet_id:
        raise NodeError(
            f"{offer.account} has signed this batch for Datanet {offer.datanet_id}, but this one is "
            f"{place.datanet_id}: ask for a batch that is signed for it"
        )
    if offer.licence != licence:
        raise NodeError(
            f"{offer.account} offers these rows under {offer.licence}, but the licence of this Datanet is {licence}: "
            f"ask for a batch that is signed with --licence {licence}"
        )


def _signed_from_json(content: object) -> SignedBatch:
    if not isinstance(content, dict) or set(content) != {"schema", "offer", "rows"}:
        raise MalformedError("a signed batch has the fields schema, offer and rows")
    if content["schema"] != SIGNED_SCHEMA or not isinstance(content["rows"], list):
        raise MalformedError(f"a signed batch has the schema {SIGNED_SCHEMA!r} and a list of rows")
    offer = offer_from_json(content["offer"])
    rows = tuple(row_from_json(row) for row in content["rows"])
    for number, row in enumerate(rows, 1):
        if row.contributor != offer.account:
            raise MalformedError(f"row {number} names {row.contributor}, but {offer.account} has signed")
    if tuple(canonical_digest(row) for row in rows) != offer.rows:
        raise MalformedError(
            f"its rows are not those that {offer.account} has signed: one was changed, added or left out"
        )
    return SignedBatch(rows=rows, offer=check_offer(offer))
