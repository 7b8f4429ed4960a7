"""Money that waits for the operator, counted from ledger and memory without asking the chain."""

from collections.abc import Sequence

from openledger_protocol.events import Event
from openledger_protocol.primitives import Wei

from ..chain.contract_values import UnbondRequest
from ..settlement.records import integer
from ..settlement.session import NetworkSession

STAKE_EVENTS = ("Bonded", "UnbondStarted", "StakeWithdrawn", "Slashed")


def num_waiting(session: NetworkSession) -> int:
    """Count parked transactions, and one more if stake can be withdrawn."""
    return num_parked(session) + (stake_ready_wei(session) > 0)


def num_parked(session: NetworkSession) -> int:
    """Count transactions that wait for the operator: the outbox holds them, or their sender's key is locked."""
    unsent = (found for found in session.ledger.outbox.unfinished() if found.state in ("intended", "reserved"))
    num_locked = sum(found.intent.sender not in session.ring.keys for found in unsent)
    return len(session.alerts) + num_locked


def stake_ready_wei(session: NetworkSession) -> Wei:
    """The stake that can be withdrawn by now."""
    head, events = session.watcher.head, session.ledger.events
    whose = {"node": session.accounts.wallet}
    if head is None:
        return Wei(0)
    found = [event for name in STAKE_EVENTS for event in events.find(name, whose)]
    requests = unbonding(sorted(found, key=lambda event: (event.block.number, event.log_index)))
    return Wei(sum(each.amount_wei for each in requests if each.ready_at_s <= head.timestamp_s))


def unbonding(events: Sequence[Event]) -> list[UnbondRequest]:
    """A node's stake that is unbonding, oldest first, by the events of its stake in the chain's order.

    A withdrawal takes the oldest requests, each as a whole. A slash takes what is bonded, and then the oldest.
    """
    bonded, requests = 0, list[UnbondRequest]()
    for event in events:
        left = integer(event, "amount")
        if event.name == "Bonded":
            bonded += left
        elif event.name == "UnbondStarted":
            bonded -= left
            requests.append(UnbondRequest(amount_wei=Wei(left), ready_at_s=integer(event, "readyAt")))
        elif event.name == "StakeWithdrawn":
            while left > 0 and requests:
                left -= requests.pop(0).amount_wei
        else:
            bonded, left = max(0, bonded - left), max(0, left - bonded)
            _take_oldest(requests, left)
    return requests


def _take_oldest(requests: list[UnbondRequest], left: int) -> None:
    while left > 0 and requests:
        oldest = requests.pop(0)
        if oldest.amount_wei > left:
            rest = Wei(oldest.amount_wei - left)
            requests.insert(0, UnbondRequest(amount_wei=rest, ready_at_s=oldest.ready_at_s))
        left -= min(left, oldest.amount_wei)
