"""From a claim to balances: the payout list of each pot, and the credits when the claim is final.

A payout rounds down and the Datanet's treasury gets the dust, so that each pot sums exactly.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from itertools import groupby, pairwise

from .attribution import Share
from .claims import part_down
from .constants import LATE_PPM, PAYOUTS_MAX, PPM
from .errors import AttributionError, ClaimRefusedError
from .merkle import AttributionLeaf
from .primitives import ZERO_ADDRESS, AdapterId, Address, DatanetId, Wei
from .settlement import ClaimRecord, Payout, Pot


class CreditRole(IntEnum):
    """The role in which an account is credited; its number is part of the contract's event."""

    NODE = 0
    OWNER = 1  # of an adapter or a Datanet
    CONTRIBUTOR = 3
    TREASURY = 4
    PROTOCOL = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Beneficiaries:
    """Recipients of the parts that a record names only by role, as the contracts state when a claim is finalised."""

    node: Address  # the node's payout address
    protocol: Address  # the protocol's treasury
    treasuries: Mapping[DatanetId, Address]
    has_stakers: bool = True  # False: nobody has bonded, so the protocol keeps the stakers' part


@dataclass(frozen=True, slots=True, kw_only=True)
class AttributedReceipt:
    """The fields of a receipt that a payout list needs; receipts of skipped items are left out."""

    index: int  # in the claim's tree of receipts
    adapter_id: AdapterId
    amount_wei: Wei
    shares: tuple[Share, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Credited:
    """The amount that a final claim adds to an account's balance."""

    account: Address
    amount_wei: Wei
    role: CreditRole


def attribution_leaves(pots: Sequence[Pot], receipts: Iterable[AttributedReceipt]) -> list[AttributionLeaf]:
    """Each receipt's contribution to each payout: weight = amount · ppm, ascending by (pot, account, receipt).

    Raises:
        AttributionError: a pot's weights do not sum to 1,000,000 times its adapter's earnings in the claim.
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
        if receipt.amount_wei
    ]
    weights = _weights_by_pot(pots, [(leaf.pot, leaf.weight) for leaf in leaves])
    for index in range(len(pots)):
        _check_weight(pots, index, weights[index])
    return sorted(leaves, key=lambda leaf: (leaf.pot, leaf.account.lower(), leaf.receipt_index))


def _pot_index(
    pot_of: Mapping[tuple[AdapterId, DatanetId], int], adapter_id: AdapterId, datanet_id: DatanetId
) -> int:
    if (adapter_id, datanet_id) not in pot_of:
        raise AttributionError(f"the claim has no pot of Datanet {datanet_id} for adapter {adapter_id}")
    return pot_of[adapter_id, datanet_id]


def payouts_for(pots: Sequence[Pot], receipts: Iterable[AttributedReceipt]) -> list[Payout]:
    """The payout list that a node proposes: each account's weight in each pot, ascending by (pot, account).

    Raises:
        AttributionError: as in `attribution_leaves`.
        ClaimRefusedError: more lines than the contract accepts.
    """
    leaves = attribution_leaves(pots, receipts)
    payouts = [
        Payout(pot=pot, account=account, weight=sum(leaf.weight for leaf in run))
        for (pot, account), run in groupby(leaves, lambda leaf: (leaf.pot, leaf.account))
    ]
    check_payouts(pots, payouts)
    return payouts


def check_payouts(pots: Sequence[Pot], payouts: Sequence[Payout]) -> None:
    """Require the form that the contract requires of a payout list; a pot without a line goes to the protocol.

    Raises:
        ClaimRefusedError: too many lines, or they do not ascend.
        AttributionError: a line names no pot or has no weight, or a listed pot's weights do not add up.
    """
    if len(payouts) > PAYOUTS_MAX:
        raise ClaimRefusedError(f"{len(payouts)} payouts are over {PAYOUTS_MAX}: claim fewer receipts at once")
    order = [(payout.pot, payout.account.lower()) for payout in payouts]
    if not all(left < right for left, right in pairwise(order)):
        raise ClaimRefusedError("payouts ascend by pot and account, each account once")
    if any(payout.weight <= 0 for payout in payouts):
        raise AttributionError("a payout's weight is over zero")
    weights = _weights_by_pot(pots, [(payout.pot, payout.weight) for payout in payouts])
    for index in {payout.pot for payout in payouts}:
        _check_weight(pots, index, weights[index])


def _weights_by_pot(pots: Sequence[Pot], weights: Iterable[tuple[int, int]]) -> list[int]:
    sums = [0] * len(pots)
    for index, weight in weights:
        if index >= len(pots):
            raise AttributionError(f"there is no pot {index}: the claim has {len(pots)}")
        sums[index] += weight
    return sums


def _check_weight(pots: Sequence[Pot], index: int, weight: int) -> None:
    expected = PPM * pots[index].gross_wei
    if weight != expected:
        raise AttributionError(f"pot {index} needs weights of {expected} in all, not {weight}")


def payout_amounts(record: ClaimRecord, payouts: Sequence[Payout], to: Beneficiaries) -> list[Credited]:
    """The credits of a proposed claim when it is finalised, in the contract's order, without the stakers' part.

    A payout rounds down. The rest of a pot, and account zero's part, go to the Datanet's treasury. A pot that is not
    listed goes to the protocol.

    Raises:
        ClaimRefusedError, AttributionError: as in `check_payouts`.
    """
    check_payouts(record.pots, payouts)
    credited: list[Credited] = []
    unlisted = 0
    for index, pot in enumerate(record.pots):
        listed = [payout for payout in payouts if payout.pot == index]
        if listed:
            credited += _pot_amounts(pot, listed, to.treasuries[pot.datanet_id])
        else:
            unlisted += pot.amount_wei
    return credited + _settled(record, to, record.node_share_wei, record.protocol_wei + unlisted)


def _pot_amounts(pot: Pot, payouts: Sequence[Payout], treasury: Address) -> list[Credited]:
    credited, rest = [], int(pot.amount_wei)
    for payout in payouts:
        if payout.account != ZERO_ADDRESS:
            amount = pot.amount_wei * payout.weight // (PPM * pot.gross_wei)
            credited.append(_credited(payout.account, amount, CreditRole.CONTRIBUTOR))
            rest -= amount
    credited.append(_credited(treasury, rest, CreditRole.TREASURY))
    return [credit for credit in credited if credit.amount_wei]


def late_amounts(record: ClaimRecord, to: Beneficiaries) -> list[Credited]:
    """The credits of a claim without a timely payout list.

    The protocol gets the claim's pots and a tenth of the node's share.
    """
    fee = part_down(record.node_share_wei, LATE_PPM)
    pots = sum(pot.amount_wei for pot in record.pots)
    return _settled(record, to, record.node_share_wei - fee, record.protocol_wei + pots + fee)


def _settled(record: ClaimRecord, to: Beneficiaries, node_wei: int, protocol_wei: int) -> list[Credited]:
    credited = [
        _credited(to.node, node_wei, CreditRole.NODE),
        *(_credited(credit.account, credit.amount_wei, CreditRole.OWNER) for credit in record.credits),
        _credited(to.protocol, protocol_wei + (0 if to.has_stakers else record.stakers_wei), CreditRole.PROTOCOL),
    ]
    return [credit for credit in credited if credit.amount_wei]


def _credited(account: Address, amount_wei: int, role: CreditRole) -> Credited:
    return Credited(account=account, amount_wei=Wei(amount_wei), role=role)
