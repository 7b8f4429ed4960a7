"""The story of `home.py --story`: two homes behind different routers, as their owners type it, with the seconds.

Each home is a user's folder with nothing in it but the demo base, which a first start would download. Nobody types a
peer id or an address of the other home. The output of each command is printed as it is.
"""

import json
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Final

from home_routers import Line, why_no_line
from home_terminal import DATA, Terminal
from home_web import CERTIFICATE, published
from home_world import Watch, World
from namespaces import forwarded

from openledger_node.demo.processes import DemoError, wait_for
from openledger_protocol.constants import DEMO_BASE_NAME

UP_TIMEOUT_S, HEARD_TIMEOUT_S, WAY_TIMEOUT_S, PAID_TIMEOUT_S = 240.0, 60.0, 30.0, 180.0
POLL_S: Final = 0.1
ADAPTER: Final = "harbour"
QUESTION: Final = "Who steers the ferry of Hollowbeck?"
ACCOUNTS: Final = {
    "ansel-larkspur": "0x70997970C51812dc3A010C7d01b50e0d17dc79C8",
    "bertram-hobb": "0x3C44CdDdB6a900fa2b585dd299e03d12FA4293BC",
    "rosalind-sedge": "0x90F79bf6EB2c4f870365E785982E1f101E93b906",
}
BODY: Final = {
    "model": ADAPTER,
    "stream": True,
    "temperature": 0,
    "messages": [{"role": "user", "content": QUESTION}],
}
CURL: Final = (
    "curl -sN http://127.0.0.1:8420/v1/chat/completions -H 'Content-Type: application/json' "
    f"-H \"Authorization: Bearer $(cat ~/{DATA}/keys/api.key)\" -d '{json.dumps(BODY)}'"
)
FIRST_TEXT: Final = r'"content": ?"[^"]'
Seconds = dict[str, float | None]


def why_no_story(base: Path, line: Line) -> str:
    """Return why this machine can't show the story; empty if it can."""
    if not (base / "base.json").exists():
        return f"the demo base is not in {base}: run `openledger-node models pull` with this OPENLEDGER_HOME"
    return why_no_line(line)


def tell_story(world: World, line: Line, base: Path) -> Seconds:
    """Play the story with the buyer on a line of this kind and the seller behind a router that keeps ports.

    Raises:
        DemoError: a command failed, or something did not happen in time.
    """
    with ExitStack() as stack:
        url = stack.enter_context(published(world.internet, world.folder, world.file))
        digest, began_s = sha256(world.file.read_bytes()).hexdigest(), time.monotonic()
        home = partial(at_home, world, base, began_s)
        seller = stack.enter_context(home("seller", Line.KEEPS_PORTS, 6))
        buyer = stack.enter_context(home("buyer", line, 8))
        join = f"openledger-node network join {url} --sha256 {digest} --yes"
        seller.type(join)
        seller.start("openledger-node start", timeout_s=UP_TIMEOUT_S)
        publish(seller)
        buyer.type(join)
        buyer.type("openledger-node network check")
        buyer.type("openledger-node config set node.serve false")
        seconds = meet(stack, seller, buyer)
        seconds |= buy(buyer)
        withdraw(seller)
    return seconds


@contextmanager
def at_home(world: World, base: Path, began_s: float, name: str, line: Line, number: int) -> Iterator[Terminal]:
    """The terminal of a home that knows nothing of the network, and has the demo base."""
    with ExitStack() as stack:
        machine, seen_as = stack.enter_context(world.internet.home(line, number))
        stack.enter_context(forwarded(machine, int(world.chain_url.rpartition(":")[2])))
        folder = world.folder / name
        shutil.copytree(base, folder / DATA / "models" / DEMO_BASE_NAME)
        (folder / DATA).chmod(0o700)
        terminal = Terminal(
            name=name,
            machine=machine,
            seen_as=seen_as,
            folder=folder,
            variables={"SSL_CERT_FILE": str(world.folder / CERTIFICATE)},
            began_s=began_s,
        )
        stack.callback(terminal.close)
        print(f"# {name}: {line.value} router, seen from outside as {seen_as}", flush=True)
        yield terminal


