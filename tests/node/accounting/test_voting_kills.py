"""A voter killed at every point between a proposal and its execution: one proposal, one vote, one execution."""

import pickle
import random
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from node.accounting.mortal_voter import NETWORK, Goal, open_lives
from support.chain_world.chain_server import lend
from support.chain_world.voter import SUPPLY_WEI
from support.chain_world.world import World, open_world
from support.lives import DONE, Live
from support.tiers import depth

from openledger_node.accounting.proposals import Proposals
from openledger_node.audit.report import audit
from openledger_node.settlement.vote_actions import DelegateVotes
from openledger_protocol.primitives import Address

KILLED = -signal.SIGKILL
NUM_POINTS = 48
"""Passings of fail points in one life without a death: twelve for each of the four transactions."""

TRIED = range(1, NUM_POINTS + 1, depth(light=13, deep=1))

pytestmark = pytest.mark.process


@dataclass
class Scene:
    """A chain, and a voter that may be killed."""

    world: World
    folder: Path
    socket: str
    lives: Live

    def live(self, count: int = 0) -> int:
        """Live until the end, or until the `count`-th passing of a fail point."""
        return self.lives(self.folder, self.socket, "*", count)

    def begin(self) -> int:
        """Give the voter another proposal to make."""
        number = len(Proposals(self.world.node).contents) + 1
        values = {"draws": str(5 + number % 2)}
        Goal(number=number, arguments={"values": values, "reason": f"reason-{number}"}).write(self.folder)
        return number

    def check_once(self, number: int) -> None:
        """Each transaction of the proposal is mined once, none was paid for and failed, and no nonce is left out."""
        node = self.world.node
        node.step()
        found = Proposals(node).find(str(number))
        assert found.state.name == "EXECUTED"
        events = node.ledger.events
        assert len(Proposals(node).contents) == number
        for name in ("VoteCast", "ProposalQueued", "ProposalExecuted"):
            assert len([e for e in events.find(name) if e.arguments["proposalId"] == found.content.id]) == 1, name
        rows = [each for each in node.ledger.outbox.newest(limit=9_999) if each.intent.kind.startswith("gov ")]
        assert {each.state for each in rows} == {"final"}
        assert len(rows) == 4 * number + 1, "with the delegation"
        wallet: Address = node.accounts.wallet
        nonces = node.ledger.outbox.nonces(wallet, since=0)
        assert sorted(nonces) == list(range(len(nonces)))


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    folder = tmp_path_factory.mktemp("voter")
    with open_lives() as lives, open_world(folder, supply_wei=SUPPLY_WEI) as world:
        (folder / NETWORK).write_bytes(pickle.dumps(world.chain.network))
        world.act(DelegateVotes(to=world.node.accounts.wallet))
        world.run(lambda: world.node.is_idle)
        with lend(world.chain.client) as socket:
            yield Scene(world=world, folder=folder, socket=socket, lives=lives)


@pytest.mark.parametrize("count", TRIED)
def test_a_voter_killed_at_a_point_votes_once(scene: Scene, count: int) -> None:
    number = scene.begin()
    assert scene.live(count) == KILLED
    assert scene.live() == DONE
    scene.check_once(number)


def test_a_voter_killed_again_and_again_votes_once(scene: Scene) -> None:
    deaths, num_killed = random.Random(14), 0
    for _ in range(depth(light=1, deep=40)):
        number = scene.begin()
        while (code := scene.live(deaths.randint(1, 12))) != DONE:
            assert code == KILLED
            num_killed += 1
        scene.check_once(number)
    assert num_killed >= depth(light=2, deep=100)
    number = scene.begin()
    assert scene.live(NUM_POINTS + 1) == DONE, "a life without a death passes each point that is tried"
    scene.check_once(number)
    report = audit(scene.world.chain.client, scene.world.chain.network)
    assert (report.holds, report.faults) == (True, ()), "values and powers are where they belong"
