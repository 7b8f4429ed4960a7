"""The contract's record of a node's claim: which items count, and how they are divided.

An item claims what one lane was charged since the last claim, under the lane's own voucher, so the payer decides
which adapter earns it. Everything rounds down, adapter by adapter in the contract's own order, and the node's share
gets the dust.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from itertools import pairwise

from .constants import ADAPTER_DATANETS_MAX, CLAIM_ADAPTERS_MAX, CLAIM_ITEMS_MAX, CLAIM_POTS_MAX, PPM
from .eip712 import Domain
from .epoch import Params
from .errors import ClaimRefusedError, ProtocolError
from .payments import Voucher, channel_id, voucher_digest
from .primitives import BASE_ONLY, ZERO_WEI, AdapterId, Address, ChannelId, DatanetId, Wei
from .settlement import ClaimRecord, Credit, EpochClaim, Item, ItemSpan, Pot, item_leaf, items_hash, span_of
from .signatures import recover_address
from .sum_tree import SumLeaf, sum_root


class SkipCode(IntEnum):
    """Reasons for which the contract skips an item: the names and numbers of `SkipCode` in IPaymentChannels.sol.

    The contract's `None` is None here, so that a code is always a reason.
    """

    OTHER_NODE = 1  # the channel belongs to another node
    NOT_FROM_CLAIMED = 2  # it does not start at the lane's amount claimed before
    NOTHING_NEW = 3  # it claims nothing
    OVER_VOUCHER = 4
    OVER_DEPOSIT = 5  # it claims more than is left of the deposit
    BAD_VOUCHER = 6  # the channel's authorizer did not sign the voucher for this adapter


@dataclass(frozen=True, slots=True, kw_only=True)
class AdapterTerms:
    """The registry's terms of an adapter that matter to a claim."""

    owner: Address
    royalty_ppm: int
    datanets: tuple[tuple[DatanetId, int], ...]  # ascending, each with its weight in ppm
    claimable_until_s: int = 0  # from then on no claim may name it; 0: it is not retired


@dataclass(frozen=True, slots=True, kw_only=True)
class DatanetTerms:
    """The registry's terms of a Datanet that matter to a claim."""

    owner: Address
    owner_ppm: int  # of its pots
    treasury: Address


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnersPart:
    """An owner's part of one adapter's gross."""

    account: Address
    amount_wei: Wei
    adapter_id: AdapterId
    datanet_id: DatanetId | None  # None: the part of the adapter's owner


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimDivision:
    """The parts into which a claim's gross is divided; they sum to it."""

    protocol_wei: Wei
    node_share_wei: Wei
    owners: tuple[OwnersPart, ...]  # in the order of the record's credits; none is zero
    pots: tuple[Pot, ...]

    @property
    def credits(self) -> tuple[Credit, ...]:
        """The credits of the claim's record."""
        return tuple(Credit(account=part.account, amount_wei=part.amount_wei) for part in self.owners)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelBalance:
    """The contract's balance of a channel."""

    deposit_wei: Wei
    claimed_wei: Wei
    lanes: Mapping[AdapterId, Wei]  # claimed, by adapter


