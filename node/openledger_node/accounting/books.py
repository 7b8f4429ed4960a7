"""The books of this node: all amounts credited to its accounts, by line, against the balances of the contracts.

Two contracts credit accounts: AttributionRewards for claims, and Disputes for cases. For each, what it credited must
be what was withdrawn and what it still holds, to the wei.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from openledger_protocol.events import BLOCKS_KEPT, BlockId, Event
from openledger_protocol.primitives import Address, Digest

from ..audit.events import amount_of, text
from ..errors import NodeError
from ..ledger.events import EventRows
from ..settlement.session import NetworkSession
from .book_entries import Accounts, BlockTimes, BookLine, Entry, ViewsAtBlock, accounts_of
from .credits import credits_under_way, final_credits
from .locked import CaseBond, Locked, LockedMoney
from .plain import plain_of

CONTRACTS = {"claims": "AttributionRewards", "cases": "Disputes"}
"""The contracts that credit accounts, by what they credit them for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TakenOut:
    """OPEN that left one of the contracts for an account."""

    of: str  # a key of CONTRACTS
    amount_wei: int
    at_s: float
    account: Address
    to: Address
    transaction_hash: Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class Balance:
    """The account of one contract since a time: opening balance and credits are withdrawals and closing balance."""

    of: str
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
    case_credits: tuple[Entry, ...]  # bonds that came back, and rewards
    case_bonds: tuple[CaseBond, ...]
    slashed: tuple[Event, ...]
    withdrawals: tuple[TakenOut, ...]
    held_wei: dict[str, int] = field(default_factory=dict)  # by a key of CONTRACTS, as the contract says

    def balances(self, since_s: float) -> list[Balance]:
        """The account of each contract since a time.

        Raises:
            ChainError: the chain can't be asked.
        """
        credited = {
            "claims": _split(((each.at_s, each.amount_wei) for each in self.credits), since_s),
            "cases": _split(((each.at_s, each.amount_wei) for each in self.case_credits), since_s),
        }
        found = []
        for of, held_wei in self.held_wei.items():
            before, since = credited[of]
            withdrawn = [(each.at_s, each.amount_wei) for each in self.withdrawals if each.of == of]
            withdrawn_before, withdrawn_since = _split(withdrawn, since_s)
            found.append(
                Balance(
                    of=of,
                    opening_wei=before - withdrawn_before,
                    credited_wei=since,
                    withdrawn_wei=withdrawn_since,
                    balance_wei=held_wei,
                )
            )
        return found

    def case_results(self) -> list[Entry]:
        """The rewards of cases: credits, and below zero each bond that came back in them."""
        return [
            *self.case_credits,
            *(
                Entry(
                    line=BookLine.CASES, amount_wei=-bond.amount_wei, at_s=self.when(bond.ended), account=bond.account
                )
                for bond in self.case_bonds
                if bond.ended and bond.is_returned
            ),
        ]

    def slashes(self) -> list[tuple[float, int]]:
        """Stake that cases have taken, each with its time."""
        return [(self.when(event), amount_of(event)) for event in self.slashed]

    def lost_bonds(self) -> list[tuple[float, int]]:
        """Bonds that cases have taken, each with its time."""
        return [
            (self.when(bond.ended), bond.amount_wei)
            for bond in self.case_bonds
            if bond.ended and not bond.is_returned
        ]


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
            credits=tuple(final_credits(events, accounts, addresses[CONTRACTS["claims"]], when)),
            under_way=tuple(credits_under_way(events, accounts)),
            case_credits=tuple(self._case_credits(accounts, when)),
            case_bonds=tuple(LockedMoney(events, views, tuple(accounts.roles)).cases()),
            slashed=tuple(events.find("Slashed", {"node": accounts.wallet})),
            withdrawals=tuple(self._withdrawals(accounts, when)),
            held_wei=_held(accounts, views),
        )

    def locked(self, books: AccountBooks) -> LockedMoney:
        """The OPEN that contracts hold beside credits, as of the same block."""
        session = self._session
        return LockedMoney(session.ledger.events, books.views, tuple(books.accounts.roles))

    def _case_credits(self, accounts: Accounts, when: Callable[[Event], float]) -> list[Entry]:
        return [
            Entry(
                line=BookLine.CASES,
                amount_wei=amount_of(event),
                at_s=when(event),
                account=account,
                transaction_hash=event.transaction_hash,
            )
            for account in accounts.roles
            for event in self._find("Credited", {"account": account}, "cases")
        ]

    def _withdrawals(self, accounts: Accounts, when: Callable[[Event], float]) -> list[TakenOut]:
        found = [("claims", each, event) for each in accounts.roles for event in self._taken(each, "claims")]
        found += [("cases", each, event) for each in accounts.roles for event in self._taken(each, "cases")]
        return [
            TakenOut(
                of=of,
                amount_wei=amount_of(event),
                at_s=when(event),
                account=account,
                to=Address(text(event, "to")),
                transaction_hash=event.transaction_hash,
            )
            for of, account, event in found
        ]

    def _taken(self, account: Address, of: str) -> Sequence[Event]:
        return self._find("Withdrawn", {"account": account}, of)

    def _find(self, name: str, arguments: dict[str, int | str], of: str) -> Sequence[Event]:
        contract = self._session.deployment.addresses[CONTRACTS[of]]
        return self._session.ledger.events.find(name, arguments, contract=contract)

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


def _of_each(events: EventRows, name: str, argument: str, accounts: Sequence[Address]) -> list[Event]:
    return [event for account in accounts for event in events.find(name, {argument: account})]


def _held(accounts: Accounts, views: ViewsAtBlock) -> dict[str, int]:
    """The balances that the contracts hold for these accounts, by a key of CONTRACTS."""
    rewards, disputes = CONTRACTS.values()
    return {
        "claims": sum(views.ask(rewards, "balanceOf", account) for account in accounts.roles),
        "cases": sum(views.ask(disputes, "balanceOf", account) for account in accounts.roles),
    }


def books_to_plain(books: AccountBooks, balances: Sequence[Balance], locked: Sequence[Locked]) -> dict[str, Any]:
    """The balance equations of the books for JSON, each with the answer whether it holds."""
    return {
        "block": books.views.number,
        "holds": all(each.holds for each in balances) and all(each.holds for each in locked),
        "accounts": [{"account": account, "role": role} for account, role in books.accounts.roles.items()],
        "balances": [{**plain_of(each), "holds": each.holds} for each in balances],
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
