"""A network of three nodes on the fake model, whose processes may be killed.

Nodes are asked over their control sockets, since a command takes a second.
"""

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from network.forked_home import ForkedHome
from network.replies import Reply
from support.processes.nodes import DEADLINE_S, Node, ask, ask_status, operator_of, wait_for

from openledger_node.api_key import load_api_key
from openledger_node.demo.processes import OperatorHome, closing_all
from openledger_node.demo.town import COMMON, Say, Town
from openledger_node.home import Home
from openledger_node.network_file import join_network

FAKE = {
    **COMMON,
    "OPENLEDGER_INFERENCE_BACKEND": "fake",
    "OPENLEDGER_INFERENCE_BASE": "fake",
    "OPENLEDGER_INFERENCE_CONTEXT_MAX": "8000",
    "OPENLEDGER_PAYER_STALL_TIMEOUT_S": "4",
    "OPENLEDGER_MARKET_VOUCHER_TIMEOUT_S": "3",
}
STAKE_WEI, DEPOSIT_WEI = str(100 * 10**18), str(10**18)
FINAL_BLOCKS = 4
"""A deposit counts once no reorg can take it back."""

WHOLE_TOKENS = 4_500
"""More than any request of a test asks for; the fake answers the same every time."""


@dataclass(kw_only=True)
class RunningNetwork(Town):
    """A chain, a bootstrap node, the sellers A and B, and the requester R."""

    say: Say = lambda _: None
    settings: Mapping[str, str] = field(default_factory=lambda: FAKE)
    whole: str = ""  # the answer, undisturbed and longer than any that is asked for
    replies: list[Reply] = field(default_factory=list)

    @property
    def sellers(self) -> tuple[OperatorHome, OperatorHome]:
        """A and B."""
        return self.a, self.b

    def begin(self) -> None:
        """Start all processes, and wait until the nodes know each other, have staked and have opened channels."""
        self.begin_chain()
        self.make_nodes()
        for node in self.nodes:
            node.start_daemon()
        for node in self.nodes:
            self.wait_until_among_others(node)
        for seller in self.sellers:
            act(seller, "stake add", amount_wei=STAKE_WEI)
        wait_for(lambda: all(_is_staked(seller) for seller in self.sellers))
        for number, seller in enumerate(self.sellers, start=1):
            act(self.r, "channels open", node=status_of(seller)["address"], amount_wei=DEPOSIT_WEI)
            wait_for(lambda number=number: self._num_deposits() == number)  # one transaction of a wallet at a time
        self.wait_for_blocks(FINAL_BLOCKS)
        self.whole = answer_of(self.a, WHOLE_TOKENS)  # its own engine's, which costs nothing
        assert len(self.whole) == WHOLE_TOKENS

    def _home(self, name: str, settings: Mapping[str, str]) -> OperatorHome:
        home = ForkedHome(name, self.root / name.lower(), settings)
        self.opened.append(home)
        return home

    def _num_deposits(self) -> int:
        """The number of R's channels that are on the chain."""
        return sum(each["deposit_wei"] == DEPOSIT_WEI for each in ask(self.r, "channels")["channels"])

    def wait_until_among_others(self, node: OperatorHome) -> None:
        """Wait until a node is connected with both others, and knows that A and B sell."""
        others = {_peer_id(other) for other in self.nodes if other is not node}
        sellers = {_peer_id(other) for other in self.sellers if other is not node}
        _peer_id(node)  # it is on its network, and can be asked

        def find() -> bool:
            peers = {peer["peer_id"]: peer for peer in ask(node, "peers")["peers"]}
            connected = {name for name, peer in peers.items() if peer["is_connected"]}
            return others <= connected and all(peers[name]["serves"] for name in sellers)

        wait_for(find)

    def wait_for_blocks(self, count: int) -> None:
        """Wait until the chain has so many more blocks."""
        first: int = ask(self.r, "network")["block"]
        wait_for(lambda: ask(self.r, "network")["block"] >= first + count)

    def start_node(self, name: str, **settings: str) -> OperatorHome:
        """Start one more node without waiting for it."""
        node = self._node(name, None, settings)
        node.start_daemon()
        return node

    def kill_node(self, node: OperatorHome) -> None:
        """Kill a daemon in the middle of whatever it does."""
        assert node.daemon is not None
        node.daemon.kill()
        node.close()

    def buy(self, *max_tokens: int) -> None:
        """Ask for answers as R, one after the other; the market decides who serves them."""
        for each in max_tokens:
            answer_of(self.r, each)

    @contextmanager
    def asking(self, *max_tokens: int) -> Iterator[list[Reply]]:
        """Requests of R that run meanwhile, each of which has begun; at the end all have ended."""
        replies = [Reply(max_tokens=each) for each in max_tokens]
        self.replies += replies
        node = node_of(self.r)
        readers = [threading.Thread(target=reply.read, args=(node,)) for reply in replies]
        for reader in readers:
            reader.start()
        try:
            for reply in replies:
                assert reply.started.wait(DEADLINE_S)
            yield replies
        finally:
            for reader in readers:
                reader.join(DEADLINE_S)

    def _node(self, name: str, owner: Home | None, settings: dict[str, str]) -> OperatorHome:
        node = self._home(name, {**self.settings, **settings})
        join_network(Home(node.root), self.network)  # without a process for the command
        return node


@contextmanager
def running_network(root: Path) -> Iterator[RunningNetwork]:
    """Three nodes that know each other; R has channels with A and B."""
    with closing_all() as opened:
        running = RunningNetwork(root=root, opened=opened)
        running.begin()
        yield running


# ---- one of its nodes


def _is_staked(seller: OperatorHome) -> bool:
    stake = ask(seller, "stake")
    return bool(stake["bonded_wei"] == STAKE_WEI and stake["is_appointed"])


def status_of(node: OperatorHome) -> dict[str, Any]:
    """The status of a daemon, which must not have ended."""
    assert node.daemon is not None
    assert node.daemon.is_alive, node.daemon.last_words()
    return wait_for(lambda: ask_status(node))


def node_of(node: OperatorHome) -> Node:
    """The same node as a `Node`, without its process."""
    home = Home(node.root)
    return Node(home=home, process=None, url=status_of(node)["api"]["url"], key=load_api_key(home))


def act(node: OperatorHome, command: str, /, **arguments: Any) -> None:
    """Have a node send the transactions of a command; they are on the chain some blocks later."""
    plan = ask(node, "plan", verb=command, arguments=arguments)
    ask(node, "act", plan=plan["plan"])


def tell(node: OperatorHome, path: str, **wanted: str) -> None:
    """Give a node an order of its operator's."""
    with operator_of(node) as operator:
        answer = operator.post(path, json=wanted)
    assert answer.is_success, answer.text


def answer_of(node: OperatorHome, max_tokens: int) -> str:
    """Ask a node's API, and return the answer."""
    reply = Reply(max_tokens=max_tokens)
    reply.read(node_of(node))
    assert reply.error is None, reply.error
    return reply.text


def _peer_id(node: OperatorHome) -> str:
    found: str = wait_for(lambda: status_of(node)["peer_id"])
    return found
