"""Books kept from the logs: the values that storage must hold if every event of the contracts is true."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from openledger_protocol.primitives import ZERO_ADDRESS
from openledger_protocol.settlement import payouts_hash

from ..settlement.records import integer, payouts_of
from .claims import ClaimHistory
from .events import EventLog, amount_of, text
from .staking import WEI_PARTS, Rewards, replay_rewards
from .storage_layout import StorageKey

NONE, PROPOSED, FINALIZED, FINALIZED_LATE = range(4)
"""States of a claim in AttributionRewards."""

Expected = Iterator[tuple[StorageKey, int]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Books:
    """The expected value of each storage key, and sums where events tell no more than a sum."""

    expected: Mapping[StorageKey, int]
    nodes_of: Mapping[str, str]  # by channel
    claimed: Mapping[str, int]  # by node, over its channels: no event tells how much a claim took from each
    unbonding: Mapping[str, int]  # by node, over its requests: a withdrawal takes every request that is old enough
    faults: tuple[str, ...]


def books_of(log: EventLog, claims: Sequence[ClaimHistory]) -> Books:
    """Fold all events into expected values."""
    rewards = replay_rewards(log.events)
    parts = (
        _channels(log),
        _claims(log, claims),
        _balances(log),
        _proposals(claims),
        _stake_totals(log),
        _nodes(log, rewards),
        _bonds(log),
        _tokens(log),
    )
    return Books(
        expected={key: amount for part in parts for key, amount in part},
        nodes_of=_nodes_of_channels(log),
        claimed=log.by("node", plus=["Claimed"]),
        unbonding=log.by("node", plus=["UnbondStarted"], minus=["StakeWithdrawn"]),
        faults=rewards.faults,
    )


def _nodes_of_channels(log: EventLog) -> dict[str, str]:
    """The node that each channel pays; the zero address if its opening event is missing."""
    nodes = {text(event, "channelId"): ZERO_ADDRESS for event in log.of("ToppedUp", "WithdrawFinished", "Refunded")}
    return nodes | {text(event, "channelId"): text(event, "node") for event in log.of("ChannelOpened")}


def _channels(log: EventLog) -> Expected:
    """Deposits, refunds and withdrawals of payers."""
    yield ("PaymentChannels", "_paidIn"), log.total("ChannelOpened", "ToppedUp")
    yield ("PaymentChannels", "_refunded"), log.total("Refunded")
    yield ("PaymentChannels", "_withdrawn"), log.total("WithdrawFinished")
    deposits = log.by("channelId", plus=["ChannelOpened", "ToppedUp"], minus=["WithdrawFinished", "Refunded"])
    for channel, amount in deposits.items():
        yield ("PaymentChannels", "_channels", channel, "deposit"), amount
    for channel, amount in _pending_withdrawals(log, deposits).items():
        yield ("PaymentChannels", "_withdrawals", channel, "amount"), amount


def _pending_withdrawals(log: EventLog, deposits: Mapping[str, int]) -> dict[str, int]:
    """Pending withdrawals by channel; a refund reduces them."""
    pending = dict.fromkeys(deposits, 0)
    for event in log.of("WithdrawStarted", "WithdrawFinished", "Refunded"):
        channel = text(event, "channelId")
        match event.name:
            case "WithdrawStarted":
                pending[channel] = amount_of(event)
            case "WithdrawFinished":
                pending[channel] = 0
            case "Refunded":
                pending[channel] = max(0, pending.get(channel, 0) - amount_of(event))
    return pending


def _claims(log: EventLog, claims: Sequence[ClaimHistory]) -> Expected:
    """Claimed totals, and the hash of each claim's record, which is stored until its tokens leave."""
    yield ("PaymentChannels", "_claimed"), log.total("Claimed")
    yield ("PaymentChannels", "_released"), log.total("Released")
    for node, count in Counter(text(event, "node") for event in log.of("Claimed")).items():
        yield ("PaymentChannels", "nextSeq", node), count
    for claim in claims:
        is_live = claim.record is not None and claim.released_wei is None
        yield ("PaymentChannels", "claimOf", claim.node, claim.seq), claim.record_word if is_live else 0


def _balances(log: EventLog) -> Expected:
    """Credits minus withdrawals, in total and by account."""
    yield ("AttributionRewards", "_totals", "released"), log.total("Released")
    yield ("AttributionRewards", "_totals", "credited"), log.total("Credited")
    yield ("AttributionRewards", "_totals", "notified"), log.total("StakersNotified")
    yield ("AttributionRewards", "_totals", "paidOut"), log.total("Withdrawn")
    for account, amount in log.by("account", plus=["Credited"], minus=["Withdrawn"]).items():
        yield ("AttributionRewards", "balanceOf", account), amount


def _proposals(claims: Sequence[ClaimHistory]) -> Expected:
    """Proposed payout lists, by their hashes."""
    for claim in claims:
        at: StorageKey = ("AttributionRewards", "_proposals", claim.node, claim.seq)
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


def _stake_totals(log: EventLog) -> Expected:
    for member, plus, minus in (
        ("bonded", "Bonded", ["UnbondStarted"]),
        ("unbonding", "UnbondStarted", ["StakeWithdrawn"]),
        ("bondedIn", "Bonded", []),
        ("withdrawn", "StakeWithdrawn", []),
        ("notified", "RewardsNotified", []),
        ("rewardsPaid", "RewardsPaid", []),
    ):
        yield ("NodeStaking", "_totals", member), log.total(plus) - log.total(*minus)


def _nodes(log: EventLog, rewards: Rewards) -> Expected:
    """Each node's bond, its rewards, and its payout account."""
    bonded = log.by("node", plus=["Bonded"], minus=["UnbondStarted"])
    payouts = {text(event, "node"): int(text(event, "payout"), 16) for event in log.of("PayoutSet")}
    yield ("NodeStaking", "accPerShare"), rewards.per_wei
    yield ("NodeStaking", "accRemainder"), rewards.remainder
    for node in sorted({*bonded, *rewards.parts, *payouts}):
        earned, fraction = divmod(rewards.parts.get(node, 0), WEI_PARTS)
        yield ("NodeStaking", "_nodes", node, "bonded"), bonded.get(node, 0)
        yield ("NodeStaking", "_nodes", node, "rewards"), earned
        yield ("NodeStaking", "_nodes", node, "fraction"), fraction
        yield ("NodeStaking", "_nodes", node, "accPaid"), rewards.counted.get(node, 0)
        yield ("NodeStaking", "_nodes", node, "payout"), payouts.get(node, 0)


def _bonds(log: EventLog) -> Expected:
    """Bonds of registered adapters."""
    yield ("ModelRegistry", "_bondsIn"), log.total("AdapterRegistered")
    yield ("ModelRegistry", "_bondsOut"), log.total("BondReclaimed")
    for adapter, amount in log.by("adapterId", plus=["AdapterRegistered"], minus=["BondReclaimed"]).items():
        yield ("ModelRegistry", "_adapters", adapter, "bond"), amount


def _tokens(log: EventLog) -> Expected:
    """Token balances by holder, and the supply."""
    sums: Counter[str] = Counter()
    for event in log.of("Transfer"):
        sums[text(event, "to")] += amount_of(event)
        sums[text(event, "from")] -= amount_of(event)
    yield ("OpenToken", "_totalSupply"), -sums.pop(ZERO_ADDRESS, 0)
    for account, amount in sums.items():
        yield ("OpenToken", "_balances", account), amount
