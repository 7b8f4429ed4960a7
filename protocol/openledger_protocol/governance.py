"""Rules of governance: the values that a vote may change, their bounds and steps, and the states of a proposal.

The contracts refuse what these rules refuse, so a proposal can be checked before anybody pays for a vote on it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from itertools import pairwise
from typing import Final, Literal

from .epoch import Params
from .primitives import Wei

ALGORITHMS: Final[Mapping[int, str]] = {1: "suffix-v1", 4: "size-v0", 5: "uniform-v0", 7: "poa-v3"}
"""The attribution rules with a public definition; no vote can admit another one."""

DRAWS_MIN, DRAWS_MAX = 4, 16
"""With two draws a false list is a fair game. From four on it costs at least twice what it gains."""

STEP_PPM: Final = 10_000
FREE_MINIMUM_WEI: Final = 10**18
STEP_EPOCHS: Final = 14
"""A share moves by at most a quarter or by `STEP_PPM`, if that is more. A minimum at most doubles or halves, and
up to `FREE_MINIMUM_WEI` it moves freely. The next change of the shares, or of the same minimum, is `STEP_EPOCHS`
later."""

ACTIVE_AFTER_EPOCHS: Final = 2
"""Values are active from the second epoch after the one in which their proposal is executed."""

SHARES: Final = ("protocol_ppm", "data_ppm")
MINIMA: Final = ("min_stake_wei", "min_deposit_wei", "adapter_bond_wei")


class ProposalState(IntEnum):
    """The states of OpenZeppelin's Governor."""

    PENDING = 0
    ACTIVE = 1
    CANCELED = 2
    DEFEATED = 3
    SUCCEEDED = 4
    QUEUED = 5
    EXPIRED = 6
    EXECUTED = 7


OPEN_STATES: Final = (
    ProposalState.PENDING,
    ProposalState.ACTIVE,
    ProposalState.SUCCEEDED,
    ProposalState.QUEUED,
)
"""States of a proposal that may still take effect."""


class Support(IntEnum):
    """Votes, as the governor counts them."""

    AGAINST = 0
    FOR = 1
    ABSTAIN = 2


# ---- The values

