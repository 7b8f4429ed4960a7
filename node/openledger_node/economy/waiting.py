"""What of the money waits for its owner, counted from ledger and memory alone: no chain is asked."""

from openledger_protocol.primitives import Wei

from ..settlement.records import integer
from .economy import Economy


def num_waiting(economy: Economy) -> int:
    """Transactions that are parked, and one more where stake is ready to be withdrawn."""
    return num_parked(economy) + (stake_ready_wei(economy) > 0)


def num_parked(economy: Economy) -> int:
    """Transactions that go on only when somebody acts: the outbox holds them up, or their sender's key is locked."""
    unsent = (found for found in economy.ledger.outbox.unfinished() if found.state in ("intended", "reserved"))
    num_locked = sum(found.intent.sender not in economy.ring.keys for found in unsent)
    return len(economy.outbox.alerts) + num_locked


def stake_ready_wei(economy: Economy) -> Wei:
    """What may leave the bond by now: a withdrawal takes all that is ready, so the sums say what is left."""
    head, whose = economy.watcher.head, {"node": economy.accounts.wallet}
    if head is None:
        return Wei(0)
    started = economy.ledger.events.find("UnbondStarted", whose)
    ready = sum(integer(event, "amount") for event in started if integer(event, "readyAt") <= head.timestamp_s)
    taken = sum(integer(event, "amount") for event in economy.ledger.events.find("StakeWithdrawn", whose))
    return Wei(max(0, ready - taken))
