"""Transactions of ours: what is wanted, the states on its way to the chain, and what may be paid for it.

Every one is a row before anything leaves the node. Its nonce is kept while its fees are raised, so that the chain can
take one of its variants only.
"""

from dataclasses import dataclass
from typing import Final, Literal

from .chain import Block, ContractCall, Fees
from .primitives import ZERO_WEI, Address, Digest, Wei

TransactionState = Literal[
    "intended",  # nothing but a wish: no nonce, no cost
    "reserved",  # its nonce is its own
    "signed",  # bytes that may be sent are stored
    "sent",  # an endpoint took them
    "mined",  # and a block holds them, which a reorg may still take away
    "reverted",  # the same, but the contract refused: the gas is paid
    "final",  # mined for good
    "failed",  # reverted for good
    "refused",  # the simulation said no: nothing was sent or paid
]

NEXT: Final[dict[TransactionState, frozenset[TransactionState]]] = {
    "intended": frozenset({"reserved", "refused"}),
    "reserved": frozenset({"signed"}),
    "signed": frozenset({"sent", "mined", "reverted", "intended"}),  # mined: the crash came right after the sending
    "sent": frozenset({"mined", "reverted", "intended"}),  # intended: somebody else used the nonce, for good
    "mined": frozenset({"mined", "reverted", "sent", "final"}),  # in another block, or in none, after a reorg
    "reverted": frozenset({"mined", "reverted", "sent", "failed"}),
    "final": frozenset({"mined"}),  # a chain that takes back what it called final
    "failed": frozenset({"reverted"}),
    "refused": frozenset(),
}
"""Which state may follow which."""

OVER: Final[frozenset[TransactionState]] = frozenset({"final", "failed", "refused"})
IN_FLIGHT: Final[frozenset[TransactionState]] = frozenset({"reserved", "signed", "sent"})
MINED: Final[frozenset[TransactionState]] = frozenset({"mined", "reverted"})

REORG_DEPTH_MAX: Final = 64
"""Blocks that a reorganisation may take away; a deeper one is none that an honest chain has."""

DAY_S: Final = 86_400
AT_RISK_DIVISOR: Final = 10
"""Fees may eat this part of what is lost otherwise, a tenth."""

FEE_MAX_WEI: Final = Wei(5 * 10**16)
GAS_BUDGET_WEI: Final = Wei(2 * 10**17)
"""Of one transaction whatever is at risk, and of one day: a claim of 2,000,000 gas at 25 gwei, and four of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Intent:
    """A transaction that is wanted."""

    key: str  # unique: the same intent twice is one row
    kind: str  # "claim", "propose", …: failures are counted by kind
    summary: str  # for people
    sender: Address
    call: ContractCall
    value_at_risk_wei: Wei = ZERO_WEI  # what is lost if it is never mined, in the chain's own coin
    deadline_s: int | None = None  # chain time by which that is lost; with one it passes the daily gas budget


@dataclass(frozen=True, slots=True, kw_only=True)
class GasPrice:
    """What a unit of gas may cost, as EIP-1559 has it."""

    fee_max_wei: Wei  # base fee and tip together
    tip_max_wei: Wei


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """Signed bytes for one nonce at one price."""

    hash: Digest
    raw: bytes
    price: GasPrice
    sent_block: int | None = None  # the head when an endpoint first took it
    sent_s: int | None = None  # and its chain time


@dataclass(frozen=True, slots=True, kw_only=True)
class Transaction:
    """One row of the outbox."""

    id: int
    intent: Intent
    state: TransactionState
    nonce: int | None = None
    gas_limit: int | None = None
    variants: tuple[Variant, ...] = ()  # of this nonce, cheapest first
    mined_hash: Digest | None = None  # which variant the chain took
    block_number: int | None = None
    block_hash: Digest | None = None
    mined_s: int | None = None  # chain time
    gas_used: int | None = None
    fee_wei: Wei | None = None  # what it did cost
    error: str | None = None  # why it was refused or reverted

    @property
    def is_over(self) -> bool:
        """Whether nothing more will become of it."""
        return self.state in OVER

    @property
    def fee_max_wei(self) -> Wei:
        """What it may still cost: of all variants one is mined, and the last is the dearest."""
        return Wei((self.gas_limit or 0) * self.variants[-1].price.fee_max_wei) if self.variants else ZERO_WEI


@dataclass(frozen=True, slots=True, kw_only=True)
class OutboxLimits:
    """What the outbox may spend and how long it waits; money in the chain's own coin."""

    fee_max_wei: Wei = FEE_MAX_WEI  # of one transaction, whatever is at risk
    gas_budget_wei: Wei = GAS_BUDGET_WEI  # of one day of chain time
    bump_after_blocks: int = 3
    bump_after_s: int = 30  # both must have passed: blocks take 1 s here and 12 s there
    in_flight_max: int = 16  # of one sender: endpoints hold back what goes beyond
    paid_failures_max: int = 3  # of one kind, one after another


