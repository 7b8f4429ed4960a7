"""The books of this node: all amounts credited to its accounts, by line, against the balances of the contracts.

AttributionRewards credits accounts for claims. What it credited must be what was withdrawn and what it still holds,
to the wei.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from openledger_protocol.events import BLOCKS_KEPT, BlockId, Event
from openledger_protocol.primitives import Address, Digest

from ..audit.events import amount_of, text
from ..errors import NodeError
from ..settlement.session import NetworkSession
from .book_entries import Accounts, BlockTimes, Entry, ViewsAtBlock, accounts_of
from .credits import credits_under_way, final_credits
from .locked import Locked, LockedMoney
from .plain import plain_of

REWARDS = "AttributionRewards"


@dataclass(frozen=True, slots=True, kw_only=True)
class TakenOut:
    """OPEN that left the rewards for an account."""

    amount_wei: int
    at_s: float
    account: Address
    to: Address
    transaction_hash: Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class Balance:
    """The rewards since a time: opening balance and credits are withdrawals and closing balance."""

    opening_wei: int
    credited_wei: int
    withdrawn_wei: int
    balance_wei: int  # by the contract

    @property
    def holds(self) -> bool:
        """True if nothing is missing, to the wei."""
        return self.opening_wei + self.credited_wei == self.withdrawn_wei + self.balance_wei


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountBooks:
    """Everything that the books need, as of one block."""

    views: ViewsAtBlock
    accounts: Accounts
    times: BlockTimes
    when: Callable[[Event], float]
    credits: tuple[Entry, ...]  # of final claims
    under_way: tuple[Entry, ...]  # of claims that are not final, without the node's own part of its claims
    slashed: tuple[Event, ...]
    withdrawals: tuple[TakenOut, ...]
    held_wei: int  # as the contract says

    def balance(self, since_s: float) -> Balance:
        """The rewards since a time."""
        credited_before, credited = _split(((each.at_s, each.amount_wei) for each in self.credits), since_s)
        withdrawn_before, withdrawn = _split(((each.at_s, each.amount_wei) for each in self.withdrawals), since_s)
        return Balance(
            opening_wei=credited_before - withdrawn_before,
            credited_wei=credited,
            withdrawn_wei=withdrawn,
            balance_wei=self.held_wei,
        )

    def slashes(self) -> list[tuple[float, int]]:
        """Stake that votes have burnt, each with its time."""
        return [(self.when(event), amount_of(event)) for event in self.slashed]


class BookReader:
    """Reads the books of one session again and again; it remembers the times of blocks."""

    def __init__(self, session: NetworkSession) -> None:
        self._session = session
        self._times = BlockTimes(session.client)
        self._block: BlockId | None = None
        self._views: ViewsAtBlock | None = None

    def read(self) -> AccountBooks:
        """Read the books up to the latest block that the ledger knows.

        Raises:
            NodeError: the ledger is far behind the chain.
            ChainError: the chain can't be asked.
        """
        session = self._session
        events, views = session.ledger.events, self._views_now()
        accounts, when = accounts_of(session), self._times.clock(session.ledger.sums.mined_s())
        addresses = session.deployment.addresses
        return AccountBooks(
            views=views,
            accounts=accounts,
            times=self._times,
            when=when,
            credits=tuple(final_credits(events, accounts, addresses[REWARDS], when)),
            under_way=tuple(credits_under_way(events, accounts)),
            slashed=tuple(events.find("Slashed", {"node": accounts.wallet})),
            withdrawals=tuple(self._withdrawals(accounts, when)),
            held_wei=sum(views.ask(REWARDS, "balanceOf", account) for account in accounts.roles),
        )

    def locked(self, books: AccountBooks) -> LockedMoney:
        """The OPEN that contracts hold beside credits, as of the same block."""
        session = self._session
        return LockedMoney(session.ledger.events, books.views, tuple(books.accounts.roles))

    def _withdrawals(self, accounts: Accounts, when: Callable[[Event], float]) -> list[TakenOut]:
        session = self._session
        return [
            TakenOut(
                amount_wei=amount_of(event),
                at_s=when(event),
                account=account,
                to=Address(text(event, "to")),
                transaction_hash=event.transaction_hash,
            )
            for account in accounts.roles
            for event in session.ledger.events.find(
                "Withdrawn", {"account": account}, contract=session.deployment.addresses[REWARDS]
            )
        ]

    def _views_now(self) -> ViewsAtBlock:
        """The contracts at the latest block that the ledger knows; the page asks for several reports of one block.

        Raises:
            NodeError: the ledger is so far behind that the endpoint may not have the state of that block any more.
        """
        block = next(iter(self._session.ledger.events.last_blocks()), None)
        if self._views is None or block != self._block:
            head = self._session.client.head().number
            number = block.number if block else head
            if head - number > BLOCKS_KEPT:
                raise NodeError(
                    f"the node has read the chain up to block {number:,} of {head:,}, so its books are not complete: "
                    "wait until it has read the rest, and run this again"
                )
            self._block, self._views = block, ViewsAtBlock(self._session.deployment, number)
        return self._views


def books_to_plain(books: AccountBooks, balance: Balance, locked: Sequence[Locked]) -> dict[str, Any]:
    """The balance equations of the books for JSON, each with the answer whether it holds."""
    return {
        "block": books.views.number,
        "holds": balance.holds and all(each.holds for each in locked),
        "accounts": [{"account": account, "role": role} for account, role in books.accounts.roles.items()],
        "balance": {**plain_of(balance), "holds": balance.holds},
        "locked": [{**plain_of(each), "holds": each.holds} for each in locked],
    }


def _split(amounts: Any, since_s: float) -> tuple[int, int]:
    """The sums of the amounts before a time, and since then."""
    before = since = 0
    for at_s, wei in amounts:
        if at_s < since_s:
            before += wei
        else:
            since += wei
    return before, since
