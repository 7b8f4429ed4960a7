"""Both sides of a case in processes of their own, on a chain that lives on when they are killed.

`python -m node.settlement.mortal_cases` reads lives, a line each: a folder, socket of the chain, a fail point (or
`*`), and how often it may be passed: the last time ends the process by SIGKILL. It answers with the exit code. The
folder says whose life it is, and what for.
"""

import pickle
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from support import lives
from support.chain_world.case_world import FixedRecount
from support.chain_world.chain_server import RemoteChain
from support.chain_world.world import open_session
from support.lives import DONE, STUCK, run_lives
from support.signed import NODE

from openledger_node.settlement.case_actions import ChallengeReceipt
from openledger_node.settlement.session import NetworkSession

TASK = "task.pickle"
STEPS_MAX = 200

open_lives = partial(lives.open_lives, "node.settlement.mortal_cases")


@dataclass(frozen=True, kw_only=True)
class Task:
    """Whose life it is, and when it has reached its aim."""

    network: object
    side: str  # "payer", which sends the challenge, or "node"
    action: ChallengeReceipt
    is_end: bool = False  # the node ends the case and takes back its bond

    def write(self, folder: Path) -> None:
        (folder / TASK).write_bytes(pickle.dumps(self))


def _live(folder: Path, chain: str, fail_point: Callable[[str], None]) -> int:
    """Step until the aim is reached and nothing is on its way; the chain makes a block after each step."""
    task, client = pickle.loads((folder / TASK).read_bytes()), RemoteChain(chain)
    session = open_session(
        folder, client, task.network, task.side, recount=lambda _: FixedRecount(), fail_point=fail_point
    )
    if task.side == "payer":
        _challenge(session, task.action)
    for _ in range(STEPS_MAX):
        session.step()
        client.advance(1)
        if _is_reached(session, task) and not session.ledger.outbox.unfinished():
            return DONE
    return STUCK


def _challenge(session: NetworkSession, action: ChallengeReceipt) -> None:
    """As a command does that the operator repeats after a crash, as long as it is not on its way."""
    session.step()
    calls = {found.intent.call.data for found in session.ledger.outbox.unfinished()}
    if session.cases.disputes.case(action.digest).state != "none":
        return
    if session.cases.disputes.challenge(action.challenge).data in calls:
        return
    wallet = session.accounts.wallet
    key = f"challenge:{len(session.ledger.outbox.newest(limit=10_000))}"
    session.send(session.treasury.plan([action], wallet, session.ring.signer(wallet), key=key))


def _is_reached(session: NetworkSession, task: Task) -> bool:
    disputes, digest = session.cases.disputes, task.action.digest
    if task.is_end:
        return disputes.case(digest).state == "draw" and not disputes.balance_wei(NODE)
    if task.side == "payer":
        return disputes.case(digest).state == "open"
    sides = disputes.sides(NODE)
    return sides is not None and sides.contester == NODE


if __name__ == "__main__":
    run_lives(_live)