def may_follow(new: TransactionState) -> frozenset[TransactionState]:
    """The states that `new` may follow."""
    return frozenset(state for state, following in NEXT.items() if new in following)


def next_nonce(chain_mined: int, journal_max: int | None) -> int:
    """The nonce of a sender's next transaction.

    The chain knows what was mined, and alone after a restore from a backup; the journal knows what is on its way.
    """
    return chain_mined if journal_max is None else max(chain_mined, journal_max + 1)


def gas_limit_from_estimate(gas: int) -> int:
    """The estimate and a quarter: what the chain holds may change until the transaction is mined."""
    return gas + gas // 4


def fee_cap_wei(intent: Intent, limits: OutboxLimits) -> Wei:
    """The most that an intent may cost."""
    return max(limits.fee_max_wei, Wei(intent.value_at_risk_wei // AT_RISK_DIVISOR))


def first_price(fees: Fees, *, gas_limit: int, cap_wei: Wei) -> GasPrice | None:
    """The price to begin with: room for the base fee to double; None if the cap is below what is asked just now."""
    wanted = GasPrice(fee_max_wei=Wei(2 * fees.base_wei + fees.tip_wei), tip_max_wei=fees.tip_wei)
    return _capped(wanted, least_wei=fees.base_wei + fees.tip_wei, most_wei=cap_wei // gas_limit)


def bumped_price(price: GasPrice, fees: Fees, *, gas_limit: int, cap_wei: Wei) -> GasPrice | None:
    """A price that replaces `price` in every pool; None if the cap forbids it."""
    least = GasPrice(fee_max_wei=_raised(price.fee_max_wei), tip_max_wei=_raised(price.tip_max_wei))
    wanted = GasPrice(
        fee_max_wei=max(least.fee_max_wei, Wei(2 * fees.base_wei + fees.tip_wei)),
        tip_max_wei=max(least.tip_max_wei, fees.tip_wei),
    )
    return _capped(wanted, least_wei=least.fee_max_wei, most_wei=cap_wei // gas_limit)


def is_stuck(variant: Variant, head: Block, limits: OutboxLimits) -> bool:
    """Whether a variant has waited in the pool for so long that it must be a matter of its price."""
    if variant.sent_block is None or variant.sent_s is None:
        return False
    blocks, seconds = head.number - variant.sent_block, head.timestamp_s - variant.sent_s
    return blocks >= limits.bump_after_blocks and seconds >= limits.bump_after_s


def day_start_s(timestamp_s: int) -> int:
    """When the day of chain time began that the gas budget is counted for."""
    return timestamp_s - timestamp_s % DAY_S


def _raised(wei: Wei) -> Wei:
    """At least 12.5 % more: pools ask for 10 %, and for more than nothing."""
    return Wei(max(wei + (wei + 7) // 8, wei + 1))


def _capped(price: GasPrice, *, least_wei: int, most_wei: int) -> GasPrice | None:
    if most_wei < least_wei:
        return None
    fee_max_wei = Wei(min(price.fee_max_wei, most_wei))
    return GasPrice(fee_max_wei=fee_max_wei, tip_max_wei=min(price.tip_max_wei, fee_max_wei))
