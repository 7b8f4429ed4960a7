"""A town whose first node has something to show: peers, bids lost to a cheaper node, answers that were paid for."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from openledger_node.api_key import load_api_key
from openledger_node.demo.processes import OperatorHome as DemoHome
from openledger_node.demo.processes import closing_all
from openledger_node.home import Home
from openledger_node.network_file import join_network

from .pages import operator_of
from .towns import FAKE, FINAL_BLOCKS, WHOLE_TOKENS, FakeTown, Reply, ask, in_parallel, status_of, wait_for

OWN_WEI, CHEAP_WEI = str(14 * 10**16), str(2 * 10**16)
"""Of 1,000 tokens in and 1,000 out: what A asks, and what B asks, which is not much faster."""

STAKE_WEI, DEPOSIT_WEI = str(100 * 10**18), str(10**18)

ROUNDS = (40, 120, 80, 60)
LOST, ROUNDS_MAX = 5, 40


@dataclass(kw_only=True)
class PageTown(FakeTown):
    """A, B and R on the fake model, brought up without a process for each command."""

    def begin(self) -> None:
        """Bring all nodes up, staked and known to each other."""
        self.begin_chain()
        self.make_nodes()
        for node in self.nodes:
            node.start_daemon()
        for node in self.nodes:
            self.wait_until_among_others(node)
        for seller in self.sellers:
            act(seller, "stake add", amount_wei=STAKE_WEI)
            act(self.r, "channels open", node=status_of(seller)["address"], amount_wei=DEPOSIT_WEI)
        wait_for(lambda: all(ask(seller, "stake")["bonded_wei"] == STAKE_WEI for seller in self.sellers))
        wait_for(lambda: len(ask(self.r, "channels")["channels"]) == len(self.sellers))
        self.wait_for_blocks(FINAL_BLOCKS)

    def _node(self, name: str, models: Path | None, settings: dict[str, str]) -> DemoHome:
        node = self._home(name, {**self.settings, **settings})
        join_network(Home(node.root), self.network)
        return node


@contextmanager
def open_page_town(root: Path, *, cheap_wei: str = CHEAP_WEI) -> Iterator[FakeTown]:
    """Three nodes on one chain: A has sold while B was paused, earned and claimed; now it loses its bids to B."""
    settings = {**FAKE, "OPENLEDGER_PAYER_DEPOSIT_WEI": str(10**18)}
    with closing_all() as opened:
        town = PageTown(root=root, say=lambda _: None, opened=opened, settings=settings)
        town.begin()
        for seller in town.sellers:
            ask_api(seller, (WHOLE_TOKENS,))  # so that it knows how fast it is
        set_price(town.a, OWN_WEI)
        set_price(town.b, cheap_wei)
        tell(town.b, "/pause")
        buy(town, ROUNDS)
        wait_for(lambda: ask(town.a, "rewards")["claims"])
        buy(town, ROUNDS[:1])
        tell(town.b, "/resume")
        lose_bids(town, cheap_wei)
        yield town
        in_parallel(*(node.close for node in town.nodes))


def act(party: DemoHome, command: str, **arguments: str) -> None:
    """Have a node send the transactions of a command; they are on the chain some blocks later."""
    plan = ask(party, "plan", verb=command, arguments=arguments)
    ask(party, "act", plan=plan["plan"])


def set_price(node: DemoHome, price_wei: str) -> None:
    tell(node, "/price", price_wei=price_wei)


def tell(node: DemoHome, path: str, **wanted: str) -> None:
    """An order of the operator's."""
    with operator_of(Home(node.root)) as operator:
        answer = operator.post(path, json=wanted)
    assert answer.is_success, answer.text


def buy(town: FakeTown, rounds: tuple[int, ...]) -> None:
    """Let R ask for answers, one after the other; who serves them is the market's affair."""
    ask_api(town.r, rounds)


def ask_api(node: DemoHome, rounds: tuple[int, ...]) -> None:
    """Ask a node's own API for answers of so many tokens."""
    url, key = status_of(node)["api"]["url"], load_api_key(Home(node.root))
    for max_tokens in rounds:
        reply = Reply(max_tokens=max_tokens)
        reply.read(url, key)
        assert reply.error is None, reply.error


def lose_bids(town: FakeTown, cheap_wei: str) -> None:
    """Ask until A has lost a few."""
    wait_for(
        lambda: any(
            peer["serves"] for peer in ask(town.r, "peers")["peers"] if peer["wallet"] == status_of(town.b)["address"]
        )
    )
    for _ in range(ROUNDS_MAX):
        buy(town, (30,))
        lost = status_of(town.a)["bids_lost"]
        if sum(bid["winner_price_wei"] == cheap_wei for bid in lost) >= LOST:
            return
    raise AssertionError(f"A has lost too few bids: {lost}")