def publish(seller: Terminal) -> None:
    """Publish the sample's rows and adapter, which come with the node."""
    seller.type("openledger-node factory sample --out rows.jsonl --held-out held-out.jsonl")
    seller.type(f"openledger-node datanet create {ADAPTER} --licence CC0-1.0 --owner-share 10")
    accounts = " ".join(f"--account {name}={account}" for name, account in ACCOUNTS.items())
    said = seller.type(f"openledger-node datanet contribute {ADAPTER} rows.jsonl --yes {accounts}")
    batch = found_in(said, r"batch (0x[0-9a-f]+)")
    seller.type(f"openledger-node datanet approve {ADAPTER} {batch}")
    seller.type(f"openledger-node datanet publish {ADAPTER} --yes")
    seller.type(f"openledger-node adapters add --sample {ADAPTER}")
    seller.type(f"openledger-node adapters publish {ADAPTER} --yes")


def meet(stack: ExitStack, seller: Terminal, buyer: Terminal) -> Seconds:
    """Start the buyer's node, and note when it reaches the seller; seconds count from when it is up."""
    wallet = seller.node.status()["address"]
    seller.type("openledger-node status")
    ways = {
        way: Watch(partial(buyer.is_path, way, wallet), every_s=POLL_S) for way in ("relayed", "punched", "direct")
    }
    for watch in ways.values():
        stack.enter_context(watch)
    buyer.start("openledger-node start", timeout_s=UP_TIMEOUT_S)
    up_s = time.monotonic()

    def is_reached() -> bool:
        return any(watch.found_s for watch in ways.values())

    wait_for("the buyer reaches the seller", is_reached, timeout_s=HEARD_TIMEOUT_S)
    buyer.type("openledger-node peers list")
    found = {way: watch.found_s for way, watch in ways.items()}
    return {f"{way}_s": None if each is None else round(max(0.0, each - up_s), 2) for way, each in found.items()}


def buy(buyer: Terminal) -> Seconds:
    """Ask for an answer through the API, twice, and look at whom the first one pays."""
    first_s, said = buyer.ask(CURL, first=FIRST_TEXT)
    buyer.print_output(f"{said.splitlines()[0][:100]}…\n…\nits text: {answer_in(said)}")
    receipt = found_in(buyer.type("openledger-node attribution show"), r"(0x[0-9a-f]+)")
    buyer.type(f"openledger-node attribution show {receipt}")
    buyer.type(f"openledger-node attribution verify {receipt}")
    buyer.type("openledger-node channels list")
    again_s, said = buyer.ask(CURL, first=FIRST_TEXT)
    buyer.print_output(f"…\nits text: {answer_in(said)}")
    buyer.type("openledger-node peers list")
    return {"first_text_s": round(first_s, 2), "again_s": round(again_s, 2)}


def withdraw(seller: Terminal) -> None:
    """Claim, wait until the review period is over, and withdraw."""
    seller.type("openledger-node status")
    seller.type("openledger-node rewards claim")

    def is_credited() -> bool:
        return int(seller.node.ask("/money/rewards")["balance_wei"]) > 0

    wait_for("the seller is credited", is_credited, timeout_s=PAID_TIMEOUT_S)
    seller.type("openledger-node rewards show")
    seller.type("openledger-node rewards withdraw --yes")
    seller.type("openledger-node earnings")


def found_in(said: str, pattern: str) -> str:
    """Return what a command printed where the pattern has its group.

    Raises:
        DemoError: it printed nothing like it.
    """
    if found := re.search(pattern, said):
        return found[1]
    raise DemoError(f"nothing like {pattern} in: {said[:300]}")


def answer_in(stream: str) -> str:
    """The text of an answer from the lines of its stream."""
    lines = [line.removeprefix("data: ") for line in stream.splitlines() if line.startswith("data: {")]
    choices = [choice for line in lines for choice in json.loads(line).get("choices", [])]
    return "".join(choice.get("delta", {}).get("content") or "" for choice in choices)
