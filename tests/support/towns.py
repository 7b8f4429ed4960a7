"""A town on the fake model, whose processes may be killed: asked by control sockets, since a verb takes a second."""

import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import httpx

from openledger_node.api_key import load_api_key
from openledger_node.demo.processes import OperatorHome, Process, closing_all
from openledger_node.demo.town import COMMON, STAKE, Town
from openledger_node.home import Home as NodeHome
from support.nodes import ask_status

FAKE = {
    **COMMON,
    "OPENLEDGER_INFERENCE_BACKEND": "fake",
    "OPENLEDGER_INFERENCE_BASE": "fake",
    "OPENLEDGER_INFERENCE_CONTEXT_MAX": "8000",
    "OPENLEDGER_PAYER_STALL_TIMEOUT_S": "4",
    "OPENLEDGER_MARKET_VOUCHER_TIMEOUT_S": "3",
    "OPENLEDGER_SETTLEMENT_CLAIM_INTERVAL_S": "1",
}
DEADLINE_S = 90.0
POLL_S = 0.1
ENDLESS = "on and on..."
DEPOSIT, FINAL_BLOCKS = "1", 4
"""A deposit counts once no reorg can take it back."""

WHOLE_TOKENS = 7_000
"""More than any request of a test asks for; the fake answers the same every time."""

Value = TypeVar("Value")


@dataclass(kw_only=True)
class Reply:
    """What came of one streamed request."""

    max_tokens: int
    request_id: str | None = None
    text: str = ""
    finish_reason: str | None = None
    status: int | None = None
    error: dict[str, Any] | None = None
    is_cut: bool = False  # the connection broke: whoever answered is gone
    started: threading.Event = field(default_factory=threading.Event)  # its first piece is here, or its end

    @property
    def is_whole(self) -> bool:
        """Whether it is all that was asked for."""
        return self.finish_reason == "length" and len(self.text) == self.max_tokens

    @property
    def has_ended(self) -> bool:
        """Whether nothing more will come."""
        return bool(self.finish_reason or self.error or self.is_cut)

    def read(self, url: str, key: str) -> None:
        """Ask, and read to the end."""
        body = {
            "model": "fake",
            "messages": [{"role": "user", "content": ENDLESS}],
            "max_tokens": self.max_tokens,
            "temperature": 0,
            "stream": True,
        }
        headers = {"Authorization": f"Bearer {key}"}
        try:
            with (
                httpx.Client(base_url=url, headers=headers, timeout=DEADLINE_S) as client,
                client.stream("POST", "/v1/chat/completions", json=body) as response,
            ):
                self.status = response.status_code
                if response.is_error:
                    self.error = json.loads(response.read())["error"]
                for event in _events(response):
                    self._take(event)
        except httpx.TransportError:
            self.is_cut = True
        finally:
            self.started.set()

    def _take(self, event: dict[str, Any]) -> None:
        if "error" in event:
            self.error = event["error"]
            return
        self.request_id = "0x" + event["id"].removeprefix("chatcmpl-")
        (choice,) = event["choices"]
        if text := choice["delta"].get("content"):
            self.text += text
            self.started.set()
        self.finish_reason = choice["finish_reason"]


