"""Payees of a receipt: people by their shares, their names as far as known here, and their amounts."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from types import MappingProxyType

from openledger_protocol.attribution import Share
from openledger_protocol.codec import canonical_digest
from openledger_protocol.datanet import Row
from openledger_protocol.division import Division, divide, is_treasury, join_ppm
from openledger_protocol.epoch import epoch_at
from openledger_protocol.primitives import BASE_ONLY, Address, Digest, Wei

from ..attribution.owners import OwnedDatanet
from ..datanets.held import read_held
from ..datanets.sample import SAMPLE_SEEDS, draw_sample, sample_people
from ..datanets.store import OwnDatanets
from ..datanets.version import DatanetVersion, find_made_here
from ..errors import NodeError
from ..home import Home
from ..ledger.receipts import ReceiptRow
from ..settlement.session import NetworkSession

COLOURS = 4
"""People with a colour of their own; the rest are shown as others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """One payee of a receipt."""

    number: int  # 1 to 4, by share; 0: one of the others, or the treasury
    account: Address
    name: str | None  # of the account, as far as it is known here
    pays: str  # "contributor" or "treasury"
    ppm: int  # of all Datanets of the adapter together
    amount_wei: Wei  # of this receipt


def division_of(session: NetworkSession, row: ReceiptRow, amount_wei: Wei | None = None) -> Division:
    """Divide a receipt's price, or another amount, by the chain's terms and the receipt's shares.

    Raises:
        ChainError: the chain can't be asked.
    """
    deployment, receipt = session.deployment, row.receipt
    adapter = deployment.adapter(receipt.adapter_id)
    found = {datanet_id: deployment.datanet(datanet_id) for datanet_id, _ in (adapter.datanets if adapter else ())}
    return divide(
        receipt.amount_wei if amount_wei is None else amount_wei,
        params=deployment.params(_epoch_of(session, row)),
        adapter=adapter,
        datanets={datanet_id: terms for datanet_id, terms in found.items() if terms},
        shares=row.shares,
    )


def people_of(division: Division, shares: Sequence[Share], names: Mapping[Address, str]) -> list[Person]:
    """List a receipt's payees, the greatest share first and the treasury last."""
    ppm_of = join_ppm(shares, {part.datanet_id: part.weight_ppm for part in division.datanets})
    amounts: dict[Address, int] = {}
    for payee in (payee for part in division.datanets for payee in part.payees):
        amounts[payee.account] = amounts.get(payee.account, 0) + payee.amount_wei
    ranked = sorted(ppm_of, key=lambda account: (is_treasury(account), -ppm_of[account], account.lower()))
    return [
        Person(
            number=place if place <= COLOURS and not is_treasury(account) else 0,
            account=account,
            name=names.get(account),
            pays="treasury" if is_treasury(account) else "contributor",
            ppm=ppm_of[account],
            amount_wei=Wei(amounts.get(account, 0)),
        )
        for place, account in enumerate(ranked, start=1)
    ]


def names_of(
    home: Home,
    datanets: Sequence[str],
    owned: Sequence[OwnedDatanet] = (),
    known: Sequence[Mapping[Digest, Row]] = (),
) -> dict[Address, str]:
    """Names of contributors by account, as far as they are known here.

    They come from Datanets owned here, from the rows of an adapter that are here, and from the package's samples.
    `known` has the `known_rows` of each of `owned`.
    """
    own, names = OwnDatanets(home), dict[Address, str]()
    for datanet in datanets:
        try:
            found = own.find(datanet)
        except NodeError:  # damaged: `datanet show` reports it, and a name is optional here
            continue
        for name, account in (found.accounts if found else {}).items():
            names.setdefault(account, name)
    for each, rows in zip(owned, known, strict=True):
        for account, first in zip(each.accounts, each.firsts, strict=True):
            if first in rows and not rows[first].contributor.startswith("0x"):
                names.setdefault(account, rows[first].contributor)
    return {**sample_people(), **names}


def known_rows(home: Home, datanet: OwnedDatanet) -> Mapping[Digest, Row]:
    """The rows that taught an adapter, by digest, as far as they are here; an index alone has only their tokens."""
    for find in (_pulled_rows, _own_rows):
        if rows := find(home, datanet):
            return {canonical_digest(row): row for row in rows}
    wanted = set(datanet.index.row_digests)
    return next((rows for rows in map(_sample_rows, SAMPLE_SEEDS.values()) if wanted <= rows.keys()), {})


def _pulled_rows(home: Home, datanet: OwnedDatanet) -> Sequence[Row]:
    return _or_none(lambda: read_held(home, datanet.id, datanet.index.rows_root))


def _own_rows(home: Home, datanet: OwnedDatanet) -> Sequence[Row]:
    rows_root = datanet.index.rows_root
    for made in find_made_here(home, rows_root):
        if rows := _or_none(partial(_made_rows, home, made)):
            return rows
    return ()


def _made_rows(home: Home, made: DatanetVersion) -> Sequence[Row]:
    return OwnDatanets(home).version_rows(made.id, made.version)[1]


@cache  # every query about a receipt asks, and the samples never change
def _sample_rows(seed: int) -> Mapping[Digest, Row]:
    return MappingProxyType({canonical_digest(row): row for row in draw_sample(seed).rows})


def _or_none(read: Callable[[], Sequence[Row]]) -> Sequence[Row]:
    try:
        return read()
    except NodeError:
        return ()


def _epoch_of(session: NetworkSession, row: ReceiptRow) -> int:
    """The epoch whose parameters apply: the claim's, or the current one before the claim."""
    claim = session.ledger.claims.find(row.claim_id) if row.claim_id is not None else None
    return claim.epoch if claim else epoch_at(session.client.head().timestamp_s, session.windows)


# ---- The payment state of a receipt's shares.


def state_of(row: ReceiptRow) -> dict[str, str]:
    """The payment state of a receipt's shares, as a key and as a sentence."""
    if row.receipt.adapter_id == BASE_ONLY:
        return {"state": "base", "says": "the base alone answered: it pays no Datanet"}
    if row.countersignature is None:
        return {
            "state": "not_countersigned",
            "says": "the payer has not countersigned, so the protocol gets the data's part",
        }
    return {"state": "countersigned", "says": "countersigned by the payer"}
