"""From a claim to balances: the payout list of each pot, and the credits when the claim is final.

A payout rounds down and the Datanet's treasury gets the dust, so that each pot sums exactly.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from itertools import pairwise

from .attribution import Share
from .claims import part_down
from .constants import LATE_PPM, PAYOUTS_MAX, PPM, UNLISTED_PART
from .errors import AttributionError, ClaimRefusedError
from .payments import Receipt
from .primitives import ZERO_ADDRESS, AdapterId, Address, DatanetId, Digest, Wei
from .settlement import NOBODY, ClaimRecord, Payout, Pot, receipt_leaf
from .sum_tree import SumLeaf, sum_root


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

    node: Address
    protocol: Address  # the protocol's treasury
    treasuries: Mapping[DatanetId, Address]


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimedReceipt:
    """A receipt on its claim's line; receipts of skipped items are left out."""

    item: int  # the index of the item that claims it
    digest: Digest
    receipt: Receipt
    shares: tuple[Share, ...]
    countersignature: bytes | None  # None: the payer gave none before the list was proposed


@dataclass(frozen=True, slots=True, kw_only=True)
class PayoutList:
    """A claim's payout list, and the receipts behind it.

    An entry of the list is a line of its weight. Each receipt's part of it has a place of its own there, in the order
    of the receipts, so that a drawn point of an entry belongs to one receipt.
    """

    payouts: tuple[Payout, ...]
    offsets: tuple[tuple[int, ...], ...]  # of each receipt, for each of its shares; empty if not countersigned


@dataclass(frozen=True, slots=True, kw_only=True)
class Credited:
    """The amount that a final claim adds to an account's balance."""

    account: Address
    amount_wei: Wei
    role: CreditRole
    pot: int | None = field(default=None, compare=False)  # that it is a part of; no event tells it


def payout_list(pots: Sequence[Pot], receipts: Sequence[ClaimedReceipt]) -> PayoutList:
    """Make the payout list of a claim from its receipts, in the order of its line.

    A receipt weighs amount · ppm for each of its shares. One that is not countersigned can't be shown, so its weight
    is nobody's and goes to the protocol.

    Raises:
        AttributionError: a pot's weights do not sum to 1,000,000 times its adapter's earnings in the claim.
        ClaimRefusedError: more entries than the contract accepts.
    """
    pot_of = {(pot.adapter_id, pot.datanet_id): index for index, pot in enumerate(pots)}
    entries: dict[tuple[int, Address], int] = {}
    offsets: list[tuple[int, ...]] = []
    for claimed in receipts:
        places = []
        for datanet_id, account, ppm in _parts_of(claimed, pots):
            entry = _pot_index(pot_of, claimed.receipt.adapter_id, datanet_id), account
            places.append(entries.get(entry, 0))
            entries[entry] = places[-1] + claimed.receipt.amount_wei * ppm
        offsets.append(tuple(places) if claimed.countersignature else ())
    ordered = sorted(entries.items(), key=lambda item: (item[0][0], item[0][1].lower()))
    payouts = tuple(Payout(pot=pot, account=account, weight=weight) for (pot, account), weight in ordered if weight)
    check_payouts(pots, payouts)
    return PayoutList(payouts=payouts, offsets=tuple(offsets))


def receipts_root(receipts: Sequence[ClaimedReceipt], offsets: Sequence[tuple[int, ...]]) -> Digest:
    """The root of the node's tree over a claim's receipts, in the order of its line; zero without any."""
    return sum_root(receipt_leaves(receipts, offsets))


def receipt_leaves(receipts: Sequence[ClaimedReceipt], offsets: Sequence[tuple[int, ...]]) -> list[SumLeaf]:
    """The leaves of the node's tree of receipts."""
    return [
        SumLeaf(hash=receipt_leaf(claimed.digest, places), amount=claimed.receipt.amount_wei)
        for claimed, places in zip(receipts, offsets, strict=True)
    ]


def _parts_of(claimed: ClaimedReceipt, pots: Sequence[Pot]) -> list[tuple[DatanetId, Address, int]]:
    """The parts of a receipt as (Datanet, account, ppm): its shares, or one of nobody's for each of its pots."""
    if claimed.countersignature:
        return [(share.datanet_id, share.account, share.ppm) for share in claimed.shares]
    return [(pot.datanet_id, NOBODY, PPM) for pot in pots if pot.adapter_id == claimed.receipt.adapter_id]


def _pot_index(
    pot_of: Mapping[tuple[AdapterId, DatanetId], int], adapter_id: AdapterId, datanet_id: DatanetId
) -> int:
    if (adapter_id, datanet_id) not in pot_of:
        raise AttributionError(f"the claim has no pot of Datanet {datanet_id} for adapter {adapter_id}")
    return pot_of[adapter_id, datanet_id]


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


