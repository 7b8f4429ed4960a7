"""A Datanet owned here as the page shows it: what waits, batches row by row, and versions.

Personal data and secrets are masked in every text of a row.
"""

from collections import Counter
from collections.abc import Collection
from typing import Any, Final

from openledger_protocol.codec import canonical_digest, to_plain
from openledger_protocol.constants import PPM
from openledger_protocol.datanet import Row
from openledger_protocol.primitives import ZERO_ADDRESS, Address, Digest

from ..home import Home
from .copy_notes import CopyNote
from .own import Datanet, Published, RowBatch, find_batch, state_of
from .row_pages import RowPages
from .screening import mask_private, personal_data, secrets_in
from .store import OwnDatanets
from .version import account_of, read_version

ROWS_SHOWN_MAX: Final = 100
PEOPLE_SHOWN: Final = 8
"""Contributors that a version names; the others are counted."""

UNPAID_SHOWN: Final = 20


class DatanetViews:
    """Reads the Datanets of one data directory for the page. Every method blocks."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._own = OwnDatanets(home)
        self._pages = RowPages()
        self._people: dict[tuple[str, Digest, Digest], Counter[Address]] = {}  # rows by account of each version

    def overview(self) -> dict[str, Any]:
        """All Datanets that are owned here, with what waits in each."""
        return {"datanets": [_summary(each) for each in self._own.all()]}

    def show(self, name: str) -> dict[str, Any]:
        """One Datanet: terms, batches without their rows, and versions.

        Raises:
            NodeError: there is no such Datanet, or a file is damaged.
        """
        datanet = self._own.learn_withdrawals(name)
        return {
            **_summary(datanet),
            "treasury": datanet.treasury,
            "owner_ppm": datanet.owner_ppm,
            "batches": [_batch(datanet, each) for each in datanet.batches],
            "published": [self._version(datanet, each) for each in datanet.versions],
        }

    def batch(
        self, name: str, beginning: str, *, offset: int = 0, limit: int = 10, only_marked: bool = False
    ) -> dict[str, Any]:
        """One batch with its numbers and some of its rows; `only_marked`: those that copy others, or have an appeal.

        Raises:
            NodeError: there is no such Datanet or batch, or its rows are damaged.
        """
        datanet = self._own.get(name)
        batch = find_batch(datanet, beginning)
        file = self._own.batch_file(name, batch.digest)
        verified = self._pages.verify(file, batch.digest)
        signed = {digest for offer in self._own.offers(datanet, only_approved=False) for digest in offer.rows}
        gate = batch.gate
        marked = {each.row for each in gate.copies} | {each.row for each in gate.appeals}
        marked |= {each.row for each in gate.rejected}
        numbers = sorted(marked) if only_marked else range(1, len(verified.starts) + 1)
        shown = numbers[max(0, offset) :][: min(max(1, limit), ROWS_SHOWN_MAX)]
        rows = self._pages.read(file, batch.digest, shown)
        people = verified.contributors
        unpaid = [person for person in people if account_of(person, datanet.accounts) == ZERO_ADDRESS]
        return {
            "datanet": name,
            **_batch(datanet, batch),
            "numbers": to_plain(batch.gate.numbers),
            "without_account": unpaid[:UNPAID_SHOWN],
            "taken": len(gate.taken),
            "num_marked": len(marked),
            "num_found": len(numbers),
            "offset": max(0, offset),
            "shown": [_row(datanet, batch, number, row, signed) for number, row in zip(shown, rows, strict=True)],
        }

    def _version(self, datanet: Datanet, published: Published) -> dict[str, Any]:
        """One version with its largest contributors, by their rows."""
        names = {account: name for name, account in datanet.accounts.items()}
        people = self._people_of(datanet.name, published)
        return {
            **_plain(published),
            "contributors": len(people.keys() - {ZERO_ADDRESS}),
            "people": [
                {
                    "account": None if account == ZERO_ADDRESS else account,
                    "name": names.get(account),
                    "rows": count,
                    "share_ppm": PPM * count // people.total(),
                }
                for account, count in people.most_common(PEOPLE_SHOWN)
            ],
        }

    def _people_of(self, name: str, published: Published) -> Counter[Address]:
        """The number of rows of each account in a version, which is read once, because it never changes."""
        key = (name, published.rows_root, published.contributors_root)
        if key not in self._people:
            rows = read_version(self._home, name, published.version).rows
            self._people[key] = Counter(row.account for row in rows)
        return self._people[key]


def _summary(datanet: Datanet) -> dict[str, Any]:
    approved = [batch for batch in datanet.batches if batch.digest in datanet.approved]
    return {
        "name": datanet.name,
        "licence": datanet.licence,
        "rows": sum(batch.rows_kept for batch in approved),
        "withdrawn": len(datanet.withdrawn),
        "batches_waiting": len(datanet.pending),
        "appeals_waiting": sum(_num_open_appeals(batch) for batch in datanet.batches),
        "versions": len(datanet.versions),
        "newest": datanet.versions[-1].version if datanet.versions else None,
        "unpublished": len(approved) - _num_published(datanet),
    }


def _num_published(datanet: Datanet) -> int:
    """The number of approved batches that the last version has, with those that add no row to it."""
    last = datanet.versions[-1] if datanet.versions else None
    return max(last.batches, last.same_until) if last else 0


def _num_open_appeals(batch: RowBatch) -> int:
    return sum(each.upheld is None for each in batch.gate.appeals)


def _batch(datanet: Datanet, batch: RowBatch) -> dict[str, Any]:
    return {
        "digest": batch.digest,
        "state": state_of(datanet, batch),
        "rows": batch.rows,
        "rows_kept": batch.rows_kept,
        "contributors": batch.contributors,
        "near_duplicates": batch.near_duplicates,
        "of_others": batch.of_others,
        "unpaid": batch.unpaid,
        "looks": [each.name for each in batch.gate.numbers if each.verdict == "look"],
        "appeals_waiting": _num_open_appeals(batch),
        "rejected_because": batch.gate.rejected_because,
    }


def _row(datanet: Datanet, batch: RowBatch, number: int, row: Row, signed: Collection[Digest]) -> dict[str, Any]:
    digest, account = canonical_digest(row), account_of(row.contributor, datanet.accounts)
    text = f"{row.prompt}\n{row.completion}"
    gate = batch.gate
    copy = next((each for each in gate.copies if each.row == number), None)
    appeal = next((each for each in gate.appeals if each.row == number), None)
    return {
        "row": number,
        "digest": digest,
        "prompt": mask_private(row.prompt),
        "completion": mask_private(row.completion),
        "masked": [*personal_data(text), *secrets_in(text)],
        "contributor": row.contributor,
        "account": None if account == ZERO_ADDRESS else account,
        "is_signed": digest in signed,
        "is_withdrawn": digest in datanet.withdrawn,
        "rejected_because": next((each.because for each in gate.rejected if each.row == number), None),
        "copy": None if copy is None else _masked(copy),
        "appeal": None if appeal is None else _plain(appeal),
    }


def _masked(copy: CopyNote) -> dict[str, Any]:
    """A note with masked texts; earlier notes have them as they are in the rows."""
    return {**_plain(copy), "begins": mask_private(copy.begins), "of_begins": mask_private(copy.of_begins)}


def _plain(value: object) -> dict[str, Any]:
    content = to_plain(value)
    assert isinstance(content, dict)
    return content
