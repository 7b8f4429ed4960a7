"""The division of one receipt's price, as if it were claimed alone: each party's part, to the wei.

A claim combines many receipts and rounds once, so the chain's payments may differ by a few wei. The rules are the
same: round down at every step; the node gets the dust, and within a Datanet's part the treasury does.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from .attribution import Share
from .claims import AdapterTerms, DatanetTerms, part_down
from .constants import PPM
from .epoch import Params
from .primitives import ZERO_ADDRESS, Address, DatanetId, Wei


@dataclass(frozen=True, slots=True, kw_only=True)
class Payee:
    """One contributor's part of a Datanet's part."""

    account: Address  # zero: no contributor, so it goes to the treasury
    ppm: int
    amount_wei: Wei


@dataclass(frozen=True, slots=True, kw_only=True)
class DatanetPart:
    """One Datanet's part."""

    datanet_id: DatanetId
    weight_ppm: int
    owner_wei: Wei
    part_wei: Wei  # of all contributors and the treasury
    payees: tuple[Payee, ...]
    dust_wei: Wei  # the rest of `part_wei` after rounding, for the treasury


@dataclass(frozen=True, slots=True, kw_only=True)
class Division:
    """The parts of a price; they sum to it exactly."""

    amount_wei: Wei
    node_wei: Wei
    adapter_owner_wei: Wei
    protocol_wei: Wei
    datanets: tuple[DatanetPart, ...]

    @property
    def datanet_owners_wei(self) -> Wei:
        """The part of all Datanets' owners."""
        return Wei(sum(part.owner_wei for part in self.datanets))

    @property
    def contributors_wei(self) -> Wei:
        """The part of contributors and treasuries."""
        return Wei(sum(part.part_wei for part in self.datanets))


def divide(
    amount_wei: Wei,
    *,
    params: Params,
    adapter: AdapterTerms | None,
    datanets: Mapping[DatanetId, DatanetTerms],
    shares: Sequence[Share],
) -> Division:
    """Divide a price; `adapter` is None if the base alone answered."""
    protocol = part_down(amount_wei, params.protocol_ppm)
    royalty = part_down(amount_wei, adapter.royalty_ppm) if adapter else Wei(0)
    data = part_down(amount_wei, params.data_ppm)
    parts = tuple(
        _part(datanet_id, weight_ppm, part_down(data, weight_ppm), datanets[datanet_id], shares)
        for datanet_id, weight_ppm in (adapter.datanets if adapter else ())
    )
    named = protocol + royalty + sum(part.owner_wei + part.part_wei for part in parts)
    return Division(
        amount_wei=amount_wei,
        node_wei=Wei(amount_wei - named),
        adapter_owner_wei=royalty,
        protocol_wei=protocol,
        datanets=parts,
    )


def _part(
    datanet_id: DatanetId, weight_ppm: int, pot_wei: Wei, terms: DatanetTerms, shares: Sequence[Share]
) -> DatanetPart:
    owner = part_down(pot_wei, terms.owner_ppm)
    part = Wei(pot_wei - owner)
    payees = [
        Payee(account=share.account, ppm=share.ppm, amount_wei=part_down(part, share.ppm))
        for share in shares
        if share.datanet_id == datanet_id
    ]
    return DatanetPart(
        datanet_id=datanet_id,
        weight_ppm=weight_ppm,
        owner_wei=owner,
        part_wei=part,
        payees=tuple(payees),
        dust_wei=Wei(part - sum(payee.amount_wei for payee in payees)),
    )


def join_ppm(shares: Sequence[Share], weights_ppm: Mapping[DatanetId, int]) -> dict[Address, int]:
    """Each account's share over all Datanets, summing to 1,000,000; empty without Datanets.

    Largest remainder; ties go to the lower address.
    """
    weights: dict[Address, int] = {}
    for share in shares:
        weights[share.account] = weights.get(share.account, 0) + share.ppm * weights_ppm.get(share.datanet_id, 0)
    accounts = sorted(weights, key=str.lower)
    return dict(zip(accounts, apportion(PPM, [weights[account] for account in accounts]), strict=True))


def apportion(total: int, weights: Sequence[int]) -> list[int]:
    """Divide a total by weights so that the parts sum to it; all zeros if the weights are."""
    whole = sum(weights)
    if not whole:
        return [0] * len(weights)
    parts = [total * weight // whole for weight in weights]
    by_remainder = sorted(range(len(weights)), key=lambda at: -(total * weights[at] % whole))
    for at in by_remainder[: total - sum(parts)]:
        parts[at] += 1
    return parts


def is_treasury(account: Address) -> bool:
    """True if a share belongs to no contributor, so the treasury gets it."""
    return account == ZERO_ADDRESS
