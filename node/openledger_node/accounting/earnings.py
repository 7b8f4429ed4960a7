"""Earnings of this node since a moment, summed from rows of the ledger and events of the chain."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from openledger_protocol.errors import MalformedError
from openledger_protocol.primitives import Wei

from ..keystore import Account
from ..ledger.sums import SpentDay
from ..settlement.balances import ON_CHAIN, ClaimView
from ..settlement.records import integer
from ..settlement.session import NetworkSession
from ..text import rfc3339, since_of
from .book_entries import BookLine, Entry
from .books import AccountBooks, BookReader, books_to_plain
from .earning_days import COIN_WEI, DAY_S, DayParts, Timed, earning_days, first_midnight
from .locked import AdapterBond
from .movements import list_movements
from .plain import plain_of

DAY_LINES: Final[Mapping[str, Sequence[BookLine]]] = {
    "royalty_wei": (BookLine.ROYALTY,),
    "datanet_wei": (BookLine.DATANET, BookLine.CONTRIBUTOR, BookLine.TREASURY),
    "other_wei": (BookLine.PROTOCOL, BookLine.OTHER_NODES),
}
"""The income of a day beside the node's own part, final or under way, by field."""


PERIODS_MAX: Final = 8
"""Periods that one question can ask for; Home shows four."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Claims:
    """The claims of this node, and the credits that ended them."""

    views: Sequence[tuple[ClaimView, int]]  # with the time of each claim
    credits: Mapping[int, Entry]  # by the claim's number
    unclaimed_wei: Wei  # of receipts that are in no claim

    @property
    def under_way(self) -> list[tuple[ClaimView, int]]:
        """Those on the chain that are not final. By events, because a claim's row becomes final a step later."""
        return [(view, at_s) for view, at_s in self.views if view.state in ON_CHAIN and view.seq not in self.credits]


class EarningsReports:
    """Reports the earnings of one session; it remembers the times of blocks."""

    def __init__(
        self,
        session: NetworkSession,
        names_of: Callable[[], Mapping[str, str]] = dict,
        accounts_of: Callable[[], Sequence[Account]] = tuple,
    ) -> None:
        self._session = session
        self._names_of = names_of  # names of adapters in the library, by id
        self._accounts_of = accounts_of  # of the data directory, on this network
        self._reader = BookReader(session)

    def report(self, given: Mapping[str, Any], *, now_s: float) -> dict[str, Any]:
        """Report earnings since `given["since"]`, or all, and by day if asked.

        By day, only whole days of UTC count: `30d` begins at a midnight, and its last day is today. With
        `given["movements"]`, every movement of money is listed, too. `given["periods"]` is a list of further times:
        the figures since each of them come with the report, of the same block and without its lists.

        A claim counts once: as settled from the time of its claim, and as claimed from the time of its credit.
        Unclaimed receipts are in no sum with the rest. The node's part of them is unknown until the claim: it depends
        on the receipts that the claim combines, because the node gets the dust, and on the parameters of that epoch.

        Raises:
            MalformedError: an argument is invalid.
            ChainError: the chain can't be asked.
        """
        since_s, is_by_day = since_of(given.get("since"), now_s=now_s), _is_by_day(given)
        if is_by_day:
            since_s = first_midnight(since_s, now_s=now_s)
        periods = [since_of(since, now_s=now_s) for since in _periods(given)]
        seen, books = self._session.treasury.earnings(), self._reader.read()
        claims = _Claims(
            views=list(zip(seen.settlements, seen.claimed_at_s, strict=True)),
            credits={each.seq: each for each in books.credits if each.line is BookLine.NODE and each.seq is not None},
            unclaimed_wei=seen.unclaimed_wei,
        )
        parts = self._parts(books, claims, since_s)
        return {
            **self._figures(books, claims, parts, since_s),
            "adapter_bonds": self._bonds(self._reader.locked(books).adapters()),
            "settlements": _settlements(claims, since_s),
            "days": earning_days(parts, since_s=since_s, now_s=now_s) if is_by_day else None,
            "movements": list_movements(self._session, books, since_s) if given.get("movements") else None,
            "periods": [
                self._figures(books, claims, self._parts(books, claims, each_s), each_s) for each_s in periods
            ],
        }

    def _figures(self, books: AccountBooks, claims: _Claims, parts: DayParts, since_s: float) -> dict[str, Any]:
        """The sums of a report, without its lists."""
        balance, spent = books.balance(since_s), self._spent(books, since_s)
        return {
            "since": None if not since_s else rfc3339(since_s),
            "pending_wei": str(claims.unclaimed_wei),
            "unclaimed_wei": str(claims.unclaimed_wei),
            "withdrawn_wei": str(balance.withdrawn_wei),
            "balance_wei": str(balance.balance_wei),
            **_sums(books, parts, since_s),
            "fees_wei": str(_sum(_since(self._fees(books, claims), since_s))),
            "num_bought": sum(day.num_answers for day in spent),
            "books": {
                **books_to_plain(books, balance, self._reader.locked(books).all()),
                "left_out": [
                    {"account": each.address, "name": each.name}
                    for each in self._accounts_of()
                    if each.address not in books.accounts.roles
                ],
            },
        }

    def _spent(self, books: AccountBooks, since_s: float) -> list[SpentDay]:
        return self._session.ledger.sums.spent_by_day(books.accounts.wallet, since_s=since_s)

    def _parts(self, books: AccountBooks, claims: _Claims, since_s: float) -> DayParts:
        session = self._session
        found = (*books.credits, *books.under_way)
        fees = [fee for account in books.accounts.roles for fee in session.ledger.sums.fees(account, since_s=since_s)]
        return DayParts(
            settled=_since(((at_s, view.node_share_wei or 0) for view, at_s in claims.under_way), since_s),
            claimed=_since(((each.at_s, each.amount_wei) for each in claims.credits.values()), since_s),
            gas=[(fee.at_s, fee.fee_wei) for fee in fees],
            coin_price_wei=session.coin_price_wei,
            income={
                name: _since(((each.at_s, each.amount_wei) for each in found if each.line in lines), since_s)
                for name, lines in DAY_LINES.items()
            },
            costs={
                "spent_wei": [(float(each.day * DAY_S), each.amount_wei) for each in self._spent(books, since_s)],
                "lost_wei": _since(books.slashes(), since_s),
            },
        )

    def _bonds(self, bonds: Sequence[AdapterBond]) -> list[dict[str, Any]]:
        names = self._names_of() if bonds else {}
        return [{**plain_of(bond), "state": bond.state, "name": names.get(bond.adapter_id)} for bond in bonds]

    def _fees(self, books: AccountBooks, claims: _Claims) -> list[Timed]:
        """Fees of late lists, lapsed draws and what was not listed, each at the time when its claim was final."""
        events = self._session.ledger.events.find("Finalized", {"node": books.accounts.wallet})
        ended = {integer(event, "seq"): event for event in events}
        return [
            (books.when(ended[view.seq]), share_wei - (credit.amount_wei if credit else 0))
            for view, _ in claims.views
            if view.seq in ended and (share_wei := view.node_share_wei) is not None
            for credit in [claims.credits.get(view.seq)]
        ]


