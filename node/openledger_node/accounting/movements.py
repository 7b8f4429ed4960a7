"""Every movement of this node's money, one by one: what a tax office asks for.

A claim of this node can't hold them all: royalties and Datanet shares come with claims of other nodes, answers are
bought between claims, and stake and bonds move on their own.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from openledger_protocol.events import Event
from openledger_protocol.primitives import Address, Digest

from ..audit.events import amount_of, text
from ..settlement.session import NetworkSession
from ..text import rfc3339
from .books import AccountBooks
from .plain import plain_of

INCOME, COST, TRANSFER = "income", "cost", "transfer"
"""Flows. A transfer moves your own money."""

LOCKING: Final = (
    ("Bonded", "node", "stake_added", -1),
    ("StakeWithdrawn", "node", "stake_returned", 1),
    ("AdapterRegistered", "owner", "adapter_bond", -1),
    ("BondReclaimed", "owner", "adapter_bond_returned", 1),
    ("ChannelOpened", "payer", "channel_deposit", -1),
)
"""Events by which OPEN go into a contract or come back: name, the argument with the account, kind and sign."""

OF_CHANNEL: Final = (
    ("ToppedUp", "channel_deposit", -1),
    ("WithdrawFinished", "channel_returned", 1),
    ("Refunded", "channel_returned", 1),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Moved:
    """One movement. An amount above zero comes in, and one below zero goes out."""

    at_s: float
    flow: str
    kind: str
    amount_wei: int  # of OPEN
    coin_wei: int = 0  # of the chain's own coin, for gas
    account: Address | None = None
    node: Address | None = None  # whose claim or answer it is
    claim: int | None = None
    transaction: Digest | str | None = None


def list_movements(session: NetworkSession, books: AccountBooks, since_s: float) -> list[dict[str, Any]]:
    """List the movements since a time for JSON, oldest first."""
    found = [
        *_earned(books),
        *_bought(session, books, since_s),
        *_withdrawn(books),
        *_locked(session, books),
    ]
    moved = sorted((each for each in found if each.at_s >= since_s), key=lambda each: each.at_s)
    return [
        {"at": rfc3339(each.at_s), **{name: value for name, value in plain_of(each).items() if name != "at_s"}}
        for each in moved
    ]


def _earned(books: AccountBooks) -> Iterator[Moved]:
    for entry in books.credits:
        yield Moved(
            at_s=entry.at_s,
            flow=INCOME,
            kind=entry.line.value,
            amount_wei=entry.amount_wei,
            account=entry.account,
            node=entry.node,
            claim=entry.seq,
            transaction=entry.transaction_hash,
        )


def _bought(session: NetworkSession, books: AccountBooks, since_s: float) -> Iterator[Moved]:
    for bought in session.ledger.sums.bought(books.accounts.wallet, since_s=since_s):
        yield Moved(
            at_s=float(bought.issued_at_s),
            flow=COST,
            kind="answer",
            amount_wei=-bought.amount_wei,
            account=books.accounts.wallet,
            node=bought.node,
            transaction=bought.receipt,
        )
    for account in books.accounts.roles:
        for fee in session.ledger.sums.fees(account, since_s=since_s):
            yield Moved(
                at_s=fee.at_s,
                flow=COST,
                kind="gas",
                amount_wei=0,
                coin_wei=-fee.fee_wei,
                account=account,
                transaction=fee.transaction,
            )
    for event in books.slashed:
        yield _of_event(books, event, COST, "slashed", -1, books.accounts.wallet)


def _withdrawn(books: AccountBooks) -> Iterator[Moved]:
    for taken in books.withdrawals:
        yield Moved(
            at_s=taken.at_s,
            flow=TRANSFER,
            kind="withdrawn",
            amount_wei=taken.amount_wei,
            account=taken.to,
            transaction=taken.transaction_hash,
        )


def _locked(session: NetworkSession, books: AccountBooks) -> Iterator[Moved]:
    events = session.ledger.events
    for name, argument, kind, sign in LOCKING:
        for account in books.accounts.roles:
            for event in events.find(name, {argument: account}):
                yield _of_event(books, event, TRANSFER, kind, sign, account)
    for account in books.accounts.roles:
        for opened in events.find("ChannelOpened", {"payer": account}):
            for name, kind, sign in OF_CHANNEL:
                for event in events.find(name, {"channelId": text(opened, "channelId")}):
                    yield _of_event(books, event, TRANSFER, kind, sign, account)


def _of_event(books: AccountBooks, event: Event, flow: str, kind: str, sign: int, account: Address) -> Moved:
    return Moved(
        at_s=books.when(event),
        flow=flow,
        kind=kind,
        amount_wei=sign * amount_of(event),
        account=account,
        transaction=event.transaction_hash,
    )
