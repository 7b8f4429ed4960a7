"""Values that the contracts' views return: channels, proposals, stakes, parameters and durations."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from openledger_protocol.epoch import Params, Windows
from openledger_protocol.primitives import Address, Digest, Wei


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelDeposit:
    """A channel's deposit without what was withdrawn, and the part of it that is claimed."""

    deposit_wei: Wei
    claimed_wei: Wei


@dataclass(frozen=True, slots=True, kw_only=True)
class Withdrawal:
    """A payer's request to withdraw from a channel; the amount is 0 if there is none."""

    amount_wei: Wei
    ready_at_s: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """A proposed payout list, and how far its draws have come."""

    receipts_root: Digest
    ready_at_s: int  # the review period is over; 0 if there is no proposal
    draw_block: int  # its hash draws the points; 0 before the first draw
    num_redraws: int  # draws that lapsed and cost a fee
    redraws_max: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Stake:
    """A node's stake."""

    bonded_wei: Wei
    unbonding_wei: Wei


@dataclass(frozen=True, slots=True, kw_only=True)
class UnbondRequest:
    """Stake that is unbonding."""

    amount_wei: Wei
    ready_at_s: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Slash:
    """A part of a node's stake that a vote may burn."""

    node: Address
    amount_wei: Wei  # or all that there is
    evidence: Digest  # keccak256 of a file


def windows_of(row: Mapping[str, Any]) -> Windows:
    """The durations in a struct of the contract."""
    return Windows(
        epoch_s=row["epoch"],
        propose_s=row["propose"],
        window_s=row["window"],
        redraw_blocks=row["redrawBlocks"],
        slash_gap_s=row["slashGap"],
        unbonding_s=row["unbonding"],
        withdraw_delay_min_s=row["withdrawDelayMin"],
        withdraw_delay_max_s=row["withdrawDelayMax"],
        withdraw_period_s=row["withdrawPeriod"],
    )


def params_of(row: Mapping[str, Any]) -> Params:
    """The parameters in a struct of the contract."""
    return Params(
        protocol_ppm=row["protocolPpm"],
        data_ppm=row["dataPpm"],
        min_stake_wei=Wei(row["minStake"]),
        min_deposit_wei=Wei(row["minDeposit"]),
        adapter_bond_wei=Wei(row["adapterBond"]),
        draws=row["draws"],
        algo_id=row["algoId"],
        credit_tokens_max=row["creditTokensMax"],
        least_context=row["leastContext"],
        guide_price_wei=Wei(row["guidePrice"]),
    )