def compute_claim(
    claim: EpochClaim,
    adapters: Sequence[AdapterId],
    items: Sequence[Item],
    *,
    domain: Domain,
    codes: Sequence[SkipCode | None],
    claimed_at_s: int,
    claimed_block: int,
    params: Params,
    registry: Mapping[AdapterId, AdapterTerms],
    datanets: Mapping[DatanetId, DatanetTerms],
) -> ClaimRecord:
    """Compute the contract's record of a claim mined at `claimed_at_s`, with `params` of the claim's epoch.

    `codes` are those of `skip_codes`.

    Raises:
        ClaimRefusedError: the contract would refuse this claim.
    """
    check_claim(claim, adapters, items, domain)
    amounts = [item.amount_wei if code is None else ZERO_WEI for item, code in zip(items, codes, strict=True)]
    lines = []
    for index, adapter_id in enumerate(adapters):
        if adapter_id != BASE_ONLY:
            if adapter_id not in registry:
                raise ClaimRefusedError(f"adapter {adapter_id} is not registered")
            if not is_claimable(registry[adapter_id], claimed_at_s):
                raise ClaimRefusedError(f"adapter {adapter_id} was retired, and its bond is free")
        gross = sum(amount for item, amount in zip(items, amounts, strict=True) if item.adapter == index)
        lines.append((adapter_id, Wei(gross)))
    divided = divide_lines(lines, params=params, registry=registry, datanets=datanets)
    total = Wei(sum(gross for _, gross in lines))
    if not total:
        raise ClaimRefusedError("no item of the claim counts, so there is nothing to claim")
    if len(divided.pots) > CLAIM_POTS_MAX:
        raise ClaimRefusedError(
            f"the claim has {len(divided.pots)} pots, over {CLAIM_POTS_MAX}: split it by adapters"
        )
    return ClaimRecord(
        node=claim.node,
        seq=claim.seq,
        epoch=claim.epoch,
        claimed_at_s=claimed_at_s,
        claimed_block=claimed_block,
        items_root=sum_root(item_leaves([span_of(item, adapters, domain) for item in items], amounts)),
        gross_wei=total,
        protocol_wei=divided.protocol_wei,
        node_share_wei=divided.node_share_wei,
        credits=divided.credits,
        pots=divided.pots,
    )


def divide_lines(
    lines: Sequence[tuple[AdapterId, Wei]],
    *,
    params: Params,
    registry: Mapping[AdapterId, AdapterTerms],
    datanets: Mapping[DatanetId, DatanetTerms],
) -> ClaimDivision:
    """Divide the gross of each adapter of a claim, in the order of its line, as ClaimSplit.sol does."""
    protocol = start = 0
    owners: list[OwnersPart] = []
    pots: list[Pot] = []
    for adapter_id, gross in lines:
        protocol += part_down(gross, params.protocol_ppm)
        if adapter_id != BASE_ONLY and gross:
            divided = _divide(adapter_id, registry[adapter_id], gross, start, params, datanets)
            owners += divided[0]
            pots += divided[1]
        start += gross
    others = sum(part.amount_wei for part in owners) + sum(pot.amount_wei for pot in pots)
    return ClaimDivision(
        protocol_wei=Wei(protocol),
        node_share_wei=Wei(start - protocol - others),
        owners=tuple(owners),
        pots=tuple(pots),
    )


def is_claimable(terms: AdapterTerms, claimed_at_s: int) -> bool:
    """Return True if a claim mined at this time may name the adapter."""
    return not terms.claimable_until_s or claimed_at_s < terms.claimable_until_s


def item_leaves(spans: Sequence[ItemSpan], amounts_wei: Sequence[Wei]) -> list[SumLeaf]:
    """The leaves of a claim's tree of items; `amounts_wei` is zero for each item that was skipped."""
    return [SumLeaf(hash=item_leaf(span), amount=amount) for span, amount in zip(spans, amounts_wei, strict=True)]


def skip_codes(
    node: Address,
    adapters: Sequence[AdapterId],
    items: Sequence[Item],
    balances: Mapping[ChannelId, ChannelBalance],
    domain: Domain,
) -> list[SkipCode | None]:
    """The reason why the contract would skip each item, or None if it counts.

    An item that counts raises the claimed amounts of its lane and channel for the items after it.
    """
    lanes = {(id_, lane): wei for id_, balance in balances.items() for lane, wei in balance.lanes.items()}
    left = {id_: balance.deposit_wei - balance.claimed_wei for id_, balance in balances.items()}
    codes = []
    for item in items:
        id_, adapter_id = channel_id(item.config, domain), adapters[item.adapter]
        claimed = lanes.get((id_, adapter_id), ZERO_WEI)
        code = _skip_code(node, item, id_, adapter_id, claimed_wei=claimed, left_wei=left.get(id_, 0), domain=domain)
        codes.append(code)
        if code is None:
            lanes[id_, adapter_id] = item.to_wei
            left[id_] -= item.amount_wei
    return codes


