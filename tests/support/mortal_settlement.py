"""A node's money in a process of its own, on a chain that lives on when that process is killed.

`python -m support.mortal_settlement` reads lives, a line each: the node's folder, socket of the chain, a fail point
(or `*`), and how often it may be passed: the last time ends the process by SIGKILL. It answers with the exit code.
"""

import pickle
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace

from openledger_node.settlement.actions import Action, CreateDatanet, RegisterAdapter
from openledger_protocol.attribution import Share
from openledger_protocol.constants import PPM
from openledger_protocol.primitives import AdapterId, DatanetId, Wei

from . import lives
from .chain_server import RemoteChain
from .economies import OPEN, World, key_of, open_side
from .lives import DONE, STUCK, run_lives
from .signed import digest

NETWORK = "network.pickle"
STEPS_MAX = 400
STEPS_IDLE = 35
"""So long after the last claim nothing more may come: an interval between claims is over."""

ADAPTER = AdapterId(digest("a"))
open_lives = partial(lives.open_lives, "support.mortal_settlement")


def _live(folder: Path, chain: str, fail_point: Callable[[str], None]) -> int:
    """Step until all claims are over and no other comes; the chain makes a block after each step."""
    client = RemoteChain(chain)
    network = pickle.loads((folder / NETWORK).read_bytes())
    where = SimpleNamespace(client=client)
    node = open_side(folder, where, network, "node", fail_point=fail_point)  # type: ignore[arg-type]
    num_idle = 0
    for _ in range(STEPS_MAX):
        node.step()
        client.advance(1)
        is_over = not node.ledger.claims.unfinished() and not node.ledger.outbox.unfinished()
        num_idle = num_idle + 1 if is_over and node.ledger.claims.newest(limit=1) else 0
        if num_idle == (STEPS_IDLE if node.ledger.receipts.unclaimed() else 2):
            return DONE
    return STUCK


def prepare(world: World, folder: Path) -> tuple[Share, ...]:
    """Let lives find the network, and register an adapter of one Datanet; returns shares of an answer of it."""
    (folder / NETWORK).write_bytes(pickle.dumps(world.network))
    _act(world, CreateDatanet(name="lake", treasury=key_of("treasury").address, owner_ppm=0, licence="MIT"))
    world.run(lambda: world.node.ledger.events.find("DatanetCreated"))
    datanet_id = DatanetId(str(world.node.ledger.events.find("DatanetCreated")[-1].arguments["id"]))
    _act(
        world,
        RegisterAdapter(
            adapter_id=ADAPTER,
            base=digest("1"),
            artifact=digest("2"),
            index_root=digest("3"),
            datanets=((datanet_id, PPM),),
            royalty_ppm=100_000,
            bond_wei=Wei(10 * OPEN),
        ),
    )
    world.run(lambda: world.node.deployment.adapter(ADAPTER))
    accounts = sorted((key_of(name).address for name in ("ada", "ben")), key=str.lower)
    parts = zip(accounts, (400_000, 600_000), strict=True)
    return tuple(Share(datanet_id=datanet_id, account=account, ppm=ppm) for account, ppm in parts)


def _act(world: World, action: Action) -> None:
    wallet = world.node.accounts.wallet
    world.node.send(
        world.node.treasury.plan([action], wallet, world.node.ring.signer(wallet), key=type(action).__name__)
    )
    world.settle()


if __name__ == "__main__":
    run_lives(_live)
