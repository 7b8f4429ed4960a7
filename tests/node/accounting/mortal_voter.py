"""A voter in a process of its own, on a chain that lives on when that process is killed.

`python -m node.accounting.mortal_voter` reads lives, as `mortal_settlement` does. In each life somebody makes one
proposal, votes, queues and executes it, and runs each command again that was killed. Its goal is in a file.
"""

import pickle
import secrets
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from support import lives
from support.chain_world.chain_server import RemoteChain
from support.chain_world.world import open_session
from support.lives import DONE, STUCK, run_lives

from openledger_node.accounting.proposals import Proposals
from openledger_node.accounting.voting import VOTING
from openledger_node.errors import NodeError
from openledger_node.home import Home
from openledger_node.settlement.session import NetworkSession
from openledger_protocol.governance import ProposalState

NETWORK = "network.pickle"
GOAL = "goal.pickle"
STEPS_MAX = 200

open_lives = partial(lives.open_lives, "node.accounting.mortal_voter")


@dataclass(frozen=True, kw_only=True)
class Goal:
    """The proposal that a life is about, and whose life it is."""

    number: int
    arguments: Mapping[str, Any]  # of `gov propose`
    side: str = "node"

    def write(self, folder: Path) -> None:
        (folder / GOAL).write_bytes(pickle.dumps(self))


def _live(folder: Path, chain: str, fail_point: Callable[[str], None]) -> int:
    """Act and step until the proposal is executed; the chain makes a block after each step."""
    client = RemoteChain(chain)
    network = pickle.loads((folder / NETWORK).read_bytes())
    goal = pickle.loads((folder / GOAL).read_bytes())
    node = open_session(folder, client, network, goal.side, fail_point=fail_point)
    for _ in range(STEPS_MAX):
        node.step()
        if _act(folder, node, goal) and not node.ledger.outbox.unfinished():
            return DONE
        client.advance(1)
    return STUCK


def _act(folder: Path, node: NetworkSession, goal: Goal) -> bool:
    """Run the next command; return True once the proposal is executed."""
    proposals, number = Proposals(node), str(goal.number)
    if goal.number > len(proposals.contents):
        _run(folder, node, "gov propose", goal.arguments)
        return False
    found = proposals.find(number)
    match found.state:
        case ProposalState.ACTIVE:
            _run(folder, node, "gov vote", {"proposal": number, "support": "for"})
        case ProposalState.SUCCEEDED:
            _run(folder, node, "gov queue", {"proposal": number})
        case ProposalState.QUEUED:
            _run(folder, node, "gov execute", {"proposal": number})
    return found.state == ProposalState.EXECUTED


def _run(folder: Path, node: NetworkSession, command: str, arguments: Mapping[str, Any]) -> None:
    """Plan and confirm, as a person does who does not know whether the last attempt came through."""
    wallet = node.accounts.wallet
    with suppress(NodeError):  # it was done already, or it is too early
        publication = VOTING[command](Home(folder), node, wallet, arguments)
        sign, key = node.ring.signer(wallet), f"{command}:{secrets.token_hex(8)}"
        node.send(node.treasury.plan(publication.actions, wallet, sign, key=key))


if __name__ == "__main__":
    run_lives(_live)
