"""Credit of a channel, as pure numbers from the chain's state.

Every amount is cumulative over the channel's life, so two streams of one channel share one limit.
"""

from dataclasses import dataclass

from openledger_protocol.errors import PaymentRequiredError
from openledger_protocol.primitives import ZERO_WEI, Wei


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """The chain's state of a channel."""

    deposit_final_wei: Wei = ZERO_WEI  # in blocks that can't be reorganised away
    deposit_latest_wei: Wei = ZERO_WEI
    claimed_wei: Wei = ZERO_WEI
    withdrawing_wei: Wei = ZERO_WEI  # started at the latest block, final or not


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


def unsecured_wei(standing: Standing, credit_wei: Wei) -> Wei:
    """Credit on a deposit that is in the latest block and not final yet, at most the operator's `credit_wei`.

    Only the payer's own transaction can put a deposit there, so nobody uses credit in another's name. It ends once
    the deposit is final.
    """
    if standing.deposit_final_wei:
        return ZERO_WEI
    return Wei(max(min(credit_wei, standing.deposit_latest_wei - standing.withdrawing_wei), 0))


def limit_wei(standing: Standing, credit_wei: Wei) -> Wei:
    """The most that a channel may be charged in all."""
    return max(secured_wei(standing), unsecured_wei(standing, credit_wei))


def check_credit(standing: Standing, credit_wei: Wei, *, needed_wei: Wei) -> Wei:
    """Return the channel's limit if it covers `needed_wei`.

    Raises:
        PaymentRequiredError: it does not; the message tells the payer what to do.
    """
    limit = limit_wei(standing, credit_wei)
    if needed_wei <= limit:
        return limit
    raise PaymentRequiredError(
        f"{_why_not(standing)}: this request needs {needed_wei} wei, {limit} are covered",
        needed_wei=needed_wei,
        limit_wei=limit,
    )


def _why_not(standing: Standing) -> str:
    if standing.withdrawing_wei:
        return "the channel is being withdrawn from: open another one"
    if standing.deposit_final_wei:
        return "the channel's deposit is used up: top it up"
    if standing.deposit_latest_wei:
        return "the channel's deposit is not final yet: try again in a moment"
    return "the latest block has no deposit of this channel: open it first"
