"""Plans that withdraw rows from a Datanet, by their contributor or by the Datanet's owner."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

from openledger_protocol.chain import ContractCall
from openledger_protocol.codec import canonical_digest
from openledger_protocol.datanet import datanet_id
from openledger_protocol.errors import MalformedError
from openledger_protocol.primitives import ZERO_ADDRESS, Address, DatanetId, Digest, check_digest
from openledger_protocol.withdrawal import NOTICE_EPOCHS, RowWithdrawal

from ..datanets.about import datanet_name
from ..datanets.held import is_datanet_id
from ..datanets.own import Datanet
from ..datanets.own_changes import withdraw
from ..datanets.rows import read_rows
from ..datanets.signed import is_signed_batch, read_signed
from ..datanets.store import OwnDatanets
from ..datanets.version import OwnedRow, account_of, published_versions, read_version
from ..datanets.withdrawn import NEVER, Withdrawn, read_withdrawn
from ..errors import NodeError
from ..home import Home
from ..settlement.actions import WithdrawRows
from ..settlement.session import NetworkSession
from ..text import counted, duration_text
from .publishing import Publication, is_under_way

ROWS_MAX: Final = 512
"""Rows of one transaction, which takes about 840 gas for each."""

BEGINNING_DIGITS: Final = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownRow:
    """A row of a Datanet that can be withdrawn."""

    digest: Digest
    account: Address  # zero: its contributor has no address
    contributor: str | None = None  # None: only a version is here, which names accounts alone
    is_published: bool = True


def withdraw_rows(home: Home, session: NetworkSession, account: Address, arguments: Mapping[str, Any]) -> Publication:
    """Plan to withdraw rows for good: published ones on the chain, and all from the Datanet if it is owned here.

    `rows` are digests or the beginnings of digests, `contributor` a name or an address, `file` a file of rows.

    Raises:
        NodeError: there are no such rows, or the account may not withdraw them.
    """
    found, own = _datanet(home, session, account, str(arguments["datanet"]))
    name = own.name if own else datanet_name(session.ledger.events, found) or found
    chosen = _choose(known_rows(home, found, own), arguments, account, name)
    withdrawn = read_withdrawn(session.ledger.events, found)
    published = [row for row in chosen if row.is_published and not _is_done(row, withdrawn, account)]
    digests = [row.digest for row in chosen]
    keep = partial(OwnDatanets(home).withdraw, own.name, digests) if own else lambda: None
    terms = session.deployment.datanet(found)
    if published and (terms is None or terms.owner != account):
        _check_theirs(published, account, name)
    actions = tuple(WithdrawRows(withdrawal=each) for each in _withdrawals(found, published))
    sent = [session.deployment.withdraw_rows(each.withdrawal, b"") for each in actions]
    waiting = [each for each, call in zip(actions, sent, strict=True) if not _is_sent(session, call)]
    if not waiting:
        return Publication(note=_nothing_to_send(chosen, published, name, own), keep=keep)
    details = (*_details(session, published, name, account), *_copies_text(home, own, digests))
    return Publication(actions=tuple(waiting), details=details, keep=keep)


def known_rows(home: Home, datanet: DatanetId, own: Datanet | None) -> list[KnownRow]:
    """The rows of a Datanet that this data directory knows, each once, published ones first."""
    found: dict[tuple[Address, Digest], KnownRow] = {}
    for row in _published_rows(home, datanet, own):
        found.setdefault((row.account, row.digest), KnownRow(digest=row.digest, account=row.account))
    if own is None:
        return list(found.values())
    for batch in own.batches:
        for each in OwnDatanets(home).batch_rows(own.name, batch.digest):
            key = (account_of(each.contributor, own.accounts), canonical_digest(each))
            is_published = key in found and found[key].is_published
            found[key] = KnownRow(
                digest=key[1], account=key[0], contributor=each.contributor, is_published=is_published
            )
    return list(found.values())


def _published_rows(home: Home, datanet: DatanetId, own: Datanet | None) -> Iterator[OwnedRow]:
    for version in published_versions(home, datanet):
        yield from version.rows
    if own is not None:
        for each in own.versions:
            yield from read_version(home, own.name, each.version).rows


def _datanet(home: Home, session: NetworkSession, account: Address, given: str) -> tuple[DatanetId, Datanet | None]:
    """Find a Datanet by its id on the chain, or by the name under which it is owned here."""
    own = OwnDatanets(home)
    if is_datanet_id(given):
        found = DatanetId(check_digest(given))
        if session.deployment.datanet(found) is None:
            raise NodeError(f"no Datanet {found} is registered on this network: check its id")
        ours = next((each for each in own.all() if datanet_id(account, each.name) == found), None)
        return found, ours
    return datanet_id(account, given), own.get(given)


def _choose(known: Sequence[KnownRow], arguments: Mapping[str, Any], account: Address, name: str) -> list[KnownRow]:
    """The rows that a command names.

    Raises:
        NodeError: it names none, or one that is not known here.
    """
    beginnings, contributor, file = (arguments.get(key) for key in ("rows", "contributor", "file"))
    if sum(map(bool, (beginnings, contributor, file))) != 1:
        raise NodeError("name the rows in one way: their digests, --contributor or --file")
    if contributor:
        chosen = [row for row in known if contributor in (row.contributor, row.account)]
        if not chosen:
            raise NodeError(f"no row of {name} that is known here is of {contributor}")
        return chosen
    if file:
        return _of_file(known, Path(str(file)), account)
    assert beginnings
    return [row for each in beginnings for row in _beginning_with(known, str(each), account, name)]


def _of_file(known: Sequence[KnownRow], file: Path, account: Address) -> list[KnownRow]:
    signed = read_signed(file) if is_signed_batch(file) else None
    digests = {canonical_digest(row) for row in (signed.rows if signed else read_rows(file))}
    chosen = [row for row in known if row.digest in digests]
    if not known:  # its version is not here, so they can only be the sender's
        account = signed.offer.account if signed else account
        return [KnownRow(digest=digest, account=account) for digest in sorted(digests)]
    if not chosen:
        raise NodeError(f"no row of {file} is in this Datanet: a row has to be the same to the letter")
    return chosen


def _beginning_with(known: Sequence[KnownRow], beginning: str, account: Address, name: str) -> list[KnownRow]:
    if not known:  # its version is not here, so the digests have to be whole
        try:
            return [KnownRow(digest=check_digest(beginning), account=account)]
        except MalformedError as error:
            raise NodeError(
                f"no version of {name} is here, so give whole digests of rows, or the rows themselves with --file"
            ) from error
    text = beginning if beginning.startswith("0x") else f"0x{beginning}"
    chosen = [row for row in known if len(text) >= BEGINNING_DIGITS + 2 and row.digest.startswith(text.lower())]
    if not chosen:
        raise NodeError(
            f"no row of {name} begins with {beginning!r}: `openledger-node datanet rows {name}` lists them, and "
            f"{BEGINNING_DIGITS} digits or more name one"
        )
    if len({row.digest for row in chosen}) > 1:
        raise NodeError(
            f"{len(chosen)} rows of {name} begin with {beginning!r}: give more digits of the one you mean"
        )
    return chosen


def _check_theirs(rows: Iterable[KnownRow], account: Address, name: str) -> None:
    if other := next((row for row in rows if row.account != account), None):
        whose = "a contributor without an address" if other.account == ZERO_ADDRESS else other.account
        raise NodeError(
            f"row {other.digest[:10]}… of {name} is of {whose}, and only that account or the Datanet's owner can "
            "withdraw it: choose the account with --wallet"
        )


def _withdrawals(datanet: DatanetId, rows: Iterable[KnownRow]) -> Iterator[RowWithdrawal]:
    by_account: dict[Address, list[Digest]] = {}
    for row in rows:
        by_account.setdefault(row.account, []).append(row.digest)
    for account, digests in sorted(by_account.items()):
        for start in range(0, len(digests), ROWS_MAX):
            yield RowWithdrawal(datanet_id=datanet, account=account, rows=tuple(digests[start : start + ROWS_MAX]))


def _is_done(row: KnownRow, withdrawn: Withdrawn, account: Address) -> bool:
    """Return True if another withdrawal would change nothing: only the row's own account can still end its pay."""
    unpaid_from_s = withdrawn.get((row.account, row.digest))
    return unpaid_from_s is not None and (unpaid_from_s != NEVER or row.account != account)


