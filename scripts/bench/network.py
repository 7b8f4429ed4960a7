"""A network of nodes on one machine: time to discovery, calls served, and the cost of an idle node.

The network has one chain, one bootstrap node, N nodes that sell answers of the fake engine, and one requester. Each
node is a process with its own data directory, and knows only network.json. `--json` prints one object on the last
line; `--quick` is a short form whose figures mean nothing.
"""

import argparse
import json
import os
import platform
import secrets
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from random import SystemRandom
from typing import Any

import httpx
import trio

from openledger_node import __version__
from openledger_node.api_key import load_api_key
from openledger_node.demo.processes import OperatorHome, Process, closing_all, wait_for
from openledger_node.home import Home as NodeHome
from openledger_node.ledger.peers import Peers
from openledger_node.market.advertiser import Advertiser
from openledger_node.market.board import AdTable
from openledger_node.market.calls import call_all, tell_all
from openledger_node.models.bases import FAKE_BASE
from openledger_node.network_file import network_id_for_development, read_network
from openledger_node.p2p.address_book import AddressBook
from openledger_node.p2p.connections import Connections
from openledger_node.p2p.transport import PeerId, Transport
from openledger_node.plugs import load_plug
from openledger_protocol.auction import Bid, award
from openledger_protocol.constants import PPM
from openledger_protocol.primitives import BASE_ONLY, Digest, RequestId, Wei
from openledger_protocol.wire.frames import wire_name
from openledger_protocol.wire.market import Call

NODES, QUICK_NODES = 12, 4
CALLS, QUICK_CALLS, CALLS_AT_ONCE = 60, 12, 6
AUCTIONS, QUICK_AUCTIONS = 40, 5
IDLE_S, QUICK_IDLE_S = 20.0, 5.0
SETTLE_S, QUICK_SETTLE_S = 30.0, 2.0
"""Wait before idle processes are measured; until then nodes still query each other, and bonds become final."""

STARTING_AT_ONCE = 4
"""Starts at once. A start is seconds of imports, so twelve at once on two cores would measure only themselves."""

UP_TIMEOUT_S, FOUND_TIMEOUT_S, CALL_TIMEOUT_S = 120.0, 60.0, 60.0
ANSWER_TOKENS = 24
BID_TIMEOUT_S, CANDIDATES_MAX = 1.5, 8
CEILING_WEI = Wei(10**18)
LOOPBACK = "/ip4/127.0.0.1/tcp/0"
SETTINGS = {
    "OPENLEDGER_API_PORT": "0",
    "OPENLEDGER_INFERENCE_BACKEND": "fake",
    "OPENLEDGER_INFERENCE_BASE": "fake",
    "OPENLEDGER_P2P_LISTEN": LOOPBACK,
}
MIB = 2**20


class Town:
    """All processes of the network."""

    def __init__(self, root: Path, opened: list[Any]) -> None:
        self._root = root
        self._opened = opened
        host = self._home("host", {})
        self.chain: Process = self._started(host.start("devnet", "start", "--port", "0", "--json"))
        chain = self.chain.read_object()
        name = network_id_for_development(Digest(chain["genesis_hash"]))
        words = ["--network", name, "--listen", LOOPBACK, "--json"]
        self.point: Process = self._started(host.start("peers", "bootstrap", *words))
        self.file = root / "network.json"
        meet = [word for address in self.point.read_object()["addresses"] for word in ("--bootstrap", address)]
        host.run("network", "init", "--rpc", chain["url"], "--out", str(self.file), "--yes", *meet)
        self.engine = chain["engine"]
        self.network = read_network(self.file)
        self.sellers: list[OperatorHome] = []

    def add_nodes(self, count: int) -> None:
        """Start `count` sellers and one requester, a few at a time."""
        self.sellers = [self._home(f"node-{number}", SETTINGS) for number in range(1, count + 1)]
        self.asker = self._home("asker", {**SETTINGS, "OPENLEDGER_NODE_SERVE": "false"})
        with ThreadPoolExecutor(STARTING_AT_ONCE) as pool:
            list(pool.map(self._bring_up, self.nodes))

    @property
    def nodes(self) -> list[OperatorHome]:
        """All nodes that run a daemon."""
        return [*self.sellers, self.asker]

    def wait_until_found(self) -> None:
        """Wait until every node knows every other seller as serving."""
        ids = {home.name: ask(home, "/status")["peer_id"] for home in self.nodes}
        wanted = {ids[home.name] for home in self.sellers}
        for home in self.nodes:
            others = wanted - {ids[home.name]}
            what = f"{home.name} knows all {len(others)} sellers"
            wait_for(what, lambda h=home, o=others: o <= serving(h), timeout_s=FOUND_TIMEOUT_S)

    def num_connections(self) -> list[int]:
        """Connections of each node, including the bootstrap node."""
        return [sum(peer["is_connected"] for peer in peers(home)) for home in self.nodes]

    def _bring_up(self, home: OperatorHome) -> None:
        home.run("network", "join", str(self.file), "--yes")
        home.start_daemon()
        wait_for(f"{home.name} is up", lambda: is_up(home), timeout_s=UP_TIMEOUT_S)

    def _home(self, name: str, settings: dict[str, str]) -> OperatorHome:
        home = OperatorHome(name, self._root / name, settings)
        self._opened.append(home)
        return home

    def _started(self, process: Process) -> Process:
        self._opened.append(process)
        return process


