"""Epochs and windows: the parameters of each epoch, and the deadline of each step of a claim.

All times are chain time, in seconds of the latest block, never the node's clock.
"""

from dataclasses import dataclass

from .errors import MalformedError
from .primitives import Wei


@dataclass(frozen=True, slots=True, kw_only=True)
class Params:
    """Parameters that governance may change, as of one epoch."""

    protocol_ppm: int  # of every fee, to the protocol's treasury
    data_ppm: int  # of an adapter's fees, to the Datanets that it was trained on
    min_stake_wei: Wei  # bonded, to be allowed to claim
    min_deposit_wei: Wei  # to open a channel
    adapter_bond_wei: Wei  # to register an adapter
    draws: int  # points of each payout list that its node must show
    algo_id: (
        int  # the attribution algorithm; this and what follows are defaults of every node, which no contract reads
    )
    credit_tokens_max: int  # tokens that a payer's voucher may pay ahead
    least_context: int  # tokens of context that a node should offer
    guide_price_wei: Wei  # of 1,000 answer tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class Windows:
    """The length of each step; fixed when the contracts are deployed."""

    epoch_s: int
    propose_s: int  # from a claim to the last block that may propose its payout list
    window_s: int  # the review period, from a proposal to its draw: longer than a reorganisation
    redraw_blocks: int  # after which a draw has lapsed
    slash_gap_s: int  # from one slash of a node to the next
    unbonding_s: int  # until bonded stake, or a past signer's liability, is released
    withdraw_delay_min_s: int
    withdraw_delay_max_s: int
    withdraw_period_s: int  # within which a payer must finish a withdrawal, or it is void


@dataclass(frozen=True, slots=True, kw_only=True)
class Voting:
    """Times and least numbers of votes; fixed when the contracts are deployed."""

    delay_s: int  # from a proposal to the moment at which votes are counted, when voting begins
    period_s: int  # to vote; a third of it again after a quorum that comes late
    timelock_s: int  # from the queueing of what was decided to its execution
    threshold_wei: Wei  # votes that a proposer needs
    quorum_floor_wei: Wei  # votes that a decision needs, if 4 % of all votes are fewer


def epoch_at(timestamp_s: int, windows: Windows) -> int:
    """The epoch that a block belongs to."""
    return timestamp_s // windows.epoch_s


def is_claimable_epoch(epoch: int, timestamp_s: int, windows: Windows) -> bool:
    """True if a claim may name `epoch`: the current one or the one before."""
    now = epoch_at(timestamp_s, windows)
    return epoch in (now, now - 1)


def propose_until_s(claimed_at_s: int, windows: Windows) -> int:
    """The last second in which the node may propose a payout list; later, anyone may finalise without one."""
    return claimed_at_s + windows.propose_s


def show_until_s(ready_at_s: int, windows: Windows) -> int:
    """The last second in which the node's list can become final; later, anyone may finalise without it."""
    return ready_at_s + windows.propose_s


def ready_at_s(proposed_at_s: int, windows: Windows) -> int:
    """The time from which a payout list may be drawn."""
    return proposed_at_s + windows.window_s


def withdrawal_s(started_at_s: int, delay_s: int, windows: Windows) -> tuple[int, int]:
    """First and last second in which a payer may finish a withdrawal."""
    ready_s = started_at_s + delay_s
    return ready_s, ready_s + windows.withdraw_period_s


def check_withdraw_delay(delay_s: int, windows: Windows) -> None:
    """Require that the contract accepts a channel's withdrawal delay.

    Raises:
        MalformedError: it does not.
    """
    if not windows.withdraw_delay_min_s <= delay_s <= windows.withdraw_delay_max_s:
        raise MalformedError(
            f"a withdrawal is delayed by {windows.withdraw_delay_min_s} to {windows.withdraw_delay_max_s} s, "
            f"not by {delay_s} s"
        )
