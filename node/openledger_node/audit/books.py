"""The books by the logs: what storage must hold, spot by spot, for all that the contracts have said to be true."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from openledger_protocol.primitives import ZERO_ADDRESS
from openledger_protocol.settlement import payouts_hash

from ..settlement.records import integer, payouts_of
from .claims import ClaimHistory
from .events import EventLog, amount_of, text
from .staking import WEI_PARTS, Rewards, replay_rewards
from .storage_layout import Spot

NONE, PROPOSED, FINALIZED, FINALIZED_LATE = range(4)
"""How far AttributionRewards has got with a claim."""

Held = Iterator[tuple[Spot, int]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Books:
    """What each spot must hold; and sums where no event tells more than a sum."""

    spots: Mapping[Spot, int]
    nodes_of: Mapping[str, str]  # by channel
    claimed: Mapping[str, int]  # by node, over its channels: no event says what a claim took of which
    unbonding: Mapping[str, int]  # by node, over its requests: a withdrawal takes all that are old enough
    faults: tuple[str, ...]


def books_of(said: EventLog, claims: Sequence[ClaimHistory]) -> Books:
    """Fold all events."""
    rewards = replay_rewards(said.events)
    parts = (
        _channels(said),
        _claims(said, claims),
        _balances(said),
        _proposals(claims),
        _stake_totals(said),
        _nodes(said, rewards),
        _bonds(said),
        _tokens(said),
    )
    return Books(
        spots={spot: amount for part in parts for spot, amount in part},
        nodes_of=_nodes_of_channels(said),
        claimed=said.by("node", plus=["Claimed"]),
        unbonding=said.by("node", plus=["UnbondStarted"], minus=["StakeWithdrawn"]),
        faults=rewards.faults,
    )


def _nodes_of_channels(said: EventLog) -> dict[str, str]:
    """Whom each channel pays; nobody, where all that is said of it is not how it began."""
    nodes = {text(event, "channelId"): ZERO_ADDRESS for event in said.of("ToppedUp", "WithdrawFinished", "Refunded")}
    return nodes | {text(event, "channelId"): text(event, "node") for event in said.of("ChannelOpened")}


def _channels(said: EventLog) -> Held:
    """What payers put up, took back and ask back."""
    yield ("PaymentChannels", "_paidIn"), said.total("ChannelOpened", "ToppedUp")
    yield ("PaymentChannels", "_refunded"), said.total("Refunded")
    yield ("PaymentChannels", "_withdrawn"), said.total("WithdrawFinished")
    deposits = said.by("channelId", plus=["ChannelOpened", "ToppedUp"], minus=["WithdrawFinished", "Refunded"])
    for channel, amount in deposits.items():
        yield ("PaymentChannels", "_channels", channel, "deposit"), amount
    for channel, amount in _asked_back(said, deposits).items():
        yield ("PaymentChannels", "_withdrawals", channel, "amount"), amount


def _asked_back(said: EventLog, deposits: Mapping[str, int]) -> dict[str, int]:
    """By channel; a refund comes off it."""
    asked = dict.fromkeys(deposits, 0)
    for event in said.of("WithdrawStarted", "WithdrawFinished", "Refunded"):
        channel = text(event, "channelId")
        match event.name:
            case "WithdrawStarted":
                asked[channel] = amount_of(event)
            case "WithdrawFinished":
                asked[channel] = 0
            case "Refunded":
                asked[channel] = max(0, asked.get(channel, 0) - amount_of(event))
    return asked


def _claims(said: EventLog, claims: Sequence[ClaimHistory]) -> Held:
    """What was claimed, and each claim's record: its hash is kept until its tokens leave."""
    yield ("PaymentChannels", "_claimed"), said.total("Claimed")
    yield ("PaymentChannels", "_released"), said.total("Released")
    for node, count in Counter(text(event, "node") for event in said.of("Claimed")).items():
        yield ("PaymentChannels", "nextSeq", node), count
    for claim in claims:
        is_live = claim.record is not None and claim.released_wei is None
        yield ("PaymentChannels", "claimOf", claim.node, claim.seq), claim.record_word if is_live else 0


