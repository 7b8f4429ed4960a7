"""The contract's record of a node's claim: which items count, and how they are divided.

Everything rounds down, adapter by adapter in the contract's own order, and the node's share gets the dust.
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
from .settlement import ClaimRecord, Credit, EpochClaim, Item, Pot, items_hash
from .signatures import recover_address


class SkipCode(IntEnum):
    """Reasons for which the contract skips an item: the names and numbers of `SkipCode` in IPaymentChannels.sol.

    The contract's `None` is None here, so that a code is always a reason.
    """

    OTHER_NODE = 1  # the channel belongs to another node
    NOT_FROM_CLAIMED = 2  # it does not start at the amount claimed before
    NOTHING_NEW = 3  # it claims nothing
    OVER_VOUCHER = 4
    OVER_DEPOSIT = 5
    BAD_PARTS = 6  # its parts do not ascend, name no adapter of the claim, or do not sum to the item
    BAD_VOUCHER = 7  # the channel's authorizer did not sign the voucher


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
class ChannelBalance:
    """The contract's balance of a channel."""

    deposit_wei: Wei
    claimed_wei: Wei


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
    """Compute the contract's record of a claim mined at `claimed_at_s`, with `params` of the claim's epoch.

    Raises:
        ClaimRefusedError: the contract would refuse this claim.
    """
    check_claim(claim, adapters, items)
    protocol = stakers = 0
    credits: list[Credit] = []
    pots: list[Pot] = []
    gross_by_adapter = _gross_by_adapter(len(adapters), items, skipped)
    for adapter_id, gross in zip(adapters, gross_by_adapter, strict=True):
        protocol += part_down(gross, params.protocol_ppm)
        stakers += part_down(gross, params.stakers_ppm)
        if adapter_id == BASE_ONLY:
            continue
        if adapter_id not in registry:
            raise ClaimRefusedError(f"adapter {adapter_id} is not registered")
        if not is_claimable(registry[adapter_id], claimed_at_s):
            raise ClaimRefusedError(f"adapter {adapter_id} was retired, and its bond is free")
        if gross:
            adapter_credits, adapter_pots = _divide(adapter_id, registry[adapter_id], gross, params, datanets)
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


def is_claimable(terms: AdapterTerms, claimed_at_s: int) -> bool:
    """Return True if a claim mined at this time may name the adapter."""
    return not terms.claimable_until_s or claimed_at_s < terms.claimable_until_s


def skip_codes(
    node: Address,
    items: Sequence[Item],
    num_adapters: int,
    balances: Mapping[ChannelId, ChannelBalance],
    domain: Domain,
) -> list[SkipCode | None]:
    """The reason why the contract would skip each item, or None if it counts.

    An item that counts raises the claimed amount for the items after it.
    """
    claimed = {id_: balance.claimed_wei for id_, balance in balances.items()}
    codes = []
    for item in items:
        id_ = channel_id(item.config, domain)
        deposit_wei = balances[id_].deposit_wei if id_ in balances else ZERO_WEI
        balance = ChannelBalance(deposit_wei=deposit_wei, claimed_wei=claimed.get(id_, ZERO_WEI))
        code = _skip_code(node, item, id_, num_adapters, balance, domain)
        codes.append(code)
        if code is None:
            claimed[id_] = item.to_wei
    return codes


def _skip_code(
    node: Address, item: Item, id_: ChannelId, num_adapters: int, balance: ChannelBalance, domain: Domain
) -> SkipCode | None:
    rules = (
        (item.config.node == node, SkipCode.OTHER_NODE),
        (item.from_wei == balance.claimed_wei, SkipCode.NOT_FROM_CLAIMED),
        (item.to_wei > item.from_wei, SkipCode.NOTHING_NEW),
        (item.to_wei <= item.max_claimable_wei, SkipCode.OVER_VOUCHER),
        (item.to_wei <= balance.deposit_wei, SkipCode.OVER_DEPOSIT),
        (_parts_fit(item, num_adapters), SkipCode.BAD_PARTS),
        (_is_signed(item, id_, domain), SkipCode.BAD_VOUCHER),
    )
    return next((code for is_kept, code in rules if not is_kept), None)


def _parts_fit(item: Item, num_adapters: int) -> bool:
    adapters = [part.adapter for part in item.parts]
    is_ascending = all(left < right for left, right in pairwise(adapters))
    is_known = all(adapter < num_adapters for adapter in adapters)
    return is_ascending and is_known and sum(part.amount_wei for part in item.parts) == item.to_wei - item.from_wei


def _is_signed(item: Item, id_: ChannelId, domain: Domain) -> bool:
    voucher = Voucher(channel_id=id_, max_claimable_wei=item.max_claimable_wei)
    try:
        return recover_address(voucher_digest(voucher, domain), item.signature) == item.config.authorizer
    except ProtocolError:
        return False


def skipped_mask(codes: Sequence[SkipCode | None]) -> int:
    """A record's `skipped`: bit i is set if item i was skipped."""
    return sum(1 << index for index, code in enumerate(codes) if code is not None)


def check_claim(claim: EpochClaim, adapters: Sequence[AdapterId], items: Sequence[Item]) -> None:
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
    if claim.items_hash != items_hash(adapters, items):
        raise ClaimRefusedError("the claim's itemsHash is of other adapters or items")


def part_down(amount_wei: int, ppm: int) -> Wei:
    """Parts per million of an amount, rounded down."""
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