def _is_sent(session: NetworkSession, call: ContractCall) -> bool:
    return is_under_way(session, lambda sent: sent == call)


def _details(session: NetworkSession, rows: Sequence[KnownRow], name: str, account: Address) -> tuple[str, ...]:
    notice = duration_text(NOTICE_EPOCHS * session.windows.epoch_s)
    num_theirs = sum(row.account not in (account, ZERO_ADDRESS) for row in rows)
    pay = (
        f"the pay for {counted(num_theirs, 'row')} of other accounts goes on, and only those can end it"
        if num_theirs
        else f"{notice} later their pay goes to the treasury"
    )
    return (
        f"{counted(len(rows), 'row')} of {name} leave later versions and trainings, for good",
        f"adapters that were trained on them are flagged at once; {pay}",
        "copies that others have can't be called back",
    )


def _copies_text(home: Home, own: Datanet | None, withdrawn: Sequence[Digest]) -> tuple[str, ...]:
    """The rows of others that leave with those that are withdrawn, if the Datanet is owned here."""
    if own is None:
        return ()
    store = OwnDatanets(home)
    more = store.left_out(withdraw(own, withdrawn)) - store.left_out(own)
    if not more:
        return ()
    return (
        f"{counted(len(more), 'row')} of others that copy them leave later versions, too, unless an appeal is upheld",
    )


def _nothing_to_send(
    chosen: Sequence[KnownRow], published: Sequence[KnownRow], name: str, own: Datanet | None
) -> str:
    if published:
        return f"the withdrawal of these rows of {name} is on its way already"
    if own and any(not row.is_published for row in chosen):
        return f"{counted(len(chosen), 'row')} of {name}, which no version holds yet, will be in none"
    return f"these rows of {name} were withdrawn before"