def _balances(said: EventLog) -> Held:
    """What was credited and is not taken out."""
    yield ("AttributionRewards", "_totals", "released"), said.total("Released")
    yield ("AttributionRewards", "_totals", "credited"), said.total("Credited")
    yield ("AttributionRewards", "_totals", "notified"), said.total("StakersNotified")
    yield ("AttributionRewards", "_totals", "paidOut"), said.total("Withdrawn")
    for account, amount in said.by("account", plus=["Credited"], minus=["Withdrawn"]).items():
        yield ("AttributionRewards", "balanceOf", account), amount


def _proposals(claims: Sequence[ClaimHistory]) -> Held:
    """Who is to be paid, by the hash of the list."""
    for claim in claims:
        at: Spot = ("AttributionRewards", "_proposals", claim.node, claim.seq)
        proposed = claim.proposed
        yield (*at, "payoutsHash"), int(payouts_hash(payouts_of(proposed)), 16) if proposed else 0
        yield (*at, "attributionRoot"), int(text(proposed, "attributionRoot"), 16) if proposed else 0
        yield (*at, "leafCount"), integer(proposed, "leafCount") if proposed else 0
        yield (*at, "readyAt"), integer(proposed, "readyAt") if proposed else 0
        yield (*at, "state"), _state_of(claim)


def _state_of(claim: ClaimHistory) -> int:
    if claim.is_final:
        return FINALIZED_LATE if claim.is_late else FINALIZED
    return PROPOSED if claim.proposed else NONE


def _stake_totals(said: EventLog) -> Held:
    for member, plus, minus in (
        ("bonded", "Bonded", ["UnbondStarted"]),
        ("unbonding", "UnbondStarted", ["StakeWithdrawn"]),
        ("bondedIn", "Bonded", []),
        ("withdrawn", "StakeWithdrawn", []),
        ("notified", "RewardsNotified", []),
        ("rewardsPaid", "RewardsPaid", []),
    ):
        yield ("NodeStaking", "_totals", member), said.total(plus) - said.total(*minus)


def _nodes(said: EventLog, rewards: Rewards) -> Held:
    """Each node's bond, what it has earned, and to whom that goes."""
    bonded = said.by("node", plus=["Bonded"], minus=["UnbondStarted"])
    payouts = {text(event, "node"): int(text(event, "payout"), 16) for event in said.of("PayoutSet")}
    yield ("NodeStaking", "accPerShare"), rewards.per_wei
    yield ("NodeStaking", "accRemainder"), rewards.remainder
    for node in sorted({*bonded, *rewards.parts, *payouts}):
        earned, fraction = divmod(rewards.parts.get(node, 0), WEI_PARTS)
        yield ("NodeStaking", "_nodes", node, "bonded"), bonded.get(node, 0)
        yield ("NodeStaking", "_nodes", node, "rewards"), earned
        yield ("NodeStaking", "_nodes", node, "fraction"), fraction
        yield ("NodeStaking", "_nodes", node, "accPaid"), rewards.counted.get(node, 0)
        yield ("NodeStaking", "_nodes", node, "payout"), payouts.get(node, 0)


def _bonds(said: EventLog) -> Held:
    """What owners of adapters put up."""
    yield ("ModelRegistry", "_bondsIn"), said.total("AdapterRegistered")
    yield ("ModelRegistry", "_bondsOut"), said.total("BondReclaimed")
    for adapter, amount in said.by("adapterId", plus=["AdapterRegistered"], minus=["BondReclaimed"]).items():
        yield ("ModelRegistry", "_adapters", adapter, "bond"), amount


def _tokens(said: EventLog) -> Held:
    """Who holds what of the token."""
    sums: Counter[str] = Counter()
    for event in said.of("Transfer"):
        sums[text(event, "to")] += amount_of(event)
        sums[text(event, "from")] -= amount_of(event)
    yield ("OpenToken", "_totalSupply"), -sums.pop(ZERO_ADDRESS, 0)
    for account, amount in sums.items():
        yield ("OpenToken", "_balances", account), amount
