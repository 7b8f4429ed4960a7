"""A case from its challenge to its verdict, while payer, node and voter are killed again and again.

Each life ends at a random point. Whatever is killed, one case is opened, one bond a side put up, one verdict carried
out, and afterwards an outsider finds the books right to the wei.
"""

import pickle
import random
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from support.chain_world import mortal_cases, mortal_voter
from support.chain_world.case_world import BOND, CaseWorld, challenge_of, open_case_world
from support.chain_world.chain_server import lend
from support.chain_world.mortal_settlement import NETWORK
from support.chain_world.world import KEYS
from support.lives import DONE, Live
from support.signed import NODE
from support.tiers import depth

from openledger_node.audit.report import audit
from openledger_node.chain.dev.constants import DEVELOPMENT_WINDOWS
from openledger_protocol.primitives import Digest, Wei
from openledger_protocol.signatures import address_of

KILLED = -signal.SIGKILL
OPEN = 10**18
SUPPLY_WEI = Wei(10_000 * OPEN)
VOTES_WEI = 3_000 * OPEN
WINDOWS = replace(DEVELOPMENT_WINDOWS, contest_s=120, judge_s=240, unbonding_s=480, pause_gap_s=400)
"""Longer than on a development network, so that a case may be killed often before its time is over."""

VOTER = KEYS["watcher"][0]
PASSED_MAX = 9
"""A life passes so many points at most before it is killed."""

pytestmark = pytest.mark.process


@dataclass
class Scene:
    """A world that votes rule, a socket to its chain, and three sides that are killed."""

    cases: CaseWorld
    folder: Path
    socket: str
    sides: Live  # of the case
    voters: Live
    deaths: random.Random = field(default_factory=lambda: random.Random(14))
    num_killed: int = 0
    num_proposals: int = 0

    def live_on(self, live: Live) -> None:
        """Live, be killed, and live again until the aim is reached; now and then nobody is killed."""
        while (code := live(self.folder, self.socket, "*", self.deaths.randint(0, PASSED_MAX))) != DONE:
            assert code == KILLED
            self.num_killed += 1

    def have(self, case: Digest, *, guilty: bool) -> None:
        """Have a case judged by a vote."""
        self.num_proposals += 1
        verdict = {"judge": {case: "guilty" if guilty else "not-guilty"}}
        mortal_voter.Goal(number=self.num_proposals, arguments=verdict, side="watcher").write(self.folder)
        self.live_on(self.voters)

    def send(self, contract: str, function: str, *arguments: object, key: bytes) -> None:
        assert self.cases.world.chain.send(contract, function, *arguments, key=key).is_ok


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    folder = tmp_path_factory.mktemp("sides")
    with ExitStack() as opened:
        sides = opened.enter_context(mortal_cases.open_lives())
        voters = opened.enter_context(mortal_voter.open_lives())
        cases = opened.enter_context(open_case_world(folder, governor=None, supply_wei=SUPPLY_WEI, windows=WINDOWS))
        chain = cases.world.chain
        (folder / NETWORK).write_bytes(pickle.dumps(chain.network))
        chain.fund(address_of(VOTER), coin_wei=OPEN, open_wei=VOTES_WEI)
        scene = Scene(
            cases=cases,
            folder=folder,
            socket=opened.enter_context(lend(chain.client)),
            sides=sides,
            voters=voters,
        )
        scene.send("OpenToken", "delegate", address_of(VOTER), key=VOTER)
        cases.world.run(lambda: cases.world.payer.is_idle and cases.world.node.is_idle)
        yield scene


@pytest.mark.parametrize("number", range(depth(light=2, deep=8)))
def test_a_case_whose_sides_and_voters_are_killed_ends_with_one_verdict(scene: Scene, number: int) -> None:
    cases, is_guilty = scene.cases, number % 2 == 1
    world = cases.world
    action = challenge_of(cases.buy(), world.configs[cases.channel], bond_wei=Wei(BOND))
    before = cases.open_of(world.payer), cases.open_of(world.node)
    for side in ("payer", "node"):
        mortal_cases.Task(network=world.chain.network, side=side, action=action).write(scene.folder)
        scene.live_on(scene.sides)
    assert (cases.open_of(world.payer), cases.open_of(world.node)) == (before[0] - BOND, before[1] - BOND)
    scene.have(action.digest, guilty=is_guilty)
    assert cases.state(action.digest) == ("guilty" if is_guilty else "not guilty")
    won = world.chain.read("Disputes", "balanceOf", world.payer.accounts.wallet if is_guilty else NODE)
    assert won == 2 * BOND + (10 * OPEN if is_guilty else 0)
    check_books(scene)
    make_ready(scene, is_guilty=is_guilty)


def make_ready(scene: Scene, *, is_guilty: bool) -> None:
    """Let the winner fetch what it won; after a slash the node bonds again, and time passes until the next case."""
    world = scene.cases.world
    winner = world.payer if is_guilty else world.node
    scene.send("Disputes", "withdraw", winner.accounts.wallet, key=KEYS["payer" if is_guilty else "node"][0])
    if is_guilty:
        staking, key = world.chain.contracts["NodeStaking"], KEYS["node"][0]
        scene.send("OpenToken", "approve", staking, 100 * OPEN, key=key)
        scene.send("NodeStaking", "bond", 100 * OPEN, key=key)
        world.wait(WINDOWS.judge_s // 2)
    world.run(lambda: world.payer.is_idle and world.node.is_idle)


def check_books(scene: Scene) -> None:
    report = audit(scene.cases.world.chain.client, scene.cases.world.chain.network)
    assert (report.holds, report.faults) == (True, ())


def test_a_hundred_were_killed(scene: Scene) -> None:
    assert scene.num_killed >= depth(light=10, deep=100)
