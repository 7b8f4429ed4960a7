"""Who earns what of a claim, to the wei, in the contracts' own order of steps.

Everything rounds down and the node's share takes the dust, so each claim sums exactly.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from itertools import groupby, pairwise

from .attribution import Share
from .constants import (
    ADAPTER_DATANETS_MAX,
    CLAIM_ADAPTERS_MAX,
    CLAIM_ITEMS_MAX,
    CLAIM_POTS_MAX,
    LATE_PPM,
    PAYOUTS_MAX,
    PPM,
)
from .epoch import Params
from .errors import AttributionError, ClaimRefusedError
from .merkle import AttributionLeaf
from .primitives import BASE_ONLY, ZERO_ADDRESS, AdapterId, Address, DatanetId, Wei
from .settlement import ClaimRecord, Credit, EpochClaim, Item, Payout, Pot, items_hash


class CreditRole(IntEnum):
    """As whom an account is credited; the number stands in the contract's event."""

    NODE = 0
    ADAPTER_OWNER = 1
    DATANET_OWNER = 2
    CONTRIBUTOR = 3
    TREASURY = 4
    PROTOCOL = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class AdapterTerms:
    """What the registry says of an adapter that matters to a claim."""

    owner: Address
    royalty_ppm: int
    datanets: tuple[tuple[DatanetId, int], ...]  # ascending, each with its weight in ppm


@dataclass(frozen=True, slots=True, kw_only=True)
class DatanetTerms:
    """What the registry says of a Datanet that matters to a claim."""

    owner: Address
    owner_ppm: int  # of what its pots are worth
    treasury: Address


@dataclass(frozen=True, slots=True, kw_only=True)
class Beneficiaries:
    """Where the parts go that a record names by role only, as the contracts say when a claim is made final."""

    node: Address  # the node's payout address
    protocol: Address  # the protocol's treasury
    treasuries: Mapping[DatanetId, Address]


