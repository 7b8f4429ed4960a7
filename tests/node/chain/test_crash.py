"""An outbox killed at every point of its work: each intent is mined once, and no nonce is left out."""

import random
import signal
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from node.chain.mortal_outbox import KEYS, open_lives
from support.chain_world.chain_server import lend
from support.lives import DONE, Live
from support.scripted_chain import ScriptedChain
from support.tiers import depth

from openledger_node.chain.delivery import FAIL_POINTS
from openledger_node.ledger.ledger import open_ledger
from openledger_protocol.chain import ContractCall
from openledger_protocol.primitives import check_address
from openledger_protocol.transactions import Intent

pytestmark = pytest.mark.process

ADA = next(iter(KEYS))
CONTRACT = check_address("0x" + "c" * 40)
REFUSED = b"refused"


@pytest.fixture(scope="module")
def live() -> Iterator[Live]:
    with open_lives() as opened:
        yield opened


class StormyChain(ScriptedChain):
    """Reorganises by itself: once shallow, once so that another program takes a nonce, once below what was final.

    The last one may take back the other program's transaction, too, so that its nonce is missing.
    """

    def __init__(self, *, leaves_gap: bool = False) -> None:
        super().__init__(finality_depth=4)
        self.depth_last = 18 if leaves_gap else 15
        self.refusing.add(REFUSED)
        self.num_rounds = 0

    def mine(self, count: int = 1) -> None:
        super().mine(count)
        self.num_rounds += 1
        if self.num_rounds == 2:
            self.reorganise(1)
            self.take_nonce(ADA)
        if self.num_rounds == 4:
            self.reorganise(2)
        if self.num_rounds == 16:
            self.reorganise(self.depth_last)

    def is_calm(self) -> bool:
        """Whether all its storms are over."""
        return self.num_rounds > 16


def write_intents(file: Path, count: int) -> list[bytes]:
    calls = [f"{sender} {number}".encode() for number in range(count) for sender in KEYS]
    with closing(open_ledger(file)) as ledger, ledger.transaction():
        for data in [REFUSED, *calls]:
            sender = check_address(data.split()[0].decode()) if data != REFUSED else ADA
            call = ContractCall(to=CONTRACT, data=data)
            ledger.outbox.add(Intent(key=data.decode(), kind="claim", summary="", sender=sender, call=call))
    return calls


def check_each_once(chain: StormyChain, calls: list[bytes], file: Path) -> None:
    assert sorted(data for data in chain.mined_calls() if data) == sorted(calls)
    for sender in KEYS:
        nonces = chain.nonces(sender)
        assert nonces == list(range(len(nonces)))
    with closing(open_ledger(file, is_writer=False)) as ledger:
        rows = [row for row in ledger.outbox.newest(limit=10_000) if row.intent.kind != "fill"]
        found = {row.intent.call.data: row.state for row in rows}
    assert found == {REFUSED: "refused", **dict.fromkeys(calls, "final")}


@pytest.mark.parametrize("count", depth(light=[1], deep=[1, 4]))
@pytest.mark.parametrize("point", FAIL_POINTS)
def test_an_outbox_killed_at_a_point_goes_on_from_there(tmp_path: Path, live: Live, point: str, count: int) -> None:
    chain, file = StormyChain(leaves_gap="fill" in point), tmp_path / "ledger.db"
    calls = write_intents(file, 4)
    with lend(chain) as socket:
        first = live(file, socket, point, count)
        assert first == -signal.SIGKILL or (count > 1 and first == DONE)
        assert live(file, socket, "*", 0) == DONE
    check_each_once(chain, calls, file)


def test_an_outbox_killed_again_and_again_pays_each_once(tmp_path: Path, live: Live) -> None:
    chain, file, deaths = StormyChain(), tmp_path / "ledger.db", random.Random(7)
    calls = write_intents(file, depth(light=12, deep=80))
    num_killed = 0
    with lend(chain) as socket:
        while (code := live(file, socket, "*", deaths.randint(1, 30))) != DONE:
            assert code == -signal.SIGKILL
            num_killed += 1
    assert num_killed >= depth(light=20, deep=200)
    assert chain.is_calm(), "all storms came"
    check_each_once(chain, calls, file)
