"""The faucet: coins and OPEN on development networks alone, however many draw on the bank at once."""

import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from support.chain_world.deployed import DeployedChain, deployed_chain

from openledger_node.chain.client import SendRefusedError
from openledger_node.chain.clients.simulated import SimulatedClient
from openledger_node.chain.dev.constants import BANK
from openledger_node.chain.dev.faucet import PLACES_MAX, fund
from openledger_node.errors import ChainError
from openledger_node.network_file import Network
from openledger_protocol.primitives import Address, Digest, check_address

COIN = 10**18


@pytest.fixture(scope="module")
def deployed() -> DeployedChain:
    return deployed_chain()


@pytest.fixture(scope="module")
def chain(deployed: DeployedChain) -> Iterator[SimulatedClient]:
    with closing(deployed.client) as client:
        yield client


@pytest.fixture(scope="module")
def network(deployed: DeployedChain) -> Network:
    return deployed.network


def account(number: int) -> Address:
    return check_address(f"0x{0xACC0 << 64 | number:040x}")


def has(deployed: DeployedChain, owner: Address) -> tuple[int, int]:
    return deployed.client.coin_balance(owner), deployed.read("OpenToken", "balanceOf", owner)


def mining(chain: SimulatedClient) -> Callable[[float], None]:
    return lambda _: chain.mine() and None


def test_an_account_gets_coins_and_open(deployed: DeployedChain, chain: SimulatedClient, network: Network) -> None:
    fund(chain, network, account(1), coin_wei=3 * COIN, open_wei=5 * COIN, pause=mining(chain))
    assert has(deployed, account(1)) == (3 * COIN, 5 * COIN)
    fund(chain, network, account(1), coin_wei=COIN, open_wei=COIN, pause=mining(chain))
    assert has(deployed, account(1)) == (4 * COIN, 6 * COIN)


def test_all_who_ask_the_faucet_get_paid(deployed: DeployedChain, chain: SimulatedClient, network: Network) -> None:
    barrier = threading.Barrier(8)
    failed: list[BaseException] = []

    def draw(number: int) -> None:
        try:
            barrier.wait()
            fund(chain, network, account(number), coin_wei=COIN, open_wei=2 * COIN, pause=mining(chain))
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=draw, args=(200 + number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    for number in range(8):
        assert has(deployed, account(200 + number)) == (COIN, 2 * COIN)


def test_two_who_fund_the_same_account_alike_both_count(chain: SimulatedClient, network: Network) -> None:
    """Their transactions would be the same bytes: the second takes the next nonce."""
    other = Overtaken(chain, network, account(300))
    fund(other, network, account(300), coin_wei=COIN, open_wei=0, pause=mining(chain))
    assert chain.coin_balance(account(300)) == 2 * COIN


@dataclass
class Overtaken:
    """The chain, on which somebody else makes the same transfer just before our first."""

    chain: SimulatedClient
    network: Network
    to: Address
    sent: list[bytes] = field(default_factory=list)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.chain, name)

    def send(self, raw: bytes) -> Digest:
        if not self.sent:
            self.chain.send(raw)
        self.sent.append(raw)
        return self.chain.send(raw)


@dataclass
class Refusing(Overtaken):
    """The chain, which takes nothing from the bank."""

    reason: Any = "other"

    def send(self, raw: bytes) -> Digest:
        self.sent.append(raw)
        raise SendRefusedError(self.reason, "not today")


@pytest.mark.parametrize(
    ("reason", "message", "times"),
    [
        ("no_funds", f"the bank {BANK} has too few coins: is this a development chain?", 1),
        ("other", "the chain rejects a transfer: not today", 1),
        ("underpriced", "the chain does not mine: 256 transfers of the bank are pending", PLACES_MAX),
    ],
)
def test_a_refusal_is_told_and_never_tried_without_end(
    chain: SimulatedClient, network: Network, reason: str, message: str, times: int
) -> None:
    refusing = Refusing(chain, network, account(302), reason=reason)
    with pytest.raises(ChainError, match=message.replace("?", r"\?")):
        fund(refusing, network, account(302), coin_wei=COIN, open_wei=0, pause=mining(chain))
    assert len(refusing.sent) == times


def test_a_chain_that_does_not_mine_is_told(chain: SimulatedClient, network: Network) -> None:
    with pytest.raises(ChainError, match="the development chain has mined nothing for 60 s"):
        fund(chain, network, account(303), coin_wei=COIN, open_wei=0, pause=lambda _: None)
    chain.mine()


def test_nobody_gives_money_away_on_a_real_network(chain: SimulatedClient, network: Network) -> None:
    nonce = chain.nonce(BANK)
    with pytest.raises(ChainError, match="openledger-1 is not a development network"):
        fund(chain, replace(network, network="openledger-1"), account(305), coin_wei=1, open_wei=1)
    with pytest.raises(ChainError, match=r"the endpoint is on chain 1337, but development-.* on 7"):
        fund(chain, replace(network, chain_id=7), account(305), coin_wei=1, open_wei=1)
    assert chain.nonce(BANK) == nonce
