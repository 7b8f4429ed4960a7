"""Credit of a payer, as pure numbers: from the chain's state and from what the payer already owes.

Every amount is cumulative over the channel's life, so two streams of one channel share one limit.
"""

from dataclasses import dataclass

from openledger_protocol.errors import PaymentRequiredError
from openledger_protocol.primitives import ZERO_WEI, Wei

DAY_S = 86_400


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """The chain's state of a channel and of its payer."""

    deposit_final_wei: Wei = ZERO_WEI  # in blocks that can't be reorganised away
    deposit_latest_wei: Wei = ZERO_WEI
    claimed_wei: Wei = ZERO_WEI
    withdrawing_wei: Wei = ZERO_WEI  # started at the latest block, final or not
    payer_balance_wei: Wei = ZERO_WEI  # OPEN at the payer's address


@dataclass(frozen=True, slots=True, kw_only=True)
class CreditPolicy:
    """The operator's limits for payers that have no channel yet."""

    unsecured_wei: Wei  # per UTC day and payer
    unsecured_total_wei: Wei  # per UTC day, all payers together
    min_deposit_wei: Wei  # that a channel must hold, so a payer must own at least this


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """The ledger's memory of a payer."""

    unsecured_today_wei: Wei = ZERO_WEI
    unsecured_today_total_wei: Wei = ZERO_WEI
    has_defaulted: bool = False  # was served without a channel, and did not open one within a day


def is_good_unasked(standing: Standing, *, age_s: float, withdraw_delay_s: int) -> bool:
    """True if a standing that the chain told `age_s` ago can be relied on while the chain is away.

    Its deposit was final and no withdrawal was pending, so nothing leaves before the withdraw delay is over. The
    second half of the delay is left for the claim.
    """
    is_safe = standing.deposit_final_wei > 0 and standing.withdrawing_wei == 0
    return is_safe and 0 <= age_s < withdraw_delay_s / 2  # a clock that was set back tells no age


def secured_wei(standing: Standing) -> Wei:
    """The secured part of a channel's deposit. Money that a reorg or a withdrawal may take away does not count."""
    deposit = min(standing.deposit_final_wei, standing.deposit_latest_wei)
    return Wei(max(deposit - standing.withdrawing_wei, standing.claimed_wei, 0))


def unsecured_wei(standing: Standing, policy: CreditPolicy, record: Record) -> Wei:
    """Credit beyond the deposit: some at first contact, so that the first answer is fast, otherwise none."""
    is_first_contact = standing.deposit_final_wei == 0 and standing.withdrawing_wei == 0
    is_able = max(standing.payer_balance_wei, standing.deposit_latest_wei) >= policy.min_deposit_wei
    if not is_first_contact or not is_able or record.has_defaulted:
        return ZERO_WEI
    left = policy.unsecured_wei - record.unsecured_today_wei
    left_total = policy.unsecured_total_wei - record.unsecured_today_total_wei
    return Wei(max(min(left, left_total), 0))


def limit_wei(standing: Standing, policy: CreditPolicy, record: Record, *, charged_wei: Wei) -> Wei:
    """The most that a channel may be charged in all."""
    unsecured = unsecured_wei(standing, policy, record)
    return Wei(max(secured_wei(standing), charged_wei + unsecured if unsecured else 0))


def check_credit(
    standing: Standing, policy: CreditPolicy, record: Record, *, charged_wei: Wei, needed_wei: Wei
) -> Wei:
    """Return the channel's limit if it covers `needed_wei`.

    Raises:
        PaymentRequiredError: it does not; the message tells the payer what to do.
    """
    limit = limit_wei(standing, policy, record, charged_wei=charged_wei)
    if needed_wei <= limit:
        return limit
    raise PaymentRequiredError(
        _why_not(standing, policy, record) + f": this request needs {needed_wei} wei, {limit} are covered",
        needed_wei=needed_wei,
        limit_wei=limit,
    )


def _why_not(standing: Standing, policy: CreditPolicy, record: Record) -> str:
    if standing.withdrawing_wei:
        return "the channel is being withdrawn from: open another one"
    if standing.deposit_final_wei:
        return "the channel's deposit is used up: top it up"
    if standing.deposit_latest_wei:
        return "the channel's deposit is not final yet: try again in a moment"
    if record.has_defaulted:
        return "this payer has left an answer unpaid: open a channel first"
    if standing.payer_balance_wei < policy.min_deposit_wei:
        return f"there is no channel, and the payer holds less than the {policy.min_deposit_wei} wei that one needs"
    return "today's credit without a channel is used up: open a channel"
