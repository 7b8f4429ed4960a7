"""What this node has earned since a moment, each sum made of rows of the ledger and of events of the chain."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from openledger_protocol.errors import MalformedError
from openledger_protocol.events import Event
from openledger_protocol.payouts import CreditRole
from openledger_protocol.primitives import Address

from ..ledger.jobs import Job
from ..settlement.balances import ClaimView
from ..settlement.records import integer, record_of
from ..settlement.session import NetworkSession
from ..text import rfc3339
from .plain import plain_of

UNITS_S = {"m": 60, "h": 3_600, "d": 86_400, "w": 604_800}
COIN_WEI = 10**18
ON_CHAIN = ("claimed", "proposed")
JOBS_MAX = CLAIMS_MAX = 1_000_000
NS = 10**9


def earnings_report(session: NetworkSession, given: Mapping[str, Any], *, now_s: float) -> dict[str, Any]:
    """Earnings since `given["since"]` (all, where it is missing), and what they took in power where a price is given.

    A claim counts once, by the last that became of it: as settled from its claim on, as claimed from its credit on.
    What no claim holds yet is everybody's: the node's part of it hangs on which receipts a claim will take together,
    since it gets the dust, and on what governance has set by then. So it is in no sum with the rest.

    Raises:
        MalformedError: an argument is not understood.
        ChainError: the chain can't be asked.
    """
    since_s = since_of(given.get("since"), now_s=now_s)
    seen, when, claimed_at = session.treasury.earnings(), _clock(session), _claim_clock(session)
    payout = session.deployment.payout_of(session.accounts.wallet)
    credits = [(when(event), event) for event in _credits(session, payout)]
    done = dict(_by_seq(credits))  # a claim's row hears of its end a step later than the events
    credits = [(at_s, event) for at_s, event in credits if at_s >= since_s]
    withdrawn = [
        event for event in session.ledger.events.find("Withdrawn", {"account": payout}) if when(event) >= since_s
    ]
    under_way = [claim for claim in seen.settlements if claim.state in ON_CHAIN and claim.seq not in done]
    settled = sum(claim.node_share_wei or 0 for claim in under_way if claimed_at(claim) >= since_s)
    claimed = sum(integer(event, "amount") for _, event in credits)
    gas = _gas_wei(session, since_s)
    gas_open = gas * session.coin_price_wei // COIN_WEI
    return {
        "since": None if not since_s else rfc3339(since_s),
        "pending_wei": str(seen.unclaimed_wei),
        "settled_wei": str(settled),
        "claimed_wei": str(claimed),
        "withdrawn_wei": str(sum(integer(event, "amount") for event in withdrawn)),
        "balance_wei": str(seen.balance_wei),
        "gas_wei": str(gas),
        "gas_open_wei": str(gas_open),
        "net_wei": str(settled + claimed - gas_open),
        "unclaimed_wei": str(seen.unclaimed_wei),
        "credited_wei": str(claimed),
        "settlements": _settlements(seen.settlements, done, claimed_at, since_s),
        "power": _power(given, lambda: session.ledger.jobs.newest(limit=JOBS_MAX), since_s),
    }


def since_of(text: object, *, now_s: float) -> float:
    """A moment in seconds since 1970 from `30d`, `12h`, `2026-01-31` or RFC 3339; 0 where nothing is said.

    Raises:
        MalformedError: it is no moment.
    """
    if text in (None, ""):
        return 0.0
    if isinstance(text, str) and (found := re.fullmatch(r"(\d{1,6})([mhdw])", text)):
        return max(0.0, now_s - int(found[1]) * UNITS_S[found[2]])
    try:
        at = datetime.fromisoformat(str(text))
    except ValueError as error:
        raise MalformedError(f"{text!r} is no moment: write `30d`, `12h` or `2026-01-31`") from error
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()


def busy_hours(jobs: Iterable[Job], since_s: float) -> float:
    """The hours in which at least one request ran."""
    spans = sorted(
        (job.received_ns, job.ended_ns) for job in jobs if job.ended_ns and job.received_ns >= since_s * NS
    )
    total = end = 0
    for begin, until in spans:
        total += max(0, until - max(begin, end))
        end = max(end, until)
    return total / NS / 3_600


def _power(given: Mapping[str, Any], jobs: Callable[[], Sequence[Job]], since_s: float) -> dict[str, Any] | None:
    """Power in the owner's own currency; it is never mixed into OPEN."""
    if given.get("power_price") is None or given.get("watts") is None:
        return None
    try:
        price, watts = float(given["power_price"]), float(given["watts"])
    except (TypeError, ValueError) as error:
        raise MalformedError("power_price and watts are numbers") from error
    hours = busy_hours(jobs(), since_s)
    kwh = hours * watts / 1_000
    return {
        "hours": round(hours, 6),
        "watts": watts,
        "kwh": round(kwh, 6),
        "price_per_kwh": price,
        "cost": round(kwh * price, 6),
    }


