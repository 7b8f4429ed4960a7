"""One side's books: every sum of the conservation lines, as the logs tell it or as storage holds it."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from openledger_protocol.primitives import ZERO_ADDRESS

from .said import Said, amount_of, text
from .staking import WEI_PARTS, replay_rewards

Amounts = Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Books:
    """Sums in wei, and by account, channel or claim where the chain keeps them so."""

    # PaymentChannels
    paid_in: int
    refunded: int
    payer_withdrawn: int
    deposits: Amounts  # by channel: paid in, less what went back
    claimed_by_node: Amounts  # over all channels of a node
    claimed: int
    live: Amounts  # by claim that is not final
    released: int
    # AttributionRewards
    settled: int  # what it took in of claims
    credited: int
    stakers: int  # what it handed on to them
    paid_out: int
    balances: Amounts
    # NodeStaking
    bonded_in: int
    notified: int
    bonded: Amounts
    bonded_in_all: int
    unbonding: Amounts
    unbonding_in_all: int
    stake_withdrawn: int
    slashed: int  # no contract slashes yet
    rewards_paid: int
    rewards_accrued: Amounts
    dust_parts: int  # of a wei, in 1e-18
    # ModelRegistry
    bonds_in: int
    bonds_out: int
    bonds: Amounts  # by adapter
    # OpenToken
    supply: int
    tokens: Amounts

    @property
    def in_channels(self) -> int:
        """Σ (deposit − claimed)."""
        return sum(self.deposits.values()) - sum(self.claimed_by_node.values())

    @property
    def dust(self) -> int:
        """What stakers' rewards leave undivided, in whole wei."""
        return self.dust_parts // WEI_PARTS

    @property
    def held(self) -> dict[str, int]:
        """What each contract that takes money should have of it."""
        stakes = (self.bonded, self.unbonding, self.rewards_accrued)
        return {
            "PaymentChannels": self.in_channels + sum(self.live.values()),
            "AttributionRewards": sum(self.balances.values()),
            "NodeStaking": sum(sum(each.values()) for each in stakes) + self.dust,
            "ModelRegistry": sum(self.bonds.values()),
        }


def books_of_logs(said: Said) -> Books:
    """The books that the events alone make.

    No event says what a claim took of which channel: `claimed` is known by node only.
    """
    gross = {
        claim_name(text(event, "node"), event.arguments["seq"]): amount_of(event) for event in said.of("Claimed")
    }
    final = {claim_name(text(event, "node"), event.arguments["seq"]) for event in said.of("Finalized")}
    released = {claim_name(text(event, "node"), event.arguments["seq"]) for event in said.of("Released")}
    bonded = said.by("node", plus=["Bonded"], minus=["UnbondStarted"])
    unbonding = said.by("node", plus=["UnbondStarted"], minus=["StakeWithdrawn"])
    rewards = replay_rewards(said.events)
    return Books(
        paid_in=said.total("ChannelOpened", "ToppedUp"),
        refunded=said.total("Refunded"),
        payer_withdrawn=said.total("WithdrawFinished"),
        deposits=said.by("channelId", plus=["ChannelOpened", "ToppedUp"], minus=["WithdrawFinished", "Refunded"]),
        claimed_by_node=said.by("node", plus=["Claimed"]),
        claimed=said.total("Claimed"),
        live={claim: amount for claim, amount in gross.items() if claim not in released},
        released=said.total("Released"),
        settled=sum(gross.get(claim, 0) for claim in final),
        credited=said.total("Credited"),
        stakers=said.total("StakersNotified"),
        paid_out=said.total("Withdrawn"),
        balances=said.by("account", plus=["Credited"], minus=["Withdrawn"]),
        bonded_in=said.total("Bonded"),
        notified=said.total("RewardsNotified"),
        bonded=bonded,
        bonded_in_all=sum(bonded.values()),
        unbonding=unbonding,
        unbonding_in_all=sum(unbonding.values()),
        stake_withdrawn=said.total("StakeWithdrawn"),
        slashed=0,
        rewards_paid=said.total("RewardsPaid"),
        rewards_accrued=rewards.accrued,
        dust_parts=rewards.dust_parts,
        bonds_in=said.total("AdapterRegistered"),
        bonds_out=said.total("BondReclaimed"),
        bonds=said.by("adapterId", plus=["AdapterRegistered"], minus=["BondReclaimed"]),
        supply=_supply(said),
        tokens=_tokens(said),
    )


def claim_name(node: str, seq: object) -> str:
    """What a claim is called here."""
    return f"{node}/{seq}"


def _tokens(said: Said) -> dict[str, int]:
    sums: Counter[str] = Counter()
    for event in said.of("Transfer"):
        sums[text(event, "to")] += amount_of(event)
        sums[text(event, "from")] -= amount_of(event)
    return {account: amount for account, amount in sums.items() if account != ZERO_ADDRESS}


def _supply(said: Said) -> int:
    """What was made, less what was destroyed."""
    made = (event for event in said.of("Transfer") if text(event, "from") == ZERO_ADDRESS)
    gone = (event for event in said.of("Transfer") if text(event, "to") == ZERO_ADDRESS)
    return sum(map(amount_of, made)) - sum(map(amount_of, gone))
