"""An outbox in a process of its own, which is killed where it is told to.

`python -m node.chain.mortal_outbox` reads lives, a line each: ledger, socket of the chain, a fail point (or
`*`), and how often it may be passed: the last time ends the process by SIGKILL. It answers with the exit code, which
is negative where a signal ended the life. Lives are forked, so that one takes milliseconds.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path

from support import lives
from support.chain_world.chain_server import RemoteChain
from support.lives import DONE, STUCK, run_lives

from openledger_node.chain.encoding import sign_transaction
from openledger_node.chain.outbox import Outbox
from openledger_node.ledger.ledger import open_ledger
from openledger_protocol.signatures import address_of
from openledger_protocol.transactions import OutboxLimits

KEYS = {address_of(key): key for key in (bytes([number]) * 32 for number in (1, 2))}
STEPS_MAX = 400
LIMITS = OutboxLimits(in_flight_max=2, bump_after_blocks=3, bump_after_s=3)


open_lives = partial(lives.open_lives, "node.chain.mortal_outbox")


def _live(file: Path, socket: str, fail_point: Callable[[str], None]) -> int:
    """Step until all is over; the chain makes a block after each step."""
    chain, ledger = RemoteChain(socket), open_ledger(file)
    outbox = Outbox(
        client=chain,
        journal=ledger.outbox,
        chain_id=chain.chain_id(),
        senders=KEYS,
        sign=lambda sender, unsigned: sign_transaction(unsigned, KEYS[sender]),
        limits=LIMITS,
        fail_point=fail_point,
    )
    for _ in range(STEPS_MAX):
        outbox.step()
        chain.mine()
        if chain.is_calm() and not ledger.outbox.unfinished():
            return DONE
    return STUCK


if __name__ == "__main__":
    run_lives(_live)