def _credits(session: NetworkSession, payout: Address) -> list[Event]:
    found = session.ledger.events.find("Credited", {"account": payout, "node": session.accounts.wallet})
    return [event for event in found if event.arguments["role"] == CreditRole.NODE]


def _clock(session: NetworkSession) -> Callable[[Event], float]:
    """When an event was, in chain time: by our own transaction where it came of one, else by its block."""
    ours = {found.mined_hash: found.mined_s for found in session.ledger.outbox.newest(limit=JOBS_MAX)}
    blocks: dict[int, float] = {}

    def when(event: Event) -> float:
        if mined_s := ours.get(event.transaction_hash):
            return float(mined_s)
        number = event.block.number
        if number not in blocks:
            block = session.client.block(number)
            blocks[number] = float(block.timestamp_s) if block else 0.0
        return blocks[number]

    return when


def _claim_clock(session: NetworkSession) -> Callable[[ClaimView], float]:
    """When a claim was made, in chain time: as its record says; as the ledger does, of one without a record."""
    events = session.ledger.events.find("Claimed", {"node": session.accounts.wallet})
    recorded = {record.seq: record.claimed_at_s for record in map(record_of, events)}
    kept = {(claim.seq, claim.epoch): claim.created_s for claim in session.ledger.claims.newest(limit=CLAIMS_MAX)}

    def claimed_at(claim: ClaimView) -> float:
        is_recorded = claim.node_share_wei is not None
        return float(recorded[claim.seq] if is_recorded else kept[claim.seq, claim.epoch])

    return claimed_at


def _gas_wei(session: NetworkSession, since_s: float) -> int:
    """What the signer has paid since then."""
    sent = session.ledger.outbox.newest(limit=JOBS_MAX)
    own = (found for found in sent if found.intent.sender == session.accounts.signer and found.fee_wei)
    return sum(found.fee_wei or 0 for found in own if (found.mined_s or 0) >= since_s)


def _by_seq(credits: Iterable[tuple[float, Event]]) -> Iterable[tuple[int, tuple[float, Event]]]:
    for at_s, event in credits:
        yield integer(event, "seq"), (at_s, event)


def _settlements(
    claims: Sequence[ClaimView],
    done: Mapping[int, tuple[float, Event]],
    claimed_at: Callable[[ClaimView], float],
    since_s: float,
) -> list[dict[str, Any]]:
    """Every claim that was made since then or, where it is over, credited since then; each with when and by what."""
    shown = []
    for claim in claims:
        is_refused = claim.state == "refused"  # the next claim has its number, and its credit
        credited_s, event = (None, None) if is_refused else done.get(claim.seq, (None, None))
        if claim.state == "final" and event is None and since_s:
            continue
        if (claimed_at(claim) if credited_s is None else credited_s) < since_s:
            continue
        shown.append(
            {
                **plain_of(claim),
                "claimed_at": None if claim.node_share_wei is None else rfc3339(claimed_at(claim)),
                "credited_at": None if credited_s is None else rfc3339(credited_s),
                "credited_wei": None if event is None else str(integer(event, "amount")),
                "transaction": None if event is None else event.transaction_hash,
            }
        )
    return shown