def _skip_code(
    node: Address,
    item: Item,
    id_: ChannelId,
    adapter_id: AdapterId,
    *,
    claimed_wei: Wei,
    left_wei: int,
    domain: Domain,
) -> SkipCode | None:
    rules = (
        (item.config.node == node, SkipCode.OTHER_NODE),
        (item.from_wei == claimed_wei, SkipCode.NOT_FROM_CLAIMED),
        (item.to_wei > item.from_wei, SkipCode.NOTHING_NEW),
        (item.to_wei <= item.max_claimable_wei, SkipCode.OVER_VOUCHER),
        (item.amount_wei <= left_wei, SkipCode.OVER_DEPOSIT),
        (_is_signed(item, id_, adapter_id, domain), SkipCode.BAD_VOUCHER),
    )
    return next((code for is_kept, code in rules if not is_kept), None)


def _is_signed(item: Item, id_: ChannelId, adapter_id: AdapterId, domain: Domain) -> bool:
    voucher = Voucher(channel_id=id_, adapter_id=adapter_id, max_claimable_wei=item.max_claimable_wei)
    try:
        return recover_address(voucher_digest(voucher, domain), item.signature) == item.config.authorizer
    except ProtocolError:
        return False


def check_claim(claim: EpochClaim, adapters: Sequence[AdapterId], items: Sequence[Item], domain: Domain) -> None:
    """Require the form that the contract requires of a claim.

    Raises:
        ClaimRefusedError: it names the broken bound, or `items_hash` does not match the items.
    """
    if not 0 < len(items) <= CLAIM_ITEMS_MAX:
        raise ClaimRefusedError(f"a claim has 1 to {CLAIM_ITEMS_MAX} items, not {len(items)}")
    if len(adapters) > CLAIM_ADAPTERS_MAX:
        raise ClaimRefusedError(f"a claim has at most {CLAIM_ADAPTERS_MAX} adapters, not {len(adapters)}")
    if not all(left < right for left, right in pairwise(adapters)):
        raise ClaimRefusedError("a claim's adapters ascend, each once")
    places = [item.adapter for item in items]
    if not all(left <= right for left, right in pairwise(places)) or places[-1] >= len(adapters):
        raise ClaimRefusedError("a claim's items ascend by adapter, and each names one of the claim's")
    if claim.items_hash != items_hash(span_of(item, adapters, domain) for item in items):
        raise ClaimRefusedError("the claim's itemsHash is of other adapters or items")


def part_down(amount_wei: int, ppm: int) -> Wei:
    """Parts per million of an amount, rounded down."""
    return Wei(amount_wei * ppm // PPM)


def _divide(
    adapter_id: AdapterId,
    terms: AdapterTerms,
    gross_wei: int,
    start_wei: int,
    params: Params,
    datanets: Mapping[DatanetId, DatanetTerms],
) -> tuple[list[OwnersPart], list[Pot]]:
    assert len(terms.datanets) <= ADAPTER_DATANETS_MAX, "the registry takes no more"
    royalty = part_down(gross_wei, terms.royalty_ppm)
    owners = [OwnersPart(account=terms.owner, amount_wei=royalty, adapter_id=adapter_id, datanet_id=None)]
    data = part_down(gross_wei, params.data_ppm)
    pots = []
    for datanet_id, weight_ppm in terms.datanets:
        pot, datanet = part_down(data, weight_ppm), datanets[datanet_id]
        cut = part_down(pot, datanet.owner_ppm)
        owners.append(OwnersPart(account=datanet.owner, amount_wei=cut, adapter_id=adapter_id, datanet_id=datanet_id))
        pots.append(
            Pot(
                start_wei=Wei(start_wei),
                adapter_id=adapter_id,
                datanet_id=datanet_id,
                gross_wei=Wei(gross_wei),
                amount_wei=Wei(pot - cut),
            )
        )
    return [part for part in owners if part.amount_wei], pots
