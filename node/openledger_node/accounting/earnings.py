"""Earnings of this node since a moment, summed from rows of the ledger and events of the chain."""

from collections.abc import Callable, Mapping, Sequence
from math import ceil
from typing import Any

from openledger_protocol.errors import MalformedError

from ..ledger.sums import Movement, Sums
from ..settlement.balances import ON_CHAIN, ClaimView
from ..settlement.session import NetworkSession
from ..text import rfc3339, since_of
from .earning_days import COIN_WEI, DAY_S, DayParts, Timed, earning_days, first_midnight
from .plain import plain_of

NS = 10**9


def earnings_report(session: NetworkSession, given: Mapping[str, Any], *, now_s: float) -> dict[str, Any]:
    """Report earnings since `given["since"]`, or all, by day if asked, and the cost of power if a price is given.

    By day, only whole days of UTC count: `30d` begins at a midnight, and its last day is today.

    A claim counts once: as settled from the time of its claim, and as claimed from the time of its credit.
    Charges to prepaid keys are the owner's own business and not on the chain, so they are in no sum with the rest.
    Charges to x402 payers reach the wallet by claims of their own, so they are in no sum with the rest either.
    Unclaimed receipts are in no sum with the rest. The node's part of them is unknown until the claim: it depends on
    the receipts that the claim combines, because the node gets the dust, and on the parameters of that epoch.

    Raises:
        MalformedError: an argument is invalid.
        ChainError: the chain can't be asked.
    """
    since_s, is_by_day = since_of(given.get("since"), now_s=now_s), _is_by_day(given)
    if is_by_day:
        since_s = first_midnight(since_s, now_s=now_s)
    seen, when = session.treasury.earnings(), _clock(session)
    credits = [(when(credit), credit) for credit in seen.credits]
    # By events, because a claim's row becomes final a step later.
    done = {credit.seq: (at_s, credit) for at_s, credit in credits}
    income = session.ledger.key_credits.income(since_s=ceil(since_s))
    x402_wei, unclaimed_wei, x402_cost_wei = session.ledger.x402.income_wei(since_s=ceil(since_s))
    claims = list(zip(seen.settlements, seen.claimed_at_s, strict=True))
    under_way = [(claim, at_s) for claim, at_s in claims if claim.state in ON_CHAIN and claim.seq not in done]
    parts = DayParts(
        settled=[(at_s, claim.node_share_wei or 0) for claim, at_s in under_way if at_s >= since_s],
        claimed=[(at_s, credit.amount_wei) for at_s, credit in credits if at_s >= since_s],
        gas=session.ledger.sums.gas_paid(session.accounts.signer, since_s=since_s) if is_by_day else (),
        coin_price_wei=session.coin_price_wei,
        charged=_charged_by_day(session, since_s) if is_by_day else (),
        x402=_x402_by_day(session, since_s) if is_by_day else (),
    )
    settled, claimed = sum(wei for _, wei in parts.settled), sum(wei for _, wei in parts.claimed)
    withdrawn = sum(movement.amount_wei for movement in seen.withdrawals if when(movement) >= since_s)
    gas = session.ledger.sums.gas_wei(session.accounts.signer, since_s=since_s)
    gas_open = gas * session.coin_price_wei // COIN_WEI
    return {
        "since": None if not since_s else rfc3339(since_s),
        "pending_wei": str(seen.unclaimed_wei),
        "settled_wei": str(settled),
        "claimed_wei": str(claimed),
        "withdrawn_wei": str(withdrawn),
        "balance_wei": str(seen.balance_wei),
        "gas_wei": str(gas),
        "gas_open_wei": str(gas_open),
        "net_wei": str(settled + claimed - gas_open),
        "unclaimed_wei": str(seen.unclaimed_wei),
        "credited_wei": str(claimed),
        "gateway": {"charged_wei": str(income.charged_wei), "cost_wei": str(income.cost_wei)},
        "x402": {
            "charged_wei": str(x402_wei),
            "unclaimed_wei": str(unclaimed_wei),
            "cost_wei": str(x402_cost_wei),
        },
        "settlements": _settlements(claims, done, since_s),
        "days": earning_days(parts, since_s=since_s, now_s=now_s) if is_by_day else None,
        "power": _power(given, session.ledger.sums, since_s),
    }


def _charged_by_day(session: NetworkSession, since_s: float) -> list[Timed]:
    """The charges to prepaid keys, by the beginning of their day. They are no part of any other sum."""
    days = session.ledger.key_days.income(since_day=int(since_s // DAY_S))
    return [(float(day * DAY_S), income.charged_wei) for day, income in days.items()]


def _x402_by_day(session: NetworkSession, since_s: float) -> list[Timed]:
    """The charges to x402 payers, by the beginning of their day. No other sum contains them."""
    days = session.ledger.x402.charged_by_day(since_s=int(since_s))
    return [(float(day * DAY_S), wei) for day, wei in days.items()]


def _is_by_day(given: Mapping[str, Any]) -> bool:
    if given.get("by") not in (None, "day"):
        raise MalformedError(f"earnings are listed by day, not by {given['by']!r}: write `day`, or leave it out")
    return given.get("by") == "day"


def busy_hours(sums: Sums, since_s: float) -> float:
    """The hours in which at least one request ran."""
    return sums.busy_ns(since_ns=since_s * NS) / NS / 3_600


def _power(given: Mapping[str, Any], sums: Sums, since_s: float) -> dict[str, Any] | None:
    """The cost of power in the owner's currency, which is never mixed with OPEN."""
    if given.get("power_price") is None or given.get("watts") is None:
        return None
    try:
        price, watts = float(given["power_price"]), float(given["watts"])
    except (TypeError, ValueError) as error:
        raise MalformedError("power_price and watts are numbers") from error
    hours = busy_hours(sums, since_s)
    kwh = hours * watts / 1_000
    return {
        "hours": round(hours, 6),
        "watts": watts,
        "kwh": round(kwh, 6),
        "price_per_kwh": price,
        "cost": round(kwh * price, 6),
    }


def _clock(session: NetworkSession) -> Callable[[Movement], float]:
    """Return a clock of movements in chain time: by our own transaction, or else by their block on the chain."""
    blocks: dict[int, float] = {}

    def when(movement: Movement) -> float:
        if movement.mined_s:
            return float(movement.mined_s)
        number = movement.block_number
        if number not in blocks:
            block = session.client.block(number)
            blocks[number] = float(block.timestamp_s) if block else 0.0
        return blocks[number]

    return when


def _settlements(
    claims: Sequence[tuple[ClaimView, int]], done: Mapping[int | None, tuple[float, Movement]], since_s: float
) -> list[dict[str, Any]]:
    """Claims made since then, or credited since then if they are final, with times and transactions."""
    shown = []
    for claim, claimed_at_s in claims:
        is_refused = claim.state == "refused"  # the next claim reuses its number, and gets the credit
        credited_s, credit = (None, None) if is_refused else done.get(claim.seq, (None, None))
        if claim.state == "final" and credit is None and since_s:
            continue
        if (claimed_at_s if credited_s is None else credited_s) < since_s:
            continue
        shown.append(
            {
                **plain_of(claim),
                "claimed_at": None if claim.node_share_wei is None else rfc3339(claimed_at_s),
                "credited_at": None if credited_s is None else rfc3339(credited_s),
                "credited_wei": None if credit is None else str(credit.amount_wei),
                "transaction": None if credit is None else credit.transaction_hash,
            }
        )
    return shown
