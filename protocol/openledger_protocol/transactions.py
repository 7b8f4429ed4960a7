"""The node's transactions: intents, states on the way to the chain, and fees.

Each one is a row before anything leaves the node. Its nonce is kept while its fees are raised, so that the chain can
take only one of its variants.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from .chain import Block, ContractCall, Fees
from .primitives import ZERO_WEI, Address, Digest, Wei

TransactionState = Literal[
    "intended",  # only an intent: no nonce, no cost
    "reserved",  # it has a nonce
    "signed",  # signed bytes are stored, and may be sent
    "sent",  # an endpoint accepted them
    "mined",  # in a block, which a reorg may still remove
    "reverted",  # the same, but the contract reverted, and the gas is paid
    "final",  # mined, and can't be reorganised away
    "failed",  # reverted, and can't be reorganised away
    "refused",  # the simulation failed: nothing was sent or paid
]

NEXT: Final[dict[TransactionState, frozenset[TransactionState]]] = {
    "intended": frozenset({"reserved", "refused"}),
    "reserved": frozenset({"signed", "intended"}),  # intended: the nonce is another's for good, or out of reach
    "signed": frozenset({"sent", "mined", "reverted", "intended"}),  # mined: a crash came right after sending
    "sent": frozenset({"mined", "reverted", "intended"}),
    "mined": frozenset({"mined", "reverted", "sent", "final"}),  # in another block, or in none, after a reorg
    "reverted": frozenset({"mined", "reverted", "sent", "failed"}),
    "final": frozenset({"mined"}),  # if a chain reverts what it called final
    "failed": frozenset({"reverted"}),
    "refused": frozenset(),
}
"""Allowed transitions: state → states that may follow."""

OVER: Final[frozenset[TransactionState]] = frozenset({"final", "failed", "refused"})
IN_FLIGHT: Final[frozenset[TransactionState]] = frozenset({"reserved", "signed", "sent"})
MINED: Final[frozenset[TransactionState]] = frozenset({"mined", "reverted"})

REORG_DEPTH_MAX: Final = 64
"""The most blocks that a reorganisation may remove; an honest chain has no deeper one."""

REORG_S_MAX: Final = REORG_DEPTH_MAX * 12
"""The most by which an honest head may be earlier than another one, at 12 s from block to block."""

DAY_S: Final = 86_400
AT_RISK_DIVISOR: Final = 10
"""Fees may use this part of the value at risk, a tenth."""

GAS_TRANSACTION: Final = 21_000
GAS_FLOOR_TOKEN: Final = 10  # a byte of data has 4 tokens, or 1 if it is zero
GAS_MAX: Final = 16_777_216
"""Of one transaction (EIP-7825)."""

FEE_MAX_WEI: Final = Wei(5 * 10**16)
GAS_BUDGET_WEI: Final = Wei(2 * 10**17)
"""Limits for one transaction and for one day: 2,000,000 gas at 25 gwei, and four times that."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Intent:
    """A transaction that the node intends to send."""

    key: str  # unique, so that the same intent twice is one row
    kind: str  # "claim", "propose", …: failures are counted by kind
    summary: str  # for people
    sender: Address
    call: ContractCall
    value_at_risk_wei: Wei = ZERO_WEI  # the loss if it is never mined, in the chain's own coin
    deadline_s: int | None = None  # chain time of that loss; with one, it may exceed the daily gas budget


@dataclass(frozen=True, slots=True, kw_only=True)
class GasPrice:
    """The maximum price of a unit of gas, as in EIP-1559."""

    fee_max_wei: Wei  # base fee and tip together
    tip_max_wei: Wei


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """Signed bytes for one nonce at one price."""

    hash: Digest
    raw: bytes
    price: GasPrice
    sent_block: int | None = None  # the head when an endpoint first accepted it
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
    mined_hash: Digest | None = None  # the variant that was mined
    block_number: int | None = None
    block_hash: Digest | None = None
    mined_s: int | None = None  # chain time
    gas_used: int | None = None
    fee_wei: Wei | None = None  # the actual cost
    error: str | None = None  # the reason for refusal or revert

    @property
    def is_over(self) -> bool:
        """True if its state is final."""
        return self.state in OVER

    @property
    def fee_max_wei(self) -> Wei:
        """The maximum cost: only one variant is mined, and the last is the most expensive."""
        return Wei((self.gas_limit or 0) * self.variants[-1].price.fee_max_wei) if self.variants else ZERO_WEI


