"""Settlement killed at every point of its work: each receipt is claimed once, and each claim made final once."""

import random
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from node.settlement.mortal_settlement import ADAPTER, open_lives, prepare
from support.chain_world.chain_server import lend
from support.chain_world.world import OPEN, World, open_world
from support.lives import DONE, Live
from support.tiers import depth

from openledger_node.settlement.actions import CloseChannel, WithdrawChannel
from openledger_node.settlement.claim_line import find_line
from openledger_node.settlement.records import record_of
from openledger_node.settlement.settler import FAIL_POINTS
from openledger_protocol.attribution import Share
from openledger_protocol.primitives import ChannelId, Wei

KILLED = -signal.SIGKILL
UNUSUAL = ("claim:refused", "claim:taken-back", "claim:unmined", "claim:bound", "claim:skips-released")
"""Points that a claim passes only where something went wrong: each has its own way there."""

pytestmark = pytest.mark.process


@dataclass
class Scene:
    """A world, a socket to its chain, and a node that may be killed."""

    world: World
    folder: Path
    socket: str
    shares: tuple[Share, ...]
    lives: Live

    def live(self, point: str = "*", count: int = 0) -> int:
        return self.lives(self.folder, self.socket, point, count)

    def earn(self) -> ChannelId:
        """Receipts of the base and of an adapter on a channel of its own."""
        channel = self.world.open_channel()
        self.earn_on(channel)
        return channel

    def earn_on(self, channel: ChannelId) -> None:
        """The same on a channel that is open; no block is made, so that nothing of it is claimed yet."""
        self.world.earn(channel, OPEN)
        self.world.earn(channel, OPEN // 3, adapter_id=ADAPTER, shares=self.shares)


@pytest.fixture(scope="module")
def lives() -> Iterator[Live]:
    with open_lives() as opened:
        yield opened


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory, lives: Live) -> Iterator[Scene]:
    folder = tmp_path_factory.mktemp("node")
    with open_world(folder) as world:
        shares = prepare(world, folder)
        with lend(world.chain.client) as socket:
            yield Scene(world=world, folder=folder, socket=socket, shares=shares, lives=lives)


@pytest.mark.parametrize("point", [point for point in FAIL_POINTS if point not in UNUSUAL])
def test_a_claim_whose_node_was_killed_becomes_final_once(scene: Scene, point: str) -> None:
    channel = scene.earn()
    assert scene.live(point, 1) == KILLED
    assert scene.live() == DONE
    assert claimed_wei(scene, channel) == OPEN + OPEN // 3
    check_books(scene)


def test_a_refused_claims_receipts_go_into_the_next_though_the_node_was_killed(scene: Scene) -> None:
    channel = scene.earn()
    assert scene.live("claim:stored", 1) == KILLED
    scene.world.wait(100)  # its epoch is over: no contract takes it any more
    assert scene.live("claim:refused", 1) == KILLED
    assert scene.live() == DONE
    assert [claim.state for claim in scene.world.node.ledger.claims.newest(limit=2)] == ["final", "refused"]
    assert claimed_wei(scene, channel) == OPEN + OPEN // 3
    check_books(scene)