@dataclass(kw_only=True)
class FakeTown(Town):
    """A, B and R on the fake model."""

    whole: str = ""  # the answer, undisturbed and longer than any that is asked for
    replies: list[Reply] = field(default_factory=list)

    def begin(self) -> None:
        """Bring everybody up, staked and known to each other."""
        self.begin_chain()
        self.make_nodes()
        for node in self.nodes:
            node.start_daemon()
        for node in self.nodes:
            self.wait_until_among_others(node)
        wallets = [status_of(node)["address"] for node in self.sellers]
        stake = [partial(node.run, "stake", "add", STAKE) for node in self.sellers]
        in_parallel(*stake, lambda: [self.r.run("channels", "open", wallet, DEPOSIT) for wallet in wallets])
        self.wait_for_blocks(FINAL_BLOCKS)
        self.whole = self._ask_locally(self.a, WHOLE_TOKENS)

    @property
    def sellers(self) -> tuple[OperatorHome, OperatorHome]:
        """A and B."""
        return self.a, self.b

    def wait_until_among_others(self, node: OperatorHome) -> None:
        """Wait until a node is connected with both others, and knows that A and B sell."""
        others = {self._peer_id(other) for other in self.nodes if other is not node}
        sellers = {self._peer_id(other) for other in self.sellers if other is not node}
        self._peer_id(node)  # it is on its network, and can be asked

        def find() -> bool:
            peers = {peer["peer_id"]: peer for peer in ask(node, "peers")["peers"]}
            connected = {name for name, peer in peers.items() if peer["is_connected"]}
            return others <= connected and all(peers[name]["serves"] for name in sellers)

        wait_for(find)

    def wait_for_blocks(self, count: int) -> None:
        """Wait until the chain has gone on."""
        first: int = ask(self.r, "network")["block"]
        wait_for(lambda: ask(self.r, "network")["block"] >= first + count)

    def kill_node(self, node: OperatorHome) -> None:
        """Kill a daemon in the middle of whatever it does."""
        assert node.daemon is not None
        node.daemon.kill()
        node.close()

    @contextmanager
    def asking(self, *max_tokens: int) -> Iterator[list[Reply]]:
        """Requests of R that run meanwhile, each of which has begun; at the end all have ended."""
        replies = [Reply(max_tokens=each) for each in max_tokens]
        self.replies += replies
        url, key = status_of(self.r)["api"]["url"], load_api_key(NodeHome(self.r.root))
        readers = [threading.Thread(target=reply.read, args=(url, key)) for reply in replies]
        for reader in readers:
            reader.start()
        try:
            for reply in replies:
                assert reply.started.wait(DEADLINE_S)
            yield replies
        finally:
            for reader in readers:
                reader.join(DEADLINE_S)

    def _peer_id(self, node: OperatorHome) -> str:
        found: str = wait_for(lambda: status_of(node)["peer_id"])
        return found

    def _ask_locally(self, node: OperatorHome, max_tokens: int) -> str:
        """What a node's own engine answers, which costs nothing."""
        reply = Reply(max_tokens=max_tokens)
        reply.read(status_of(node)["api"]["url"], load_api_key(NodeHome(node.root)))
        assert len(reply.text) == max_tokens, reply
        return reply.text


def kill_with_children(process: Process) -> None:
    """Kill a process that works in a child of its own, the child first."""
    for child in children_of(process.process_id):
        os.kill(child, signal.SIGKILL)
    process.kill()
    process.close()


def children_of(process_id: int) -> list[int]:
    """The processes that it has started, and that run."""
    threads = Path(f"/proc/{process_id}/task").glob("*/children")
    return [int(child) for thread in threads for child in thread.read_text().split()]


def ask(node: OperatorHome, question: str, **arguments: Any) -> Any:
    """What a verb would hear of the daemon."""
    with httpx.Client(transport=httpx.HTTPTransport(uds=str(NodeHome(node.root).socket)), timeout=60) as client:
        return client.post(f"http://node/money/{question}", json=arguments).raise_for_status().json()


def status_of(node: OperatorHome) -> dict[str, Any]:
    """What a daemon says of itself; it must not have ended."""
    assert node.daemon is not None
    assert node.daemon.is_alive, node.daemon.last_words()
    return wait_for(lambda: ask_status(NodeHome(node.root)))


def wait_for(find: Callable[[], Value | None]) -> Value:
    """Ask until there is an answer."""
    deadline_s = time.monotonic() + DEADLINE_S
    while time.monotonic() < deadline_s:
        if found := find():
            return found
        threading.Event().wait(POLL_S)
    raise AssertionError("it never came to be")


def in_parallel(*calls: Callable[[], object]) -> None:
    """Call all at once."""
    with ThreadPoolExecutor() as pool:
        for done in [pool.submit(call) for call in calls]:
            done.result()


@contextmanager
def fake_town(root: Path) -> Iterator[FakeTown]:
    """A town that is up."""
    with closing_all() as opened:
        town = FakeTown(root=root, say=lambda _: None, opened=opened, settings=FAKE)
        town.begin()
        yield town


def _events(response: httpx.Response) -> Iterator[dict[str, Any]]:
    for line in response.iter_lines():
        content = line.removeprefix("data: ")
        if response.is_success and content and content != "[DONE]":
            yield json.loads(content)
