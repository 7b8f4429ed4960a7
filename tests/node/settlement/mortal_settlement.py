"""A node's money in a process of its own, on a chain that lives on when that process is killed.

`python -m node.settlement.mortal_settlement` reads lives, a line each: the node's folder, socket of the chain, a
fail point (or `*`), and how often it may be passed: the last time ends the process by SIGKILL. It answers with the
exit code.
"""

import pickle
from collections.abc import Callable
from functools import partial
from pathlib import Path

from support import lives
from support.chain_world.chain_server import RemoteChain
from support.chain_world.world import World, open_session
from support.contributors import ADA, BEN
from support.lives import DONE, STUCK, run_lives
from support.signed import NODE_KEY, digest

from openledger_node.keystore import key_from_private
from openledger_protocol.adapter import registered_id
from openledger_protocol.attribution import Share

NETWORK = "network.pickle"
STEPS_MAX = 400
STEPS_IDLE, STEPS_IDLE_MAX = 5, 35
"""So long nothing more may come; with receipts left, until an interval between claims is over."""

MANIFEST = digest("a")
ADAPTER = registered_id(key_from_private(NODE_KEY).address, MANIFEST)
open_lives = partial(lives.open_lives, "node.settlement.mortal_settlement")


def _live(folder: Path, chain: str, fail_point: Callable[[str], None]) -> int:
    """Step until no claim or transaction is under way for a while; the chain makes a block after each step."""
    client = RemoteChain(chain)
    network = pickle.loads((folder / NETWORK).read_bytes())
    node = open_session(folder, client, network, "node", fail_point=fail_point)
    num_idle = 0
    for _ in range(STEPS_MAX):
        node.step()
        client.advance(1)
        is_over = not node.ledger.claims.unfinished() and not node.ledger.outbox.unfinished()
        num_idle = num_idle + 1 if is_over else 0
        if num_idle == (STEPS_IDLE_MAX if node.ledger.receipts.unclaimed() else STEPS_IDLE):
            return DONE
    return STUCK


def prepare(world: World, folder: Path) -> tuple[Share, ...]:
    """Let lives find the network, and register an adapter of one Datanet; returns shares of an answer of it."""
    (folder / NETWORK).write_bytes(pickle.dumps(world.chain.network))
    datanet_id = world.create_datanet()
    world.register(MANIFEST, datanet_id)
    accounts = sorted((ADA, BEN), key=str.lower)
    parts = zip(accounts, (400_000, 600_000), strict=True)
    return tuple(Share(datanet_id=datanet_id, account=account, ppm=ppm) for account, ppm in parts)


if __name__ == "__main__":
    run_lives(_live)
