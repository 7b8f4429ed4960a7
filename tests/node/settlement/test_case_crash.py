"""Both sides of a case killed at every point of their work: each puts up one bond, and gets it back once."""

import signal
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import pytest
from node.settlement.mortal_cases import Task, open_lives
from support.chain_world.case_world import BOND, JUDGE_KEY, CaseWorld, challenge_of, open_case_world
from support.chain_world.chain_server import lend
from support.chain_world.contract_world import OPEN
from support.lives import DONE, Live
from support.tiers import depth

from openledger_node.audit.report import audit
from openledger_node.settlement.case_actions import ChallengeReceipt
from openledger_node.settlement.case_keeper import FAIL_POINTS
from openledger_protocol.primitives import Wei
from openledger_protocol.signatures import address_of

KILLED = -signal.SIGKILL

pytestmark = pytest.mark.process


@dataclass
class Scene:
    """A world of cases, a socket to its chain, and two sides that may be killed."""

    cases: CaseWorld
    folder: Path
    socket: str
    lives: Live
    num_killed: int = field(default=0)

    def live(
        self, side: str, action: ChallengeReceipt, point: str = "*", num: int = 0, *, is_end: bool = False
    ) -> int:
        Task(network=self.cases.world.chain.network, side=side, action=action, is_end=is_end).write(self.folder)
        return self.lives(self.folder, self.socket, point, num)

    def survive(self, side: str, action: ChallengeReceipt, num: int, *, is_end: bool = False) -> bool:
        """Live once until the point number `num`, and once more; False if the first life did not come so far."""
        ended = self.live(side, action, "*", num, is_end=is_end)
        if ended == KILLED:
            self.num_killed += 1
            ended = self.live(side, action, is_end=is_end)
        else:
            num = 0
        assert ended == DONE
        return bool(num)

    def new(self) -> ChallengeReceipt:
        """A challenge of another receipt, which is right."""
        world = self.cases.world
        return challenge_of(self.cases.buy(), world.configs[self.cases.channel], bond_wei=Wei(BOND))

    def wealth(self) -> tuple[int, int]:
        return self.cases.open_of(self.cases.world.payer), self.cases.open_of(self.cases.world.node)

    def bonds(self) -> int:
        """All OPEN that the contract holds."""
        chain = self.cases.world.chain
        held: int = chain.read("OpenToken", "balanceOf", chain.contracts["Disputes"])
        return held


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    folder = tmp_path_factory.mktemp("cases")
    with (
        open_lives() as lives,
        open_case_world(folder) as cases,
        lend(cases.world.chain.client) as socket,
    ):
        cases.world.run(lambda: cases.world.payer.is_idle and cases.world.node.is_idle)
        cases.world.chain.fund(cases.world.payer.accounts.wallet, coin_wei=OPEN, open_wei=1_000 * OPEN)
        yield Scene(cases=cases, folder=folder, socket=socket, lives=lives)


def test_sides_that_are_killed_put_up_one_bond_each_and_get_it_back_once(scene: Scene) -> None:
    """Each round kills each side one point later, from its challenge or contest to the withdrawal of its bond."""
    more = True
    for num in count(1):
        before, action = scene.wealth(), scene.new()
        more = scene.survive("payer", action, num)
        assert scene.wealth() == (before[0] - BOND, before[1])
        more = scene.survive("node", action, num) or more
        assert scene.wealth() == (before[0] - BOND, before[1] - BOND)
        assert scene.bonds() == 2 * BOND
        scene.cases.world.wait(61)
        more = scene.survive("node", action, num, is_end=True) or more
        assert scene.wealth() == (before[0], before[1]) or scene.wealth() == (before[0] - BOND, before[1])
        take_back(scene, before)
        assert scene.bonds() == 0
        if not more or num == depth(light=3, deep=1_000):
            break
    assert scene.num_killed >= depth(light=8, deep=75)


@pytest.mark.parametrize("point", FAIL_POINTS)
def test_a_node_that_was_killed_at_its_own_writes_goes_on(scene: Scene, point: str) -> None:
    before, action = scene.wealth(), scene.new()
    assert scene.live("payer", action) == DONE
    is_end = not point.startswith("contest")
    if is_end:
        assert scene.live("node", action) == DONE
        scene.cases.world.wait(61)
    assert scene.live("node", action, point, 1, is_end=is_end) == KILLED
    assert scene.live("node", action, is_end=is_end) == DONE
    if not is_end:
        scene.cases.world.wait(61)
        assert scene.live("node", action, is_end=True) == DONE
    take_back(scene, before)
    assert scene.bonds() == 0


def test_after_all_of_it_the_books_hold(scene: Scene) -> None:
    """As an outsider finds them. Only who judges is not as network.json says: in this world it is one key."""
    report = audit(scene.cases.world.chain.client, scene.cases.world.chain.network)
    assert [line for line in report.lines if not line.holds] == []
    timelock = scene.cases.world.chain.contracts["Timelock"]
    judge = f"governor is {address_of(JUDGE_KEY)}, and by network.json {timelock}"
    assert report.faults == (f"Params.{judge}", f"Disputes.{judge}")


def take_back(scene: Scene, before: tuple[int, int]) -> None:
    """Let the payer's own node withdraw its bond, and check that nobody has lost or won anything."""
    payer = scene.cases.world.payer
    scene.cases.world.node.step()
    for _ in range(20):
        if scene.wealth() == before:
            break
        payer.step()
        scene.cases.world.wait(1)
    assert scene.wealth() == before
    scene.cases.world.run(lambda: payer.is_idle)
