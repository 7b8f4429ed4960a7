"""Claims with the receipts behind them: answers of several lanes, claimed on a chain and countersigned."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from support.chain_world.contract_world import ADAPTERS, ContractWorld
from support.signed import AUTHORIZER_KEY, account, plain_receipt

from openledger_protocol.attribution import RowScore, Share, shares_from_scores, shares_hash
from openledger_protocol.constants import PPM
from openledger_protocol.draws import Point, drawn_points
from openledger_protocol.eip712 import hex_digest
from openledger_protocol.openings import ClaimLine, openings_of
from openledger_protocol.payments import ChannelConfig, Receipt, receipt_digest
from openledger_protocol.payouts import ClaimedReceipt, PayoutList, payout_list, receipts_root
from openledger_protocol.primitives import ZERO_WEI, AdapterId, Address, DatanetId, Digest, Wei
from openledger_protocol.settlement import Item, ReceiptOpening, span_of
from openledger_protocol.signatures import sign_digest

NUM_CONTRIBUTORS = 9


@dataclass(frozen=True, kw_only=True)
class Answer:
    """One receipt to make."""

    amount: int  # wei
    scores: tuple[int, ...] = ()  # of the clusters of each Datanet; none: no evidence
    owners: tuple[Address, ...] = ()  # equal shares of these accounts, in place of what scores give
    is_countersigned: bool = True


@dataclass(frozen=True, kw_only=True)
class Lane:
    """One item to make: the answers of a lane since its last claim."""

    adapter: int  # its number in the claim
    answers: tuple[Answer, ...]
    channel: int = 0  # its number among the claim's channels
    is_short: bool = False  # its voucher is too small, so the item is skipped

    @property
    def amount(self) -> int:
        """The wei that it claims."""
        return sum(answer.amount for answer in self.answers)


def contributor(place: int, cluster: int) -> Address:
    """The owner of a cluster of an adapter's Datanet number `place`; the same account owns clusters of others."""
    return account(0x100 + (cluster * 7 + place * 3) % NUM_CONTRIBUTORS)


def claim_work(world: ContractWorld, lanes: Sequence[Lane], configs: Sequence[ChannelConfig]) -> ClaimLine:
    """Claim these lanes of the channels `configs`, in the order of the adapters."""
    ordered = sorted(lanes, key=lambda lane: lane.adapter)
    items = list(_items(world, ordered, configs))
    record, codes, _ = world.claim(items)
    counted = [code is None for code in codes]
    receipts = [
        claimed
        for number, (lane, item) in enumerate(zip(ordered, items, strict=True))
        if counted[number]
        for claimed in _receipts(world, number, lane, item, ADAPTERS[lane.adapter])
    ]
    return ClaimLine(
        record=record,
        spans=tuple(span_of(item, ADAPTERS, world.payments) for item in items),
        amounts_wei=tuple(item.amount_wei if ok else ZERO_WEI for item, ok in zip(items, counted, strict=True)),
        receipts=tuple(receipts),
    )


def _items(world: ContractWorld, lanes: Sequence[Lane], configs: Sequence[ChannelConfig]) -> Iterator[Item]:
    claimed = {
        (number, adapter): wei
        for number in {lane.channel for lane in lanes}
        for adapter, wei in enumerate(world.channel(configs[number]).lanes.values())
    }
    for lane in lanes:
        start, config = claimed[lane.channel, lane.adapter], configs[lane.channel]
        item = world.item(lane.amount, adapter=lane.adapter, start=start, config=config)
        yield replace(item, max_claimable_wei=Wei(start)) if lane.is_short else item


def _receipts(
    world: ContractWorld, number: int, lane: Lane, item: Item, adapter_id: AdapterId
) -> Iterator[ClaimedReceipt]:
    terms = world.registry.get(adapter_id)
    datanets = [datanet_id for datanet_id, _ in terms.datanets] if terms else []
    cumulative = item.from_wei
    for seq, answer in enumerate(lane.answers):
        shares = tuple(share for place, id_ in enumerate(datanets) for share in _shares(place, id_, answer))
        cumulative = Wei(cumulative + answer.amount)
        receipt = plain_receipt(
            answer.amount,
            shares,
            channel_id=world.id_of(item.config),
            seq=seq,
            issued_at_s=world.now_s,
            adapter_id=adapter_id,
            cumulative_wei=cumulative,
        )
        made = signed_receipt(world, number, receipt, shares)
        yield made if answer.is_countersigned else replace(made, countersignature=None)


def _shares(place: int, datanet_id: DatanetId, answer: Answer) -> list[Share]:
    if answer.owners:
        ppm = PPM // len(answer.owners)
        return [
            Share(datanet_id=datanet_id, account=owner, ppm=ppm) for owner in sorted(answer.owners, key=str.lower)
        ]
    rows = enumerate(answer.scores)
    scored = [RowScore(cluster=cluster, account=contributor(place, cluster), score=score) for cluster, score in rows]
    return shares_from_scores(datanet_id, scored)


def signed_receipt(
    world: ContractWorld, item: int, receipt: Receipt, shares: tuple[Share, ...], key: bytes = AUTHORIZER_KEY
) -> ClaimedReceipt:
    """Countersign a receipt of item number `item` with these shares."""
    receipt = replace(receipt, shares_hash=shares_hash(shares))
    digest = receipt_digest(receipt, world.payments)
    return ClaimedReceipt(
        item=item,
        digest=hex_digest(digest),
        receipt=receipt,
        shares=shares,
        countersignature=sign_digest(key, digest),
    )


def list_of(line: ClaimLine) -> PayoutList:
    """The honest payout list of a claim."""
    return payout_list(line.record.pots, line.receipts)


def root_of(line: ClaimLine, listed: PayoutList) -> Digest:
    """The root of the node's tree of receipts."""
    return receipts_root(line.receipts, listed.offsets)


def points_of(world: ContractWorld, line: ClaimLine, listed: PayoutList, seed: Digest) -> list[Point]:
    """The points of a list that a seed draws."""
    return drawn_points(seed, line.record, listed.payouts, world.params.draws)


def shown(world: ContractWorld, line: ClaimLine, listed: PayoutList, seed: Digest) -> list[ReceiptOpening]:
    """The openings of the points that a seed draws."""
    return openings_of(line, listed, points_of(world, line, listed, seed))


def drawn(world: ContractWorld, line: ClaimLine, listed: PayoutList) -> list[ReceiptOpening]:
    """Propose a list, have its points drawn, and open them."""
    world.propose(line.record, listed.payouts, root=root_of(line, listed))
    return shown(world, line, listed, world.draw(line.record))