Unit = Literal["ppm", "wei", "number", "rule"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ParamSpec:
    """One value of Params: its name in the contract, its field here, its unit and its meaning."""

    key: str
    field: str
    unit: Unit
    meaning: str


PARAM_SPECS: Final = (
    ParamSpec(key="protocolPpm", field="protocol_ppm", unit="ppm", meaning="share of every fee for the treasury"),
    ParamSpec(
        key="dataPpm",
        field="data_ppm",
        unit="ppm",
        meaning="share of an adapter's fees for the Datanets that it was trained on",
    ),
    ParamSpec(key="minStake", field="min_stake_wei", unit="wei", meaning="stake that a node needs to claim"),
    ParamSpec(key="minDeposit", field="min_deposit_wei", unit="wei", meaning="least first deposit of a channel"),
    ParamSpec(key="adapterBond", field="adapter_bond_wei", unit="wei", meaning="bond to register an adapter"),
    ParamSpec(
        key="draws", field="draws", unit="number", meaning="places of each payout list that its node must show"
    ),
    ParamSpec(key="algoId", field="algo_id", unit="rule", meaning="attribution rule that the network asks nodes for"),
    ParamSpec(
        key="creditTokensMax",
        field="credit_tokens_max",
        unit="number",
        meaning="tokens of a chunk, which may be unpaid; default of [market] credit_tokens_max",
    ),
    ParamSpec(
        key="leastContext",
        field="least_context",
        unit="number",
        meaning="tokens of context that a node should offer; default of [inference] context_max",
    ),
    ParamSpec(
        key="guidePrice",
        field="guide_price_wei",
        unit="wei",
        meaning="price of 1,000 answer tokens; default of [market] price_out_wei",
    ),
)


def find_param(text: str) -> ParamSpec | None:
    """The value that a person means by `minStake`, `min_stake` or `min-stake`."""
    return next((spec for spec in PARAM_SPECS if _plain(text) in (_plain(spec.key), _plain(spec.field))), None)


def value_of(params: Params, spec: ParamSpec) -> int:
    """One value of the parameters."""
    value: int = getattr(params, spec.field)
    return value


def changed_params(before: Params, after: Params) -> list[ParamSpec]:
    """The values that differ."""
    return [spec for spec in PARAM_SPECS if value_of(before, spec) != value_of(after, spec)]


def _plain(text: str) -> str:
    return text.replace("_", "").replace("-", "").casefold()


# ---- Bounds

Bound = tuple[int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class ParamBounds:
    """Limits on what a vote may set; fixed when the contracts are deployed."""

    protocol_ppm_max: int
    data_ppm_min: int
    data_ppm_max: int
    royalty_ppm_max: int
    credit_tokens_max: int
    least_context_max: int
    guide_price_max_wei: Wei
    min_stake_min_wei: Wei
    min_stake_max_wei: Wei
    min_deposit_min_wei: Wei
    min_deposit_max_wei: Wei
    adapter_bond_min_wei: Wei
    adapter_bond_max_wei: Wei

    def of(self, spec: ParamSpec) -> Bound | None:
        """The least and the greatest value; None for the attribution rule, which is one of `ALGORITHMS`."""
        return {
            "protocol_ppm": (0, self.protocol_ppm_max),
            "data_ppm": (self.data_ppm_min, self.data_ppm_max),
            "min_stake_wei": (self.min_stake_min_wei, self.min_stake_max_wei),
            "min_deposit_wei": (self.min_deposit_min_wei, self.min_deposit_max_wei),
            "adapter_bond_wei": (self.adapter_bond_min_wei, self.adapter_bond_max_wei),
            "draws": (DRAWS_MIN, DRAWS_MAX),
            "credit_tokens_max": (1, self.credit_tokens_max),
            "least_context": (1, self.least_context_max),
            "guide_price_wei": (0, self.guide_price_max_wei),
        }.get(spec.field)


def is_within(spec: ParamSpec, value: int, bounds: ParamBounds) -> bool:
    """True if the contract accepts a value."""
    bound = bounds.of(spec)
    return value in ALGORITHMS if bound is None else bound[0] <= value <= bound[1]


# ---- Steps of shares and minima


@dataclass(frozen=True, slots=True, kw_only=True)
class QueuedParams:
    """Values and the first epoch in which they are active."""

    from_epoch: int
    params: Params


def step_of(spec: ParamSpec, before: int, bounds: ParamBounds) -> Bound | None:
    """The least and the greatest value that one vote can set after `before`; None for a value without steps."""
    if spec.field in SHARES:
        most = max(before // 4, STEP_PPM)
        step = before - most, before + most
    elif spec.field in MINIMA:
        step = 0 if before <= FREE_MINIMUM_WEI else -(-before // 2), max(2 * before, FREE_MINIMUM_WEI)
    else:
        return None
    bound = bounds.of(spec)
    assert bound is not None, "a value with steps has bounds"
    return max(step[0], bound[0]), min(step[1], bound[1])


def moves_from(spec: ParamSpec, history: Sequence[QueuedParams]) -> int:
    """The first epoch in which a value with steps may change again; `history` ascends and begins at epoch 0."""
    fields = SHARES if spec.field in SHARES else (spec.field,)
    values = [(each.from_epoch, [getattr(each.params, field) for field in fields]) for each in history]
    moved = [epoch for (_, before), (epoch, after) in pairwise(values) if before != after]
    return moved[-1] + STEP_EPOCHS if moved else 0


# ---- Time


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeline:
    """The earliest times of a proposal that is sent now, in chain time."""

    votes_from_s: int
    votes_until_s: int
    execute_at_s: int
    active_epoch: int
    active_at_s: int


def timeline_of(now_s: int, *, delay_s: int, period_s: int, timelock_s: int, epoch_s: int) -> Timeline:
    """The course of a proposal that is queued as soon as its vote ends and executed as soon as it may be."""
    begins_s = now_s + delay_s
    ends_s = begins_s + period_s
    execute_s = ends_s + timelock_s
    epoch = execute_s // epoch_s + ACTIVE_AFTER_EPOCHS
    return Timeline(
        votes_from_s=begins_s,
        votes_until_s=ends_s,
        execute_at_s=execute_s,
        active_epoch=epoch,
        active_at_s=epoch * epoch_s,
    )


def is_decided(votes_for: int, votes_against: int, votes_abstain: int, quorum: int) -> bool:
    """True if these votes, were they all, would carry a proposal."""
    return votes_for > votes_against and votes_for + votes_abstain >= quorum
