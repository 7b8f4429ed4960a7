"""A running node that offers x402, on a chain with the test contract, with a facilitator that really deposits."""

import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from openledger_node.chain.clients.evm import open_client
from openledger_node.chain.contracts import load_contract
from openledger_node.home import Home
from openledger_node.network_file import Network, join_network
from openledger_protocol.chain import ContractCall
from openledger_protocol.primitives import Wei
from openledger_protocol.signatures import address_of
from openledger_protocol.x402 import CONTRACT, x402_channel_from_plain

from .chain_world.deployed import deploy_over, send_call
from .chain_world.ways import served_chain
from .chain_world.x402_world import INTERFACE, x402_genesis
from .processes.nodes import Node, command_json, running_node, wait_for

KEY = b"\x31" * 32
PAYER = address_of(KEY)
OPEN = 10**18
SETTINGS = {
    "OPENLEDGER_GATEWAY_ENABLED": "true",
    "OPENLEDGER_GATEWAY_PRICE_IN_WEI": "1000",
    "OPENLEDGER_GATEWAY_PRICE_OUT_WEI": "4000",
    "OPENLEDGER_API_ORIGINS": "none",
}


@dataclass(frozen=True, kw_only=True)
class X402Site:
    """A node, its public address, and the chain that its payer pays on."""

    node: Node
    url: str
    network: Network
    rpc: str

    def payers(self) -> dict[str, Any]:
        """The answer of `gateway payers`."""
        return dict(command_json(self.node.home, "gateway", "payers"))

    def balance(self) -> int:
        """The OPEN of the node's wallet."""
        token = load_contract("OpenToken")
        with closing(open_client(self.rpc)) as client:
            call = ContractCall(
                to=self.network.contracts["OpenToken"], data=token.encode("balanceOf", self.payers()["pay_to"])
            )
            return int(token.decode_result("balanceOf", client.call(call)))


@contextmanager
def open_x402_site(root: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[X402Site]:
    """A node on the fake backend, with its terms on offer and a payer who has OPEN."""
    x402_genesis(monkeypatch)
    home = Home(root)
    with served_chain(genesis_s=int(time.time())) as rpc:
        network = deploy_over(rpc)
        join_network(home, network)
        with closing(open_client(rpc)) as client:
            token, address = load_contract("OpenToken"), network.contracts["OpenToken"]
            send_call(client, ContractCall(to=PAYER, value_wei=Wei(OPEN)))
            send_call(client, ContractCall(to=address, data=token.encode("transfer", PAYER, OPEN)))
            send_call(client, ContractCall(to=address, data=token.encode("approve", CONTRACT, OPEN)), key=KEY)
        port = free_port()
        settings = {
            **SETTINGS,
            "OPENLEDGER_NODE_NETWORK": network.network,
            "OPENLEDGER_API_LISTEN": f"127.0.0.1:{port}",
        }
        with (
            _facilitator(rpc) as url,
            running_node(home, "--backend", "fake", OPENLEDGER_GATEWAY_X402_FACILITATOR=url, **settings) as node,
        ):
            site = X402Site(node=node, url=f"http://127.0.0.1:{port}", network=network, rpc=rpc)
            wait_for(lambda: site.payers()["is_offered"] or None, within_s=120, why=lambda: str(site.payers()))
            yield site


def free_port() -> int:
    """A port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def _facilitator(rpc: str) -> Iterator[str]:
    """A facilitator that deposits what a payer has approved, and checks nothing."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            with closing(open_client(rpc)) as client:
                network = f"eip155:{client.chain_id()}"
            self._say(
                {"kinds": [{"x402Version": 2, "scheme": "batch-settlement", "network": network}], "extensions": []}
            )

        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if self.path == "/verify":
                self._say({"isValid": True})
                return
            payload = asked["paymentPayload"]["payload"]
            channel = x402_channel_from_plain(payload["channelConfig"])
            data = INTERFACE.encode("deposit", channel, int(payload["deposit"]["amount"]))
            with closing(open_client(rpc)) as client:
                digest = send_call(client, ContractCall(to=CONTRACT, data=data))
            self._say({"success": True, "transaction": digest})

        def log_message(self, *_: Any) -> None:
            pass

        def _say(self, content: dict[str, Any]) -> None:
            body = json.dumps(content).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def ask(site: X402Site, **headers: str) -> httpx.Response:
    """Ask for a short answer."""
    body = {"model": "fake", "prompt": "hello", "max_tokens": 8}
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx.post(f"{site.url}/v1/completions", json=body, headers=named, timeout=120)
