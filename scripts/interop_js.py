"""js-libp2p as a buyer and as a seller: the programs in tests/interop, written from docs/reference/wire.md alone."""

import json
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Timer
from typing import Any

from eth_account import Account

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from network.replies import Reply
from network.running_network import RunningNetwork, ask, node_of, status_of, tell
from support.processes.nodes import wait_for

from openledger_node.chain.clients.evm import open_client
from openledger_node.chain.dev.faucet import fund
from openledger_node.demo.processes import OperatorHome, closing_all
from openledger_protocol.primitives import Address

PROGRAMS = Path(__file__).resolve().parents[1] / "tests" / "interop"
NODE_VERSION_MIN = 20
"""The packages from npm ask for node.js 20 at least."""

SETTINGS = {
    "OPENLEDGER_API_PORT": "0",
    "OPENLEDGER_INFERENCE_BACKEND": "fake",
    "OPENLEDGER_INFERENCE_BASE": "fake",
    "OPENLEDGER_P2P_LISTEN": "/ip4/127.0.0.1/tcp/0",
    "OPENLEDGER_PAYER_DEPOSIT_WEI": str(10**18),
}
COIN_WEI, OPEN_WEI = 10**18, 200 * 10**18
TOKENS = 100
PRICE_WEI = 10**15
PROGRAM_S, FOUND_S = 90.0, 60.0
"""The longest time for a program to end, and for a peer to be found."""

ADVERTISE_S = 15.0


def why_no_javascript() -> str:
    """The reason why this machine can't run the programs; empty if it can."""
    if shutil.which("npm") is None or shutil.which("node") is None:
        return "node.js and npm are not installed"
    version = subprocess.run(["node", "--version"], capture_output=True, text=True, check=True).stdout.strip()
    if int(version.removeprefix("v").partition(".")[0]) < NODE_VERSION_MIN:
        return f"node.js is {version}, and the packages need {NODE_VERSION_MIN} or later"
    return ""


@contextmanager
def javascript_checks() -> Iterator[dict[str, Callable[[], str]]]:
    """A js buyer pays a node of ours, and a node of ours pays a js seller; each check says what it found."""
    lock = PROGRAMS / "package-lock.json"
    if not (PROGRAMS / "node_modules").is_dir() or (PROGRAMS / "node_modules").stat().st_mtime < lock.stat().st_mtime:
        subprocess.run(["npm", "ci", "--silent"], cwd=PROGRAMS, check=True)
        os.utime(PROGRAMS / "node_modules")
    with tempfile.TemporaryDirectory(prefix="openledger-interop-") as folder, closing_all() as opened:
        network = RunningNetwork(root=Path(folder), opened=opened, settings=SETTINGS)
        network.begin_chain()
        seller, buyer = network.start_node("a"), network.start_node("r", OPENLEDGER_NODE_SERVE="false")
        wait_for(lambda: seller.is_up() and buyer.is_up())
        wait_for(lambda: any(each["serves"] for each in ask(buyer, "peers")["peers"]))  # the seller advertises

        def sell(*flags: str) -> str:
            tell(seller, "/pause")
            return sell_by_javascript(network, buyer, *flags)

        yield {
            "js buys of a node": lambda: buy_by_javascript(network, seller),
            "a node buys of js": sell,
            "a node buys of js over a relay": lambda: sell("--relayed"),
        }


def buy_by_javascript(network: RunningNetwork, seller: OperatorHome) -> str:
    """Have the js buyer buy one answer; the node must know the receipt, countersigned."""
    with program(network, "buyer.mjs", PAYER_KEY=funded_key(network)) as buyer:
        assert read_line(buyer)["found"] == status_of(seller)["peer_id"], "the buyer finds the seller by rendezvous"
        with advertising(seller):
            assert read_line(buyer)["heard"], "the buyer hears the seller's advertisement"
        bought = read_line(buyer)
    assert len(bought["text"]) == TOKENS, f"{bought}"
    assert bought["vouchers"] > 1, f"{bought}"

    def find() -> dict[str, Any] | None:
        receipts = ask(seller, "receipts", limit=20)["receipts"]
        return next((each for each in receipts if each["digest"] == bought["digest"]), None)

    wait_for(lambda: (found := find()) and found["is_countersigned"], within_s=FOUND_S)
    return f"{bought['vouchers']} vouchers, {bought['amount_wei']} wei, receipt {bought['digest'][:12]} countersigned"


@contextmanager
def advertising(seller: OperatorHome) -> Iterator[None]:
    """Have a seller advertise again and again until the block ends, since an advertisement may get lost."""
    is_over = Event()

    def repeat() -> None:
        while True:
            price_wei = PRICE_WEI + secrets.randbelow(PRICE_WEI)  # a new one, so that the seller advertises at once
            tell(seller, "/price", price_wei=str(price_wei))
            if is_over.wait(ADVERTISE_S):
                return

    with ThreadPoolExecutor(1) as pool:
        repeating = pool.submit(repeat)
        try:
            yield
        finally:
            is_over.set()
        repeating.result()


def sell_by_javascript(network: RunningNetwork, buyer: OperatorHome, *flags: str) -> str:
    """Have a node buy one answer of the js seller; the node's receipt must be the one that the seller signed."""
    with program(network, "seller.mjs", *flags, SELLER_KEY=funded_key(network)) as seller:
        told = read_line(seller)

        def find() -> dict[str, Any] | None:
            return next((each for each in ask(buyer, "peers")["peers"] if each["peer_id"] == told["peer_id"]), None)

        wait_for(lambda: (found := find()) and found["serves"], within_s=FOUND_S)
        reply = Reply(max_tokens=TOKENS)
        reply.read(node_of(buyer))
        assert reply.is_whole, f"{reply}"
        sold = read_line(seller)
        assert sold["text"] == reply.text, f"{sold} is not {reply.text!r}"
        path = (find() or {}).get("path")
        assert path == ("relayed" if flags else "direct"), f"the way to the seller was {path}"
        verified = ask(buyer, "verify", receipt=sold["digest"])
        wrong = [each["what"] for each in verified["checks"] if each["holds"] is False]
        assert (verified["holds"], wrong) == (True, []), f"{wrong} do not hold"
        holds = [each["what"] for each in verified["checks"] if each["holds"]]
        return f"{sold['tokens']} tokens, {sold['amount_wei']} wei, {path}, {len(holds)} checks of the receipt hold"


@contextmanager
def program(network: RunningNetwork, *words: str, **environment: str) -> Iterator["subprocess.Popen[str]"]:
    """Run a program until the block ends, or for `PROGRAM_S` at most."""
    name, *flags = words
    with subprocess.Popen(
        ["node", name, str(network.network_file), *flags],
        cwd=PROGRAMS,
        env=os.environ | environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        killer = Timer(PROGRAM_S, process.kill)
        killer.start()
        try:
            yield process
        finally:
            killer.cancel()
            process.kill()


def read_line(process: "subprocess.Popen[str]") -> dict[str, Any]:
    """The next line of JSON that a program prints."""
    assert process.stdout
    line = process.stdout.readline()
    assert line != "", "the program ended too early, or was too slow: its last words are above"
    found: dict[str, Any] = json.loads(line)
    return found


def funded_key(network: RunningNetwork) -> str:
    """A new key whose account has coins and OPEN."""
    key = secrets.token_bytes(32)
    client = open_client(network.network.rpc[0])
    try:
        account = Address(Account.from_key(key).address)
        fund(client, network.network, account, coin_wei=COIN_WEI, open_wei=OPEN_WEI)
    finally:
        client.close()
    return "0x" + key.hex()