def test_a_claim_that_made_way_is_made_again_though_the_node_was_killed(scene: Scene) -> None:
    world = scene.world
    leaving = world.open_channel()
    close = CloseChannel(channel_id=leaving, config=world.configs[leaving], amount_wei=Wei(10 * OPEN))
    world.act(close, by=world.payer)
    step_payer(world, 3)
    channel = scene.earn()
    assert scene.live("claim:stored", 1) == KILLED  # before it has a nonce
    world.earn(leaving, OPEN)
    assert scene.live("claim:taken-back", 1) == KILLED
    assert scene.live() == DONE
    assert (claimed_wei(scene, channel), claimed_wei(scene, leaving)) == (OPEN + OPEN // 3, OPEN)
    assert [claim.state for claim in world.node.ledger.claims.newest(limit=2)] == ["final", "refused"]
    check_books(scene)


def test_a_claim_that_a_reorg_took_back_is_mined_again_though_the_node_was_killed(scene: Scene) -> None:
    channel = scene.earn()
    assert scene.live("claim:mined", 1) == KILLED
    scene.world.chain.client.reorganise(1)
    assert scene.live("claim:unmined", 1) == KILLED
    assert scene.live() == DONE
    assert claimed_wei(scene, channel) == OPEN + OPEN // 3
    check_books(scene)


def test_a_claim_that_is_mined_after_it_was_given_up_goes_on_though_the_node_was_killed(scene: Scene) -> None:
    channel = scene.earn()
    assert scene.live("claim:mined", 1) == KILLED
    claims = scene.world.node.ledger.claims
    claims.move(claims.newest(limit=1)[0].claim_id, "refused")  # as if an endpoint had called it reverted
    assert scene.live("claim:bound", 1) == KILLED
    assert scene.live() == DONE
    assert claimed_wei(scene, channel) == OPEN + OPEN // 3
    check_books(scene)


def test_a_channel_that_was_skipped_is_released_though_the_node_was_killed(scene: Scene) -> None:
    """The payer takes its deposit out between the claim's signature and its block: that much is lost, no more."""
    world = scene.world
    empty, full = world.open_channel(), scene.earn()
    scene.earn_on(empty)
    config = world.configs[empty]
    world.act(CloseChannel(channel_id=empty, config=config, amount_wei=Wei(10 * OPEN)), by=world.payer)
    step_payer(world, 3)
    world.wait(33)
    assert scene.live("claim:stored", 1) == KILLED
    world.wait(8)
    world.act(WithdrawChannel(channel_id=empty, config=config), by=world.payer)
    step_payer(world, 2)
    assert scene.live("claim:skips-released", 1) == KILLED
    assert scene.live() == DONE
    assert (claimed_wei(scene, empty), claimed_wei(scene, full)) == (0, OPEN + OPEN // 3)
    left = world.node.ledger.receipts.unclaimed()
    assert {row.receipt.channel_id for row in left} == {empty}
    check_books(scene, lost=left)


def test_settlement_killed_again_and_again_claims_each_receipt_once(scene: Scene) -> None:
    deaths, num_killed = random.Random(5), 0
    lost = scene.world.node.ledger.receipts.unclaimed()
    for _ in range(depth(light=1, deep=60)):
        scene.earn()
        while (code := scene.live("*", deaths.randint(1, 12))) != DONE:
            assert code == KILLED
            num_killed += 1
    assert num_killed >= depth(light=4, deep=200)
    check_books(scene, lost=lost)


# ---- what must hold whenever all claims are over


def step_payer(world: World, count: int) -> None:
    for _ in range(count):
        world.payer.step()
        world.wait(1)


def claimed_wei(scene: Scene, channel: ChannelId) -> int:
    return scene.world.node.deployment.channel(channel).claimed_wei


def check_books(scene: Scene, lost: object = ()) -> None:
    """Every receipt is in one final claim; the chain has each claim once; nobody is owed another sum."""
    node = scene.world.node
    claims = node.ledger.claims.newest(limit=999)
    final = [claim for claim in claims if claim.state == "final"]
    assert {claim.state for claim in claims} <= {"final", "refused"}
    records = [record_of(event) for event in node.ledger.events.find("Claimed")]
    assert [record.seq for record in records] == list(range(len(records)))
    for claim in final:
        rows = node.ledger.receipts.of_claim(claim.claim_id)
        assert find_line(node.ledger, node.accounts.wallet, claim.seq, rows) is not None
    assert len(node.ledger.events.find("Finalized")) == len(final)
    assert all(not event.arguments["late"] for event in node.ledger.events.find("Finalized"))
    rows = node.ledger.receipts.newest(limit=999)
    paid = [row for row in rows if row.claim_id is not None]
    assert len(rows) - len(paid) == len(list(lost))  # type: ignore[call-overload]
    gross = sum(record.gross_wei for record in records)
    assert gross == sum(row.receipt.amount_wei for row in paid)
    credited = sum(int(event.arguments["amount"]) for event in node.ledger.events.find("Credited"))  # type: ignore[arg-type]
    assert credited == gross