@dataclass(frozen=True, slots=True, kw_only=True)
class OutboxLimits:
    """Limits on the outbox's spending and waiting; money in the chain's own coin."""

    fee_max_wei: Wei = FEE_MAX_WEI  # of one transaction, regardless of the value at risk
    gas_budget_wei: Wei = GAS_BUDGET_WEI  # of one day of chain time
    bump_after_blocks: int = 3
    bump_after_s: int = 30  # both must have passed: block times range from 1 s to 12 s
    in_flight_max: int = 16  # of one sender: endpoints hold back more
    paid_failures_max: int = 3  # of one kind, in a row


def may_follow(new: TransactionState) -> frozenset[TransactionState]:
    """The states that `new` may follow."""
    return frozenset(state for state, following in NEXT.items() if new in following)


def next_nonce(chain_final: int, journal_max: int | None) -> int:
    """The nonce of a sender's next transaction.

    The chain knows what was mined for good, and is the only source after a restore from a backup. The journal knows
    what is in flight.
    """
    return chain_final if journal_max is None else max(chain_final, journal_max + 1)


def missing_nonces(nonces: Sequence[int], chain_next: int) -> list[int]:
    """The nonces that the chain must take before the last of `nonces`, and that are not among them.

    `chain_next` is the number of the sender's mined transactions, and so the next nonce that the chain takes.
    """
    return sorted(set(range(chain_next, max(nonces, default=chain_next))) - set(nonces))


def fee_caps_wei(waiting: Sequence[Transaction], limits: OutboxLimits) -> dict[int, Wei]:
    """The maximum cost of each transaction of one sender, by its id; `waiting` is in the order of their nonces.

    The chain takes nonces in order. So whatever is before a transaction with a deadline may cost as much as that one.
    """
    caps, urgent_wei = {}, ZERO_WEI
    for transaction in reversed(waiting):
        own_wei = fee_cap_wei(transaction.intent.value_at_risk_wei, limits)
        caps[transaction.id] = max(own_wei, urgent_wei)
        if transaction.intent.deadline_s is not None:
            urgent_wei = max(urgent_wei, own_wei)
    return caps


SPARE_GAS: Final = 50_000
"""Two accounts' votes of a new second. An estimate in the second of their last change adds none of the slots."""


def gas_limit_from_estimate(gas: int, data: bytes) -> int:
    """The estimate plus a quarter, and 50,000 at least, because the chain's state may change until it is mined.

    No endpoint takes less than the data costs or more than a block allows, so a wrong estimate can't block a nonce.
    """
    return min(max(gas + max(gas // 4, SPARE_GAS), least_gas(data)), GAS_MAX)


def least_gas(data: bytes) -> int:
    """Gas that a transaction with this data needs before any code runs.

    Source: EIP-7623.
    """
    zeros = data.count(0)
    tokens = zeros + 4 * (len(data) - zeros)
    return GAS_TRANSACTION + GAS_FLOOR_TOKEN * tokens


def fee_cap_wei(value_at_risk_wei: Wei, limits: OutboxLimits) -> Wei:
    """The maximum cost of a transaction."""
    return max(limits.fee_max_wei, Wei(value_at_risk_wei // AT_RISK_DIVISOR))


def first_price(fees: Fees, *, gas_limit: int, cap_wei: Wei) -> GasPrice | None:
    """The first price: room for the base fee to double; None if the cap is below the current price."""
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
    """True if a variant has waited in the pool for so long that its price must be too low."""
    if variant.sent_block is None or variant.sent_s is None:
        return False
    blocks, seconds = head.number - variant.sent_block, head.timestamp_s - variant.sent_s
    if blocks < -REORG_DEPTH_MAX or seconds < -REORG_S_MAX:  # an endpoint told a head that never was
        return True
    return blocks >= limits.bump_after_blocks and seconds >= limits.bump_after_s


def day_start_s(timestamp_s: int) -> int:
    """The start of the chain-time day that the gas budget applies to."""
    return timestamp_s - timestamp_s % DAY_S


def _raised(wei: Wei) -> Wei:
    """Raise by at least 12.5 %: pools require 10 %, and more than zero."""
    return Wei(max(wei + (wei + 7) // 8, wei + 1))


def _capped(price: GasPrice, *, least_wei: int, most_wei: int) -> GasPrice | None:
    if most_wei < least_wei:
        return None
    fee_max_wei = Wei(min(price.fee_max_wei, most_wei))
    return GasPrice(fee_max_wei=fee_max_wei, tip_max_wei=min(price.tip_max_wei, fee_max_wei))
