"""Whom a receipt names: people in the order of their shares, the names that are known for them, and what they get."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from openledger_protocol.attribution import Share
from openledger_protocol.division import Division, divide, is_treasury, join_ppm
from openledger_protocol.epoch import epoch_at
from openledger_protocol.primitives import Address, DatanetId, Wei

from ..datanets.service import OwnDatanets
from ..errors import NodeError
from ..home import Home
from ..ledger.receipts import ReceiptRow
from .economy import Economy

COLOURS = 4
"""So many people are told apart by colour; the rest are the others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """Somebody whom a receipt names."""

    number: int  # 1 to 4, by share; 0: one of the others, or the treasury
    account: Address
    name: str | None  # as this home's Datanets call the account
    pays: str  # "contributor" or "treasury"
    ppm: int  # of all Datanets of the adapter together
    amount_wei: Wei  # of this receipt


def division_of(economy: Economy, row: ReceiptRow, amount_wei: Wei | None = None) -> Division:
    """A receipt's price, or another amount by the same rules, divided as the chain's terms say.

    Raises:
        ChainError: the chain can't be asked.
    """
    deployment, receipt = economy.deployment, row.receipt
    adapter = deployment.adapter(receipt.adapter_id)
    found = {datanet_id: deployment.datanet(datanet_id) for datanet_id, _ in (adapter.datanets if adapter else ())}
    return divide(
        receipt.amount_wei if amount_wei is None else amount_wei,
        params=deployment.params(_epoch_of(economy, row)),
        adapter=adapter,
        datanets={datanet_id: terms for datanet_id, terms in found.items() if terms},
        shares=row.shares,
    )


def people_of(division: Division, shares: Sequence[Share], names: Mapping[Address, str]) -> list[Person]:
    """Those whom a receipt names, the greatest share first and the treasury last."""
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


def datanet_name(economy: Economy, datanet_id: DatanetId) -> str | None:
    """What a Datanet's owner called it on the chain."""
    created = economy.ledger.events.find("DatanetCreated", {"id": datanet_id})
    return str(created[-1].arguments["name"]) if created else None


def names_of(home: Home, datanets: Sequence[str]) -> dict[Address, str]:
    """The names under which this home's own Datanets know their contributors."""
    own, names = OwnDatanets(home), dict[Address, str]()
    for datanet in datanets:
        try:
            found = own.find(datanet)
        except NodeError:  # torn: `datanet show` says so, and a name is no evidence
            continue
        for name, account in (found.accounts if found else {}).items():
            names.setdefault(account, name)
    return names


def _epoch_of(economy: Economy, row: ReceiptRow) -> int:
    """Whose parameters count: those of the claim's epoch, once there is one."""
    claim = economy.ledger.claims.find(row.claim_id) if row.claim_id is not None else None
    return claim.epoch if claim else epoch_at(economy.client.head().timestamp_s, economy.windows)