def payout_amounts(
    record: ClaimRecord, payouts: Sequence[Payout], to: Beneficiaries, *, num_redraws: int = 0
) -> list[Credited]:
    """The credits of a proposed claim when it is finalised, in the contract's order.

    A payout rounds down. The rest of a pot, and account zero's part, go to the Datanet's treasury. What is nobody's,
    and a pot that is not listed, go to the protocol, and so does `final_fee_wei` of the node's share.

    Raises:
        ClaimRefusedError, AttributionError: as in `check_payouts`.
    """
    check_payouts(record.pots, payouts)
    credited: list[Credited] = []
    for index, pot in enumerate(record.pots):
        if listed := _listed(payouts, index):
            credited += _pot_amounts(index, pot, listed, to.treasuries[pot.datanet_id])
    fee, nobodys = final_fee_wei(record, payouts, num_redraws=num_redraws), _unlisted_wei(record, payouts)
    return credited + _settled(record, to, record.node_share_wei - fee, record.protocol_wei + nobodys + fee)


def final_fee_wei(record: ClaimRecord, payouts: Sequence[Payout], *, num_redraws: int = 0) -> Wei:
    """The part of the node's share that a final list costs it.

    It pays for draws that lapsed and, as far as these leave it, for the part of all pots that nobody gets. Else a
    node would save the gas of a list and be paid the same.
    """
    lapsed, pots = num_redraws * lapse_fee_wei(record), sum(pot.amount_wei for pot in record.pots)
    if not pots:
        return Wei(lapsed)
    unlisted = record.node_share_wei * _unlisted_wei(record, payouts) // (UNLISTED_PART * pots)
    return Wei(lapsed + min(unlisted, record.node_share_wei - lapsed))


def _listed(payouts: Sequence[Payout], index: int) -> list[Payout]:
    return [payout for payout in payouts if payout.pot == index]


def _unlisted_wei(record: ClaimRecord, payouts: Sequence[Payout]) -> Wei:
    return Wei(sum(_nobodys_wei(pot, _listed(payouts, index)) for index, pot in enumerate(record.pots)))


def _nobodys_wei(pot: Pot, listed: Sequence[Payout]) -> Wei:
    if not listed:
        return pot.amount_wei
    return _amount_wei(pot, sum(payout.weight for payout in listed if payout.account == NOBODY))


def _pot_amounts(index: int, pot: Pot, listed: Sequence[Payout], treasury: Address) -> list[Credited]:
    credited, rest = [], pot.amount_wei - _nobodys_wei(pot, listed)
    for payout in listed:
        if payout.account not in (ZERO_ADDRESS, NOBODY):
            amount = _amount_wei(pot, payout.weight)
            credited.append(_credited(payout.account, amount, CreditRole.CONTRIBUTOR, index))
            rest -= amount
    credited.append(_credited(treasury, rest, CreditRole.TREASURY, index))
    return [credit for credit in credited if credit.amount_wei]


def _amount_wei(pot: Pot, weight: int) -> Wei:
    """An entry's part of its pot, rounded down."""
    return Wei(pot.amount_wei * weight // (PPM * pot.gross_wei))


def late_amounts(
    record: ClaimRecord, to: Beneficiaries, *, is_proposed: bool, num_redraws: int = 0
) -> list[Credited]:
    """The credits of a claim whose payout list was not proposed, or not shown, in time.

    The protocol gets the claim's pots, and a fee from the node's share: a tenth of it if there was no list, else the
    lapse fee for the last draw and for each of `num_redraws` before it.
    """
    lapsed = (num_redraws + 1) * lapse_fee_wei(record)
    fee = lapsed if is_proposed else part_down(record.node_share_wei, LATE_PPM)
    pots = sum(pot.amount_wei for pot in record.pots)
    return _settled(record, to, record.node_share_wei - fee, record.protocol_wei + pots + fee)


def lapse_fee_wei(record: ClaimRecord) -> Wei:
    """The fee of a draw that lapses: half of the money that the list divides, rounded down."""
    return Wei(sum(pot.amount_wei for pot in record.pots) // 2)


def _settled(record: ClaimRecord, to: Beneficiaries, node_wei: int, protocol_wei: int) -> list[Credited]:
    credited = [
        _credited(to.node, node_wei, CreditRole.NODE),
        *(_credited(credit.account, credit.amount_wei, CreditRole.OWNER) for credit in record.credits),
        _credited(to.protocol, protocol_wei, CreditRole.PROTOCOL),
    ]
    return [credit for credit in credited if credit.amount_wei]


def _credited(account: Address, amount_wei: int, role: CreditRole, pot: int | None = None) -> Credited:
    return Credited(account=account, amount_wei=Wei(amount_wei), role=role, pot=pot)
