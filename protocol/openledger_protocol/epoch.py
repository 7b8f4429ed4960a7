"""Epochs and windows: which parameters hold when, and until when each step of a claim may be taken.

Every time here is the chain's own, in seconds of the latest block, never the node's clock.
"""

from dataclasses import dataclass

from .errors import MalformedError
from .primitives import Wei


@dataclass(frozen=True, slots=True, kw_only=True)
class Params:
    """What governance may change, as it stands for one epoch."""

    protocol_ppm: int  # of every fee, to the protocol's treasury
    stakers_ppm: int  # of every fee, to those who have bonded
    data_ppm: int  # of an adapter's fees, to the Datanets that it learned from
    algo_id: int  # how shares are found where a Datanet has not chosen
    min_stake_wei: Wei  # bonded, to claim at all
    min_deposit_wei: Wei  # to open a channel
    adapter_bond_wei: Wei  # to register an adapter
    credit_tokens_max: int  # tokens that a payer's voucher is ahead of


@dataclass(frozen=True, slots=True, kw_only=True)
class Windows:
    """How long each step lasts; fixed when the contracts are deployed."""

    epoch_s: int
    propose_s: int  # from a claim to the last block that may name who is owed
    window_s: int  # from a proposal to its finalisation, for whoever objects
    response_s: int  # to answer a demand for a leaf
    pause_max_s: int
    unbonding_s: int  # until bonded stake, or a signer's past, is let go
    withdraw_delay_min_s: int
    withdraw_delay_max_s: int
    withdraw_period_s: int  # within which a payer's withdrawal is finished, or is void


def epoch_at(timestamp_s: int, windows: Windows) -> int:
    """The epoch that a block belongs to."""
    return timestamp_s // windows.epoch_s


def is_claimable_epoch(epoch: int, timestamp_s: int, windows: Windows) -> bool:
    """Whether a claim may name `epoch`: the one that is, or the one before it."""
    now = epoch_at(timestamp_s, windows)
    return epoch in (now, now - 1)


def propose_until_s(claimed_at_s: int, windows: Windows) -> int:
    """The last second in which the node may name who is owed; afterwards anybody may finalise without it."""
    return claimed_at_s + windows.propose_s


def ready_at_s(proposed_at_s: int, windows: Windows) -> int:
    """When a proposal may be finalised."""
    return proposed_at_s + windows.window_s


def withdrawal_s(started_at_s: int, delay_s: int, windows: Windows) -> tuple[int, int]:
    """First and last second in which a payer may finish a withdrawal."""
    ready_s = started_at_s + delay_s
    return ready_s, ready_s + windows.withdraw_period_s


def check_withdraw_delay(delay_s: int, windows: Windows) -> None:
    """Require that a channel's delay is one that the contract takes.

    Raises:
        MalformedError: it is not.
    """
    if not windows.withdraw_delay_min_s <= delay_s <= windows.withdraw_delay_max_s:
        raise MalformedError(
            f"a withdrawal is delayed by {windows.withdraw_delay_min_s} to {windows.withdraw_delay_max_s} s, "
            f"not by {delay_s} s"
        )