@dataclass(frozen=True, slots=True, kw_only=True)
class AttributedReceipt:
    """What a list of who is owed needs of a receipt; those of skipped items are left out."""

    index: int  # in the claim's tree of receipts
    adapter_id: AdapterId
    amount_wei: Wei
    shares: tuple[Share, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Credited:
    """What a final claim adds to an account's balance."""

    account: Address
    amount_wei: Wei
    role: CreditRole


def compute_claim(
    claim: EpochClaim,
    adapters: Sequence[AdapterId],
    items: Sequence[Item],
    *,
    skipped: int,
    claimed_at_s: int,
    params: Params,
    registry: Mapping[AdapterId, AdapterTerms],
    datanets: Mapping[DatanetId, DatanetTerms],
) -> ClaimRecord:
    """The record that the contract makes of a claim mined at `claimed_at_s`, with `params` of the claim's epoch.

    Raises:
        ClaimRefusedError: the contract would take no such claim.
    """
    check_claim(claim, adapters, items)
    protocol = stakers = 0
    credits: list[Credit] = []
    pots: list[Pot] = []
    gross_by_adapter = _gross_by_adapter(len(adapters), items, skipped)
    for adapter_id, gross in zip(adapters, gross_by_adapter, strict=True):
        protocol += part_down(gross, params.protocol_ppm)
        stakers += part_down(gross, params.stakers_ppm)
        if adapter_id == BASE_ONLY or gross == 0:
            continue
        terms = registry.get(adapter_id)
        if terms is None:
            raise ClaimRefusedError(f"adapter {adapter_id} is not registered")
        adapter_credits, adapter_pots = _divide(adapter_id, terms, gross, params, datanets)
        credits += adapter_credits
        pots += adapter_pots
    if len(pots) > CLAIM_POTS_MAX:
        raise ClaimRefusedError(f"the claim has {len(pots)} pots, over {CLAIM_POTS_MAX}: split it by adapters")
    gross_wei = sum(gross_by_adapter)
    named = protocol + stakers + sum(c.amount_wei for c in credits) + sum(p.amount_wei for p in pots)
    return ClaimRecord(
        node=claim.node,
        seq=claim.seq,
        epoch=claim.epoch,
        claimed_at_s=claimed_at_s,
        items_hash=claim.items_hash,
        receipts_root=claim.receipts_root,
        count=claim.count,
        skipped=skipped,
        gross_wei=Wei(gross_wei),
        protocol_wei=Wei(protocol),
        stakers_wei=Wei(stakers),
        node_share_wei=Wei(gross_wei - named),
        credits=tuple(credits),
        pots=tuple(pots),
    )


def check_claim(claim: EpochClaim, adapters: Sequence[AdapterId], items: Sequence[Item]) -> None:
    """Require what the contract requires of a claim's form.

    Raises:
        ClaimRefusedError: naming the bound, or that the hash is of other items.
    """
    if not 0 < len(items) <= CLAIM_ITEMS_MAX:
        raise ClaimRefusedError(f"a claim has 1 to {CLAIM_ITEMS_MAX} items, not {len(items)}")
    if len(adapters) > CLAIM_ADAPTERS_MAX:
        raise ClaimRefusedError(f"a claim has at most {CLAIM_ADAPTERS_MAX} adapters, not {len(adapters)}")
    if not all(left < right for left, right in pairwise(adapters)):
        raise ClaimRefusedError("a claim's adapters ascend, each once")
    if claim.items_hash != items_hash(adapters, items):
        raise ClaimRefusedError("the claim's itemsHash is of other adapters or items")


def part_down(amount_wei: int, ppm: int) -> Wei:
    """So many parts per million of an amount, rounded down."""
    return Wei(amount_wei * ppm // PPM)


def _gross_by_adapter(num_adapters: int, items: Sequence[Item], skipped: int) -> list[int]:
    gross = [0] * num_adapters
    for index, item in enumerate(items):
        if skipped >> index & 1:
            continue
        for part in item.parts:
            gross[part.adapter] += part.amount_wei
    return gross


def _divide(
    adapter_id: AdapterId,
    terms: AdapterTerms,
    gross_wei: int,
    params: Params,
    datanets: Mapping[DatanetId, DatanetTerms],
) -> tuple[list[Credit], list[Pot]]:
    assert len(terms.datanets) <= ADAPTER_DATANETS_MAX, "the registry takes no more"
    credits = [Credit(account=terms.owner, amount_wei=part_down(gross_wei, terms.royalty_ppm))]
    data = part_down(gross_wei, params.data_ppm)
    pots = []
    for datanet_id, weight_ppm in terms.datanets:
        pot = part_down(data, weight_ppm)
        owner_cut = part_down(pot, datanets[datanet_id].owner_ppm)
        credits.append(Credit(account=datanets[datanet_id].owner, amount_wei=owner_cut))
        pots.append(
            Pot(
                adapter_id=adapter_id,
                datanet_id=datanet_id,
                gross_wei=Wei(gross_wei),
                amount_wei=Wei(pot - owner_cut),
            )
        )
    return [credit for credit in credits if credit.amount_wei], pots


def attribution_leaves(pots: Sequence[Pot], receipts: Iterable[AttributedReceipt]) -> list[AttributionLeaf]:
    """What each receipt adds to each payout: weight = amount · ppm, ascending by (pot, account, receipt).

    Raises:
        AttributionError: the weights of a pot are not 1,000,000 times what its adapter earned in the claim.
    """
    pot_of = {(pot.adapter_id, pot.datanet_id): index for index, pot in enumerate(pots)}
    leaves = [
        AttributionLeaf(
            pot=_pot_index(pot_of, receipt.adapter_id, share.datanet_id),
            account=share.account,
            receipt_index=receipt.index,
            weight=receipt.amount_wei * share.ppm,
        )
        for receipt in receipts
        for share in receipt.shares
    ]
    _check_weights(pots, [(leaf.pot, leaf.weight) for leaf in leaves])
    return sorted(leaves, key=lambda leaf: (leaf.pot, leaf.account.lower(), leaf.receipt_index))


def _pot_index(
    pot_of: Mapping[tuple[AdapterId, DatanetId], int], adapter_id: AdapterId, datanet_id: DatanetId
) -> int:
    if (adapter_id, datanet_id) not in pot_of:
        raise AttributionError(f"the claim has no pot of Datanet {datanet_id} for adapter {adapter_id}")
    return pot_of[adapter_id, datanet_id]


def payouts_for(pots: Sequence[Pot], receipts: Iterable[AttributedReceipt]) -> list[Payout]:
    """The list that a node proposes: who is owed which part of each pot, ascending by (pot, account).

    Raises:
        AttributionError: as `attribution_leaves` says.
        ClaimRefusedError: more lines than the contract takes.
    """
    payouts = [
        Payout(pot=pot, account=account, weight=sum(leaf.weight for leaf in run))
        for (pot, account), run in groupby(attribution_leaves(pots, receipts), lambda leaf: (leaf.pot, leaf.account))
    ]
    if len(payouts) > PAYOUTS_MAX:
        raise ClaimRefusedError(f"{len(payouts)} payouts are over {PAYOUTS_MAX}: claim fewer receipts at once")
    return payouts


def check_payouts(record: ClaimRecord, payouts: Sequence[Payout]) -> None:
    """Require what the contract requires of a node's list.

    Raises:
        ClaimRefusedError: too many lines, or they do not ascend.
        AttributionError: a line names no pot, or a pot's weights do not add up.
    """
    if len(payouts) > PAYOUTS_MAX:
        raise ClaimRefusedError(f"{len(payouts)} payouts are over {PAYOUTS_MAX}: claim fewer receipts at once")
    order = [(payout.pot, payout.account.lower()) for payout in payouts]
    if not all(left < right for left, right in pairwise(order)):
        raise ClaimRefusedError("payouts ascend by pot and account, each account once")
    _check_weights(record.pots, [(payout.pot, payout.weight) for payout in payouts])


def _check_weights(pots: Sequence[Pot], weights: Iterable[tuple[int, int]]) -> None:
    sums = dict.fromkeys(range(len(pots)), 0)
    for index, weight in weights:
        if index not in sums:
            raise AttributionError(f"there is no pot {index}: the claim has {len(pots)}")
        sums[index] += weight
    for index, pot in enumerate(pots):
        if sums[index] != PPM * pot.gross_wei:
            raise AttributionError(f"pot {index} needs weights of {PPM * pot.gross_wei} in all, not {sums[index]}")


def payout_amounts(record: ClaimRecord, payouts: Sequence[Payout], to: Beneficiaries) -> list[Credited]:
    """What a proposed claim pays when it is made final, stakers apart.

    A payout rounds down; what is left of a pot, and account zero's part, go to the Datanet's treasury.

    Raises:
        ClaimRefusedError, AttributionError: as `check_payouts` says.
    """
    check_payouts(record, payouts)
    credited = _owners_and_protocol(record, to, record.protocol_wei, record.node_share_wei)
    for index, pot in enumerate(record.pots):
        rest = pot.amount_wei
        for payout in payouts:
            if payout.pot == index and payout.account != ZERO_ADDRESS:
                amount = Wei(pot.amount_wei * payout.weight // (PPM * pot.gross_wei))
                credited.append(_credited(payout.account, amount, CreditRole.CONTRIBUTOR))
                rest = Wei(rest - amount)
        credited.append(_credited(to.treasuries[pot.datanet_id], rest, CreditRole.TREASURY))
    return [credit for credit in credited if credit.amount_wei]


def late_amounts(record: ClaimRecord, to: Beneficiaries) -> list[Credited]:
    """What a claim pays whose node named nobody in time: its pots and a tenth of its own share go to the protocol."""
    penalty = part_down(record.node_share_wei, LATE_PPM)
    pots = sum(pot.amount_wei for pot in record.pots)
    protocol, node = record.protocol_wei + pots + penalty, record.node_share_wei - penalty
    return [credit for credit in _owners_and_protocol(record, to, protocol, node) if credit.amount_wei]


def _owners_and_protocol(record: ClaimRecord, to: Beneficiaries, protocol_wei: int, node_wei: int) -> list[Credited]:
    return [
        _credited(to.node, node_wei, CreditRole.NODE),
        _credited(to.protocol, protocol_wei, CreditRole.PROTOCOL),
        *(_credited(credit.account, credit.amount_wei, CreditRole.ADAPTER_OWNER) for credit in record.credits),
    ]


def _credited(account: Address, amount_wei: int, role: CreditRole) -> Credited:
    return Credited(account=account, amount_wei=Wei(amount_wei), role=role)
