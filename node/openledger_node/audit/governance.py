"""The roles of the timelock, and the treasury that it holds: what votes alone should decide."""

from collections import Counter
from collections.abc import Iterator, Mapping, Set

from openledger_protocol.eip712 import keccak_digest
from openledger_protocol.events import Event
from openledger_protocol.primitives import ZERO_ADDRESS, Address

from ..chain.wiring import ADMIN_ROLE, CANCELLER_ROLE, PROPOSER_ROLE
from ..settlement.records import integer
from .events import EventLog, amount_of, text
from .storage_layout import StorageKey

ROLES: Mapping[str, str] = {
    ADMIN_ROLE: "administrator",
    PROPOSER_ROLE: "proposer",
    CANCELLER_ROLE: "canceller",
    keccak_digest(b"EXECUTOR_ROLE"): "executor",
}
"""Names of the timelock's roles; an administrator grants and revokes the others."""


def holders_of(log: EventLog) -> dict[str, dict[str, bool]]:
    """All accounts that a role of the timelock was ever given to, by role, and whether they still have it."""
    held: dict[str, dict[str, bool]] = {role: {} for role in ROLES}
    for event in log.of("RoleGranted", "RoleRevoked"):
        held.setdefault(text(event, "role"), {})[text(event, "account")] = event.name == "RoleGranted"
    return held


def role_faults(log: EventLog, contracts: Mapping[str, Address]) -> Iterator[str]:
    """Roles in other hands than the votes': one proposer, who also cancels, no administrator, anybody executes."""
    may: Mapping[str, str] = {
        "administrator": contracts["Timelock"],
        "proposer": contracts["OpenGovernor"],
        "canceller": contracts["OpenGovernor"],
        "executor": ZERO_ADDRESS,
    }
    for role, accounts in holders_of(log).items():
        name = ROLES.get(role, f"role {role}")
        holders = {account for account, holds in accounts.items() if holds}
        only = f"only {may[name]}" if name in may else "nobody"
        for account in sorted(holders - {may.get(name)}):
            yield f"{account} is {name} of the timelock, and {only} may be"
        if name in may and may[name] not in holders:
            yield f"{may[name]} is not {name} of the timelock"


def deployers_of(log: EventLog, contracts: Mapping[str, Address]) -> Set[str]:
    """The accounts that were administrators of the timelock at first: who deployed it, and whom they named."""
    return holders_of(log)[ADMIN_ROLE].keys() - {contracts["Timelock"]}


def timelock_values(log: EventLog) -> Iterator[tuple[StorageKey, int]]:
    """The timelock's roles and its wait, as storage must have them."""
    for role, accounts in holders_of(log).items():
        yield ("Timelock", "_roles", role, "adminRole"), int(ADMIN_ROLE, 16)
        for account, holds in accounts.items():
            yield ("Timelock", "_roles", role, "hasRole", account), int(holds)
    waits = [integer(event, "newDuration") for event in log.of("MinDelayChange")]
    yield ("Timelock", "_minDelay"), waits[-1] if waits else 0


# ---- The treasury: what the contracts credit to the timelock, what it has fetched or been given, what votes spent.


def treasury_in(log: EventLog, treasury: Address) -> int:
    """Wei credited to the treasury by claims, and sent to it otherwise."""
    credited = sum(amount_of(event) for event in _of(log, "account", treasury, "Credited"))
    return credited + _tokens(log, "to", treasury) - _fetched(log, treasury, elsewhere=False)


def treasury_spent(log: EventLog, treasury: Address) -> int:
    """Wei that left the treasury: tokens that it sent, and balances that it withdrew to others."""
    return _tokens(log, "from", treasury) + _fetched(log, treasury, elsewhere=True)


def treasury_faults(log: EventLog, treasury: Address) -> list[str]:
    """Tokens that left the treasury without a vote: not executed with one, nor approved by one before."""
    voted: Set[str] = {event.transaction_hash for event in log.of("CallExecuted")}
    approved, taken = 0, Counter[str]()
    for event in log.of("Approval", "Transfer"):
        if event.name == "Approval":
            approved += integer(event, "value") if text(event, "owner") == treasury else 0
        elif text(event, "from") == treasury and event.transaction_hash not in voted:
            taken[event.transaction_hash] += amount_of(event)
    if taken.total() <= approved:
        return []
    return [f"{wei} wei left the treasury in {transaction} without a vote" for transaction, wei in taken.items()]


def _of(log: EventLog, field: str, account: Address, *names: str) -> Iterator[Event]:
    return (event for event in log.of(*names) if text(event, field) == account)


def _tokens(log: EventLog, side: str, treasury: Address) -> int:
    return sum(amount_of(event) for event in _of(log, side, treasury, "Transfer"))


def _fetched(log: EventLog, treasury: Address, *, elsewhere: bool) -> int:
    """The part of the treasury's balances that it withdrew to itself, or to others."""
    withdrawn = _of(log, "account", treasury, "Withdrawn")
    return sum(amount_of(event) for event in withdrawn if (text(event, "to") != treasury) is elsewhere)