def _sums(books: AccountBooks, parts: DayParts, since_s: float) -> dict[str, Any]:
    """The sums of a report, each of which its days add up to, and the lines of the books."""
    settled, claimed, gas = map(_sum, (parts.settled, parts.claimed, parts.gas))
    gas_open = gas * parts.coin_price_wei // COIN_WEI
    costs = {name: _sum(amounts) for name, amounts in parts.costs.items()}
    income = settled + claimed + sum(map(_sum, parts.income.values()))
    lines = _lines(books, parts, since_s)
    return {
        "settled_wei": str(settled),
        "claimed_wei": str(claimed),
        "credited_wei": str(claimed),
        "lines": lines,
        "total": {name: str(sum(int(line[name]) for line in lines)) for name in ("under_way_wei", "final_wei")},
        **{name: str(wei) for name, wei in costs.items()},
        "gas_wei": str(gas),
        "gas_open_wei": str(gas_open),
        "net_wei": str(income - sum(costs.values()) - gas_open),
    }


def _lines(books: AccountBooks, parts: DayParts, since_s: float) -> list[dict[str, str]]:
    """Each line of the books with what is on the chain but not final, and what was credited since then."""
    under_way, final = Counter[BookLine](), Counter[BookLine]()
    for entry in books.under_way:
        under_way[entry.line] += entry.amount_wei if entry.at_s >= since_s else 0
    for entry in books.credits:
        final[entry.line] += entry.amount_wei if entry.at_s >= since_s else 0
    under_way[BookLine.NODE] = _sum(parts.settled)
    return [
        {"line": line.value, "under_way_wei": str(under_way[line]), "final_wei": str(final[line])}
        for line in BookLine
    ]


def _since(amounts: Iterable[tuple[float, int]], since_s: float) -> list[Timed]:
    return [(float(at_s), wei) for at_s, wei in amounts if at_s >= since_s]


def _sum(amounts: Iterable[Timed]) -> int:
    return sum(wei for _, wei in amounts)


def _is_by_day(given: Mapping[str, Any]) -> bool:
    if given.get("by") not in (None, "day"):
        raise MalformedError(f"earnings are listed by day, not by {given['by']!r}: write `day`, or leave it out")
    return given.get("by") == "day"


def _periods(given: Mapping[str, Any]) -> Sequence[str | None]:
    asked = given.get("periods")
    if asked is None:
        return ()
    if (
        not isinstance(asked, list)
        or len(asked) > PERIODS_MAX
        or not all(isinstance(each, str | None) for each in asked)
    ):
        raise MalformedError(f'periods is a list of at most {PERIODS_MAX} times, such as ["7d", null]')
    return asked


def _settlements(claims: _Claims, since_s: float) -> list[dict[str, Any]]:
    """Claims made since then, or credited since then if they are final, with times and transactions."""
    shown = []
    for view, claimed_at_s in claims.views:
        is_refused = view.state == "refused"  # the next claim reuses its number, and gets the credit
        credit = None if is_refused else claims.credits.get(view.seq)
        if view.state == "final" and credit is None and since_s:
            continue
        if (credit.at_s if credit else claimed_at_s) < since_s:
            continue
        shown.append(
            {
                **plain_of(view),
                "claimed_at": None if view.node_share_wei is None else rfc3339(claimed_at_s),
                "credited_at": rfc3339(credit.at_s) if credit else None,
                "credited_wei": str(credit.amount_wei) if credit else None,
                "transaction": credit.transaction_hash if credit else None,
            }
        )
    return shown
