"""Outbox and watcher over anvil, which reorganises as a real chain does."""

from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from eth_hash.auto import keccak
from support.chain_world.deployed import DeployedChain, deployed_chain
from support.chain_world.ways import NEEDS_ANVIL, AnvilClient, tamed_chain
from support.tiers import depth as by_depth

from openledger_node.chain.contracts import load_contract
from openledger_node.chain.outbox import Outbox
from openledger_node.chain.watcher import Watcher, decode_with
from openledger_node.ledger.ledger import Ledger
from openledger_protocol.chain import ContractCall
from openledger_protocol.primitives import Address
from openledger_protocol.signatures import address_of, sign_digest
from openledger_protocol.transactions import REORG_DEPTH_MAX, Intent, OutboxLimits

pytestmark = [pytest.mark.process, NEEDS_ANVIL]

TOKEN = load_contract("OpenToken")
BEYOND = REORG_DEPTH_MAX + 6
SETTLE_MAX = 40


@dataclass
class Shop:
    """One who pays a receiver by the outbox, and reads by the watcher what was paid."""

    chain: DeployedChain
    ledger: Ledger
    outbox: Outbox
    watcher: Watcher
    receiver: Address
    payers: list[Address]
    amounts: list[int]

    @property
    def client(self) -> AnvilClient:
        return self.chain.client  # type: ignore[no-any-return]

    def pay(self) -> None:
        """Want one payment more: each has an amount of its own."""
        amount = 1_000 + len(self.amounts)
        self.amounts.append(amount)
        payer = self.payers[amount % len(self.payers)]
        call = ContractCall(
            to=self.chain.contracts["OpenToken"], data=TOKEN.encode("transfer", self.receiver, amount)
        )
        self.ledger.outbox.add(
            Intent(key=str(amount), kind="claim", summary=f"pay {amount}", sender=payer, call=call)
        )

    def step(self) -> None:
        """What the daemon does between two blocks."""
        while self.watcher.step():
            pass
        if self.watcher.state.health == "halted":
            self.outbox.halt(self.watcher.state.why or "")
        self.outbox.step()

    def settle(self) -> None:
        for _ in range(SETTLE_MAX):
            self.step()
            if not self.ledger.outbox.unfinished():
                return
            self.client.mine()
        raise AssertionError("it is never over")

    def told(self) -> list[int]:
        """Amounts that arrived, as the watcher read it."""
        found = (event.arguments for event in self.ledger.events.find("Transfer"))
        return sorted(int(str(each["value"])) for each in found if each["to"] == self.receiver)

    def received(self) -> int:
        """And as the contract has it."""
        return int(self.chain.read("OpenToken", "balanceOf", self.receiver))


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DeployedChain]:
    with tamed_chain("anvil", tmp_path_factory.mktemp("chain")) as client:
        yield deployed_chain(client)


@pytest.fixture
def shop(chain: DeployedChain, ledger: Ledger, request: pytest.FixtureRequest) -> Shop:
    """Payers whose money no reorg of these tests takes away, and nothing wanted yet."""
    keys = {address_of(key): key for key in (keccak(f"{request.node.name} {number}".encode()) for number in range(3))}
    receiver, *payers = keys
    for payer in payers:
        chain.fund(payer, open_wei=10**9)
    chain.client.ask("anvil_mine", [hex(2 * BEYOND), hex(1)])  # in one question, not in two a block
    settings = {"client": chain.client, "chain_id": chain.client.chain_id()}
    return Shop(
        chain=chain,
        ledger=ledger,
        outbox=Outbox(
            **settings,
            journal=ledger.outbox,
            senders=keys,
            sign=lambda sender, digest: sign_digest(keys[sender], digest),
            limits=OutboxLimits(bump_after_blocks=3, bump_after_s=3),
        ),
        watcher=Watcher(
            **settings,
            journal=ledger.events,
            addresses=list(chain.contracts.values()),
            first_block=chain.client.head().number - BEYOND,
            decode=decode_with(chain.contracts),
        ),
        receiver=receiver,
        payers=payers,
        amounts=[],
    )


def pay_in_each_block(shop: Shop, count: int) -> None:
    for _ in range(count):
        shop.pay()
        shop.step()
        shop.client.mine()
    shop.step()


def pay_now_and_then(shop: Shop, num_blocks: int) -> None:
    """Blocks of which the first and the last three have payments: each unfinished one costs a question a block."""
    pay_in_each_block(shop, 3)
    for _ in range(num_blocks - 6):
        shop.step()
        shop.client.mine()
    pay_in_each_block(shop, 3)


@pytest.mark.parametrize("depth", by_depth(light=[12, 64], deep=[1, 5, 12, 30, 64]))
def test_a_reorg_changes_no_total_and_no_payment_is_made_twice(shop: Shop, depth: int) -> None:
    pay_in_each_block(shop, depth + 5)
    before = shop.received()
    assert before > 0
    shop.client.reorganise(depth)
    assert shop.received() < before
    shop.settle()
    shop.pay()
    shop.settle()
    shop.step()
    assert (shop.outbox.state.health, shop.watcher.state.health) == ("ok", "ok")
    assert shop.told() == shop.amounts
    assert shop.received() == sum(shop.amounts)
    assert {row.state for row in shop.ledger.outbox.newest(limit=1_000)} == {"final"}


@pytest.mark.parametrize("depth", by_depth(light=[REORG_DEPTH_MAX + 1], deep=[REORG_DEPTH_MAX + 1, BEYOND]))
def test_a_deeper_reorg_halts_all_money_and_says_why(shop: Shop, depth: int) -> None:
    pay_now_and_then(shop, depth + 2)
    told = shop.told()
    shop.client.reorganise(depth)
    shop.pay()
    for _ in range(3):
        shop.step()
        shop.client.mine()
    for state in (shop.watcher.state, shop.outbox.state):
        assert state.health == "halted"
        assert "took back more than 64 blocks" in (state.why or "")
    assert shop.told() == told
    assert shop.ledger.outbox.find(str(shop.amounts[-1])).state == "intended"  # type: ignore[union-attr]
