"""Leaderboard of a Datanet: the rows that each contributor sent, how many were accepted, and what they earned."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from openledger_protocol.codec import canonical_digest
from openledger_protocol.constants import PPM
from openledger_protocol.primitives import ZERO_ADDRESS, Address, DatanetId, check_digest

from ..home import Home
from .held import is_datanet_id
from .own import state_of
from .store import OwnDatanets
from .version import account_of, published_versions

ChainLine = Mapping[str, Any]
"""`account`, `answers`, `influence_ppm`, `earned_wei` and `pending_wei`, as `datanet_board` tells them."""


@dataclass(slots=True)
class _Given:
    """The rows of one contributor."""

    account: Address | None  # None: a name without an account, which nobody can pay
    names: Counter[str] = field(default_factory=Counter)  # with their rows
    sent: int | None = 0  # None: only the owner of the Datanet knows
    accepted: int = 0


def standing(home: Home, datanet: str, chain: Iterable[ChainLine] | None) -> list[dict[str, Any]]:
    """The contributors of a Datanet, named by its name here or its id; `chain` is None while the chain is not known.

    The one with the most influence comes first, then the one with the most rows.

    Raises:
        NodeError: there is no such Datanet, or a file is damaged.
    """
    given = _given_elsewhere(home, datanet) if is_datanet_id(datanet) else _given_here(home, datanet)
    of_chain = {each["account"]: each for each in chain or ()}
    lines = [_line(each, of_chain.pop(each.account, None)) for each in given]
    lines += [_line(_Given(account=account, sent=None), each) for account, each in of_chain.items()]
    if chain is None:
        lines = [
            {**line, **dict.fromkeys(("answers", "influence_ppm", "earned_wei", "pending_wei"))} for line in lines
        ]
    return sorted(lines, key=lambda line: (-(line["influence_ppm"] or 0), -line["accepted"], line["account"] or "~"))


def _given_here(home: Home, name: str) -> list[_Given]:
    own, found = OwnDatanets(home), dict[str, _Given]()
    datanet = own.get(name)
    gone = {*datanet.withdrawn, *own.left_out(datanet)}
    for batch in datanet.batches:
        left_out = {each.row for each in batch.gate.rejected}
        is_approved = state_of(datanet, batch) == "approved"
        for number, row in enumerate(own.batch_rows(name, batch.digest), 1):
            account = account_of(row.contributor, datanet.accounts)
            known = None if account == ZERO_ADDRESS else account
            given = found.setdefault(known or row.contributor, _Given(account=known))
            given.names[row.contributor] += 1
            given.sent = (given.sent or 0) + 1
            is_gone = bool(gone) and canonical_digest(row) in gone
            given.accepted += is_approved and number not in left_out and not is_gone
    return list(found.values())


def _given_elsewhere(home: Home, datanet_id: str) -> list[_Given]:
    """Contributors to somebody else's Datanet, by the version with the most rows among those that are here."""
    versions = published_versions(home, DatanetId(check_digest(datanet_id)))
    newest = max(versions, key=lambda each: len(each.rows), default=None)
    counts = (
        Counter(row.account for row in newest.rows if row.account != ZERO_ADDRESS) if newest else Counter[Address]()
    )
    return [_Given(account=account, sent=None, accepted=number) for account, number in counts.items()]


def _line(given: _Given, paid: ChainLine | None) -> dict[str, Any]:
    names = [name for name, _ in given.names.most_common() if name != given.account]
    return {
        "name": names[0] if names else None,
        "account": None if given.account == ZERO_ADDRESS else given.account,
        "pays": "treasury" if given.account in (None, ZERO_ADDRESS) else "contributor",
        "sent": given.sent,
        "accepted": given.accepted,
        "accepted_ppm": PPM * given.accepted // given.sent if given.sent else None,
        "answers": paid["answers"] if paid else 0,
        "influence_ppm": paid["influence_ppm"] if paid else 0,
        "earned_wei": paid["earned_wei"] if paid else "0",
        "pending_wei": paid["pending_wei"] if paid else "0",
    }