def ask(home: OperatorHome, path: str, words: dict[str, Any] | None = None) -> Any:
    """Send a request to a daemon's control socket from this process; a request with a body is a POST."""
    socket = str(NodeHome(home.root).socket)
    with httpx.Client(transport=httpx.HTTPTransport(uds=socket), timeout=60) as client:
        response = client.request("GET" if words is None else "POST", f"http://node{path}", json=words)
        response.raise_for_status()
        return response.json()


def is_up(home: OperatorHome) -> bool:
    assert home.daemon is not None
    if not home.daemon.is_alive:
        raise SystemExit(f"{home.name} ended: {home.daemon.last_words()}")
    try:
        status = ask(home, "/status")
    except httpx.HTTPError:
        return False
    return status["state"] in ("idle", "serving") and status["chain"] == "ok" and status["peer_id"] is not None


def peers(home: OperatorHome) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = ask(home, "/money/peers", {})["peers"]
    return found


def serving(home: OperatorHome) -> set[str]:
    return {peer["peer_id"] for peer in peers(home) if peer["serves"]}


# ---- what processes cost


def cpu_s(process_id: int) -> float:
    """CPU time of a process since its start, including ended threads, in ticks of 10 ms."""
    fields = Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def rss_mib(process_id: int) -> float:
    lines = Path(f"/proc/{process_id}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 / MIB for line in lines if line.startswith("VmRSS"))


def pss_mib(process_id: int) -> float:
    """Memory of a process, with its proportional part of shared pages."""
    lines = Path(f"/proc/{process_id}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 / MIB for line in lines if line.startswith("Pss:"))


def worker_of(process: Process) -> int:
    """The process that does a command's work: its child, which ends with it."""
    threads = Path(f"/proc/{process.process_id}/task").glob("*/children")
    return next((int(child) for thread in threads for child in thread.read_text().split()), process.process_id)


def daemon_id(home: OperatorHome) -> int:
    assert home.daemon is not None
    return home.daemon.process_id


def engine_id(home: OperatorHome) -> int:
    found: int = ask(home, "/status")["engine"]["process_id"]
    return found


def measure_idle(town: Town, idle_s: float) -> dict[str, Any]:
    """CPU share and memory of processes without any requests."""
    groups = {
        "daemon": [daemon_id(home) for home in town.nodes],
        "engine": [engine_id(home) for home in town.sellers],
        "chain": [worker_of(town.chain)],
        "point": [worker_of(town.point)],
    }
    load, began_s = os.getloadavg()[0], time.monotonic()
    before = {one: cpu_s(one) for ids in groups.values() for one in ids}
    time.sleep(idle_s)
    took_s = time.monotonic() - began_s
    percent = {
        name: [round(100 * (cpu_s(one) - before[one]) / took_s, 2) for one in ids] for name, ids in groups.items()
    }
    memory = {name: [round(rss_mib(one), 1) for one in ids] for name, ids in groups.items()}
    shared = {name: [round(pss_mib(one), 1) for one in ids] for name, ids in groups.items()}
    return {"load": load, "cpu_percent": percent, "rss_mib": memory, "pss_mib": shared}


# ---- calls


def measure_calls(town: Town, count: int) -> dict[str, Any]:
    """Send requests through one node's own API, several at once."""
    url, key = ask(town.asker, "/status")["api"]["url"], load_api_key(NodeHome(town.asker.root))
    load, began_s = os.getloadavg()[0], time.monotonic()
    headers = {"Authorization": f"Bearer {key}"}
    with (
        httpx.Client(base_url=url, headers=headers, timeout=CALL_TIMEOUT_S) as client,
        ThreadPoolExecutor(CALLS_AT_ONCE) as pool,
    ):
        answers = list(pool.map(lambda number: ask_once(client, number), range(count)))
    errors = [why for _, why in answers if why]
    return {
        "load": load,
        "asked": count,
        "served": count - len(errors),
        "errors": errors[:5],
        "answer_ms": [round(took_ms) for took_ms, why in answers if not why],
        "wall_s": round(time.monotonic() - began_s, 2),
        "answered_by": answered_by(town),
    }


def ask_once(client: httpx.Client, number: int) -> tuple[float, str | None]:
    body = {
        "model": FAKE_BASE.name,
        "messages": [{"role": "user", "content": f"question {number} of a bench..."}],
        "max_tokens": ANSWER_TOKENS,
    }
    began_s = time.monotonic()
    try:
        response = client.post("/v1/chat/completions", json=body)
    except httpx.HTTPError as error:
        return 0.0, repr(error)
    took_ms = 1000 * (time.monotonic() - began_s)
    if response.status_code != 200:
        return took_ms, response.text[:200]
    tokens = response.json()["usage"]["completion_tokens"]
    return took_ms, None if tokens == ANSWER_TOKENS else f"an answer of {tokens} tokens"


def answered_by(town: Town) -> dict[str, int]:
    """The number of receipts that each seller has signed."""
    words = {"limit": CALLS}
    found = {home.name: len(ask(home, "/money/receipts", words)["receipts"]) for home in town.sellers}
    return {name: count for name, count in found.items() if count}


# ---- auctions


async def measure_auctions(town: Town, count: int, folder: Path) -> dict[str, Any]:
    """Run auctions as a requester does, one after the other, from a peer in this process."""
    network = town.network.network
    transport: Transport = load_plug("transport", "libp2p")(
        identity=secrets.token_bytes(32), listen=(LOOPBACK,), serve_rendezvous=False
    )
    keeper = Connections(
        transport,
        network=network,
        bootstrap=town.network.bootstrap,
        book=AddressBook(folder),
        random=SystemRandom(),
    )
    board = AdTable(network, time.time, NoSeqs(), own=transport.peer_id)
    listener = Advertiser(
        network=network,
        transport=transport,
        table=board,
        peers=NoSeqs(),
        seed=secrets.token_bytes(32),
        snapshot=lambda: None,
        base=lambda: FAKE_BASE.digest,
        now_ns=time.time_ns,
    )
    load, took_ms, num_bids = os.getloadavg()[0], list[float](), list[int]()
    async with trio.open_nursery() as nursery:
        await nursery.start(transport.run)
        nursery.start_soon(keeper.run)
        await nursery.start(listener.run)
        with trio.fail_after(FOUND_TIMEOUT_S):
            while len(board.offers(FAKE_BASE.digest, BASE_ONLY)) < len(town.sellers):  # noqa: ASYNC110
                await trio.sleep(0.1)
        for _ in range(count):
            began_s = trio.current_time()
            num_bids.append(await hold_auction(transport, board, network))
            took_ms.append(1000 * (trio.current_time() - began_s))
        nursery.cancel_scope.cancel()
    return {"load": load, "award_ms": [round(each, 1) for each in took_ms], "bids": num_bids}


async def hold_auction(transport: Transport, board: AdTable, network: str) -> int:
    """Send one call to as many nodes as a requester does, award it, and return the number of bids."""
    ads = board.offers(FAKE_BASE.digest, BASE_ONLY)
    SystemRandom().shuffle(ads)
    call = Call(
        id=RequestId("0x" + secrets.token_hex(32)),
        base=FAKE_BASE.digest,
        adapter=BASE_ONLY,
        tokens_in=20,
        tokens_max=ANSWER_TOKENS,
        price_in_max=CEILING_WEI,
        price_out_max=CEILING_WEI,
        deadline_ms=int(BID_TIMEOUT_S * 1000),
    )
    protocol = wire_name(network, "call")
    bids = await call_all(transport, protocol, call, ads[:CANDIDATES_MAX], timeout_s=BID_TIMEOUT_S)
    given = [Bid(peer_id=one.peer_id, message=one.message, trust_ppm=PPM) for one in bids.received]
    winner = award(call, given)[0].peer_id
    await tell_all(bids, call, PeerId(winner), {})
    return len(bids.received)


class NoSeqs(Peers):
    """A store of sequence numbers that keeps nothing, because nothing restarts here."""

    def __init__(self) -> None:
        pass

    def seqs(self) -> dict[str, int]:
        """Return None."""
        return {}

    def keep_seqs(self, seqs: Any, *, now_ns: int) -> None:
        """Keep nothing."""


# ---- all of it


def measure(num_nodes: int, *, is_quick: bool, say: Callable[[str], None]) -> dict[str, Any]:
    load, started_s = os.getloadavg()[0], time.monotonic()
    with tempfile.TemporaryDirectory(prefix="openledger-bench-") as folder, closing_all() as opened:
        town = Town(Path(folder), opened)
        town.add_nodes(num_nodes)
        up_s = time.monotonic()
        say(f"{num_nodes} nodes that sell and one that asks are up after {up_s - started_s:.1f} s")
        runs: dict[str, Any] = {"nodes": num_nodes, "chain": town.engine, "up_s": round(up_s - started_s, 1)}
        with noted(runs, "discovery", say) as found:
            town.wait_until_found()
            found["s"] = round(time.monotonic() - up_s, 2)
            found["connections"] = town.num_connections()
        time.sleep(QUICK_SETTLE_S if is_quick else SETTLE_S)
        with noted(runs, "idle", say) as found:
            found.update(measure_idle(town, QUICK_IDLE_S if is_quick else IDLE_S))
        with noted(runs, "auctions", say) as found:
            num_auctions = QUICK_AUCTIONS if is_quick else AUCTIONS
            found.update(trio.run(measure_auctions, town, num_auctions, Path(folder) / "caller"))
        with noted(runs, "calls", say) as found:
            found.update(measure_calls(town, QUICK_CALLS if is_quick else CALLS))
    runs["wall_s"] = round(time.monotonic() - started_s, 1)
    return {"bench": "network", "quick": is_quick, "bars": bars_of(runs), "env": environment(load), "runs": runs}


@contextmanager
def noted(runs: dict[str, Any], name: str, say: Callable[[str], None]) -> Iterator[dict[str, Any]]:
    """Keep a part's result, or its error, so that the other parts are still measured."""
    found: dict[str, Any] = {"load": os.getloadavg()[0]}
    try:
        yield found
    except Exception as error:
        found["why"] = f"{type(error).__name__}: {error}"
    runs[name] = found
    say(f"{name}: {json.dumps(found)}")


def bars_of(runs: dict[str, Any]) -> list[dict[str, Any]]:
    found, calls, auctions, idle = (runs[name] for name in ("discovery", "calls", "auctions", "idle"))
    asked = calls.get("asked", CALLS)
    cpu, memory = idle.get("cpu_percent", {}).get("daemon"), idle.get("rss_mib", {}).get("daemon")
    awards = auctions.get("award_ms")
    spread = f"{max(cpu)} at most" if cpu else ""
    shared = idle.get("pss_mib", {}).get("daemon")
    own = f"the daemon without its engine; {mean(shared):.0f} if what processes share is divided" if shared else ""
    return [
        bar("discovery_s", found.get("s"), "s", 15, 5, why=found.get("why", "")),
        bar("calls_served", calls.get("served"), f"of {asked}", asked, asked, "higher", why=calls.get("why", "")),
        bar("call_to_award_ms_p95", percentile(awards), "ms", 1500, 600, why=auctions.get("why", "")),
        bar("idle_cpu_percent_per_node", mean(cpu), "%", 1, 0.5, why=idle.get("why", spread)),
        bar("rss_mb_per_node", mean(memory), "MiB", 120, 90, why=idle.get("why", own)),
    ]


def bar(
    id: str, value: float | None, unit: str, goal: float, stretch: float, better: str = "lower", *, why: str
) -> dict[str, Any]:
    is_met = value is not None and (value <= goal if better == "lower" else value >= goal)
    rounded = None if value is None else round(value, 3)
    named = {"id": id, "value": rounded, "unit": unit, "goal": goal, "stretch": stretch}
    return {**named, "better": better, "met": is_met, "why": why}


def mean(values: list[float] | None) -> float | None:
    return statistics.mean(values) if values else None


def percentile(values: list[float] | None, part: float = 0.95) -> float | None:
    return sorted(values)[min(len(values) - 1, int(part * len(values)))] if values else None


def environment(load: float) -> dict[str, Any]:
    names = ("openledger-node", "libp2p", "trio")
    versions = {"python": platform.python_version(), **{name: version(name) for name in names[1:]}}
    return {
        "cpu": platform.processor() or platform.machine(),
        "threads": os.cpu_count(),
        "load": load,
        "versions": {names[0]: __version__, **versions},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object on the last line")
    parser.add_argument("--quick", action="store_true", help="the short form")
    parser.add_argument("--nodes", type=int, help=f"number of sellers; default: {NODES}")
    words = parser.parse_args()
    num_nodes = words.nodes or (QUICK_NODES if words.quick else NODES)
    found = measure(num_nodes, is_quick=words.quick, say=lambda line: print(line, flush=True))
    for entry in found["bars"]:
        print(f"{entry['id']}: {entry['value']} {entry['unit']} (goal {entry['goal']}) {entry['why']}".rstrip())
    if words.json:
        print(json.dumps(found))


if __name__ == "__main__":
    main()
