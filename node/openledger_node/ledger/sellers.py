"""Sellers by wallet: the outcomes of their answers, and the speed that this node has measured.

A wallet holds stake, so it is not replaced after a bad answer as a peer id is, which costs nothing.
"""

import sqlite3
from collections.abc import Iterable
from dataclasses import astuple, dataclass, fields, replace
from fractions import Fraction
from typing import Literal

from openledger_protocol.auction import Speed, trust_ppm
from openledger_protocol.primitives import Address

from .store import Store

SELLERS_MAX = 4_096
"""Sellers that are kept; beyond that, those noted longest ago are deleted first."""

ANSWERS_MAX = 200
"""At this many answers of a seller each count is halved, so that old answers weigh less."""

MEASURED_MAX = 32
"""At this many measured answers of a seller their sums are halved, so that figures follow a changed machine."""

WHOLE_PER_DEFAULT = 8
"""Each so many whole answers forgive a seller one default."""

FIRST_BAR_NS = 10 * 10**9
"""A seller is barred for so long after a default, about as long as a restart takes, and then for four times as long
after each further one."""

QUADRUPLINGS_MAX = 8  # about a week

Outcome = Literal["successes", "failures", "aborted", "late", "unreached"]
"""The outcome of an answer, as `auction.trust_ppm` counts it, which takes a broken off answer as a failure."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerSpeed:
    """One answer's speed as the requester measured it."""

    ttft_ms: int
    num_tokens: int
    stream_ms: int  # from the first token to the last


@dataclass(frozen=True, slots=True, kw_only=True)
class SellerRecord:
    """This node's experience with a seller. The fields are the columns of its row."""

    successes: int = 0
    failures: int = 0
    aborted: int = 0
    late: int = 0
    unreached: int = 0  # calls that did not reach it; they do not lower its trust
    defaults: int = 0  # attempts that took a voucher and gave less than it was worth
    defaulted_ns: int = 0  # time of the last one
    num_measured: int = 0
    ttft_ms: int = 0  # sums of what was measured
    num_tokens: int = 0
    stream_ms: int = 0

    @property
    def trust_ppm(self) -> int:
        """The trust that the seller's bids are divided by."""
        return trust_ppm(whole=self.successes, failed=self.failures + self.aborted, late=self.late)

    @property
    def num_owed(self) -> int:
        """Defaults that no whole answers have forgiven."""
        return max(0, self.defaults - (self.successes + self.late) // WHOLE_PER_DEFAULT)

    @property
    def num_answers(self) -> int:
        """Answers that count, good or bad."""
        return self.successes + self.failures + self.aborted + self.late

    @property
    def speed(self) -> Speed | None:
        """The measured speed. Sums of tokens and of time can't be swayed by one fast, short answer."""
        if not self.num_measured:
            return None
        return Speed(
            ttft_ms=Fraction(self.ttft_ms, self.num_measured),
            tokens_per_s=Fraction(1_000 * max(1, self.num_tokens), max(1, self.stream_ms)),
        )

    @property
    def barred_until_ns(self) -> int:
        """The time before which nothing is bought from the seller; 0 if it owes nothing."""
        if not self.num_owed:
            return 0
        bar_ns: int = FIRST_BAR_NS * 4 ** min(self.num_owed - 1, QUADRUPLINGS_MAX)
        return self.defaulted_ns + bar_ns

    def after(
        self, outcome: Outcome, *, now_ns: int, sample: AnswerSpeed | None = None, is_default: bool = False
    ) -> "SellerRecord":
        """Count one more answer."""
        found = replace(self, **{outcome: getattr(self, outcome) + 1})
        if is_default and now_ns >= self.barred_until_ns:  # else it ran beside the one that counts already
            found = replace(found, defaults=found.defaults + 1, defaulted_ns=now_ns)
        if found.num_answers >= ANSWERS_MAX:
            found = found._halved("successes", "failures", "aborted", "late", "defaults")
        if sample is None:
            return found
        found = replace(
            found,
            num_measured=found.num_measured + 1,
            ttft_ms=found.ttft_ms + sample.ttft_ms,
            num_tokens=found.num_tokens + sample.num_tokens,
            stream_ms=found.stream_ms + sample.stream_ms,
        )
        if found.num_measured >= MEASURED_MAX:
            found = found._halved("num_measured", "ttft_ms", "num_tokens", "stream_ms")
        return found

    def _halved(self, *names: str) -> "SellerRecord":
        return replace(self, **{name: getattr(self, name) // 2 for name in names})


COLUMNS = tuple(field.name for field in fields(SellerRecord))


class Sellers:
    """Rows of sellers. The caller has asked the chain whether the wallet is theirs."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def note(
        self,
        wallet: Address,
        outcome: Outcome,
        *,
        now_ns: int,
        sample: AnswerSpeed | None = None,
        is_default: bool = False,
    ) -> SellerRecord:
        """Count the outcome of an answer, with its measured speed if it has one."""
        with self._store.transaction() as transaction:
            record = self.find(wallet).after(outcome, now_ns=now_ns, sample=sample, is_default=is_default)
            transaction.execute(
                f"INSERT OR REPLACE INTO seller (wallet, noted_ns, {', '.join(COLUMNS)})"
                f" VALUES (?, ?{', ?' * len(COLUMNS)})",
                (wallet, now_ns, *astuple(record)),
            )
            _forget(transaction)
        return record

    def find(self, wallet: Address) -> SellerRecord:
        """Return a seller's record; an unknown seller has an empty one."""
        row = self._store.row("SELECT * FROM seller WHERE wallet = ?", (wallet,))
        return SellerRecord(**{name: row[name] for name in COLUMNS}) if row else SellerRecord()

    def of(self, wallets: Iterable[Address]) -> dict[Address, SellerRecord]:
        """Return the records of several sellers."""
        return {wallet: self.find(wallet) for wallet in set(wallets)}


def _forget(transaction: sqlite3.Connection) -> None:
    transaction.execute(
        "DELETE FROM seller WHERE wallet IN (SELECT wallet FROM seller ORDER BY noted_ns DESC LIMIT -1 OFFSET ?)",
        (SELLERS_MAX,),
    )
