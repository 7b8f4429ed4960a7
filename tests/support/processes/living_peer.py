"""A peer in a process of its own, which takes orders from a test.

`python -m support.processes.living_peer FOLDER NETWORK LISTEN [BOOTSTRAP…]` prints a line of JSON with its addresses,
then answers one line of JSON with another. It keeps itself connected, echoes frames, and notes the gossip that it
hears.
"""

import json
import logging
import subprocess
import sys
from functools import cached_property
from pathlib import Path
from random import Random
from typing import Any

import trio

from openledger_node.p2p.address_book import AddressBook
from openledger_node.p2p.connections import Connections
from openledger_node.p2p.identity import ensure_identity
from openledger_node.p2p.streams import MessageStream
from openledger_node.p2p.transport import Gossip, PeerId, Transport
from openledger_node.plugs import load_plug
from support.peers import LOOPBACK, echo

ECHO, RAISING, DEAF, TOPIC = "/test/echo/1", "/test/raising/1", "/test/deaf/1", "/test/news/1"


class LivingPeer:
    """The other process, as a test uses it."""

    def __init__(
        self, folder: Path, network: str, *, listen: str = LOOPBACK[0], bootstrap: tuple[str, ...] = ()
    ) -> None:
        self.folder = folder
        words = [sys.executable, "-m", "support.processes.living_peer", str(folder), network, listen, *bootstrap]
        self.process = subprocess.Popen(
            words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2]
        )

    @cached_property
    def told(self) -> dict[str, Any]:
        """Its first line, once it is up; several start side by side until one is asked for this."""
        return self._answer()

    @property
    def peer_id(self) -> str:
        return self.told["peer_id"]

    @property
    def address(self) -> str:
        return self.told["addresses"][0]

    def __enter__(self) -> "LivingPeer":
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def ask(self, what: str, **words: str) -> Any:
        assert self.told
        assert self.process.stdin
        self.process.stdin.write(json.dumps({"do": what, **words}) + "\n")
        self.process.stdin.flush()
        return self._answer()

    def connected(self) -> set[str]:
        return {peer["peer_id"] for peer in self.ask("known") if peer["is_connected"]}

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()

    def _answer(self) -> Any:
        assert self.process.stdout
        line = self.process.stdout.readline()
        assert line, f"the peer in {self.folder} has ended with {self.process.wait()}"
        return json.loads(line)


async def main(folder: Path, network: str, listen: str, *bootstrap: str) -> None:
    transport: Transport = load_plug("transport", "libp2p")(
        identity=ensure_identity(folder), listen=(listen,), serve_rendezvous=True
    )
    connections = Connections(
        transport, network=network, bootstrap=bootstrap, book=AddressBook(folder), random=Random(str(folder))
    )
    for protocol, handler in ((ECHO, echo), (RAISING, _raise), (DEAF, _sleep)):
        transport.handle(protocol, handler)
    heard: list[Gossip] = []
    channel = transport.subscribe(TOPIC, lambda origin, content: content != b"lies")
    async with trio.open_nursery() as nursery:
        await nursery.start(transport.run)
        nursery.start_soon(_note, channel, heard)
        nursery.start_soon(connections.run)
        _say({"peer_id": transport.peer_id, "addresses": transport.addresses})
        while line := await trio.to_thread.run_sync(sys.stdin.readline, abandon_on_cancel=True):
            _say(await _do(transport, connections, heard, json.loads(line)))
        nursery.cancel_scope.cancel()


async def _do(transport: Transport, connections: Connections, heard: list[Gossip], told: dict[str, str]) -> Any:
    match told["do"]:
        case "known":
            return [
                {"peer_id": peer.peer_id, "learned_from": peer.learned_from, "is_connected": peer.is_connected}
                for peer in connections.known()
            ]
        case "publish":
            return await transport.publish(TOPIC, told["text"].encode())
        case "heard":
            return [[gossip.origin, gossip.content.decode()] for gossip in heard]
        case "echo":
            messages = MessageStream(await transport.open_stream(PeerId(told["peer"]), ECHO))
            await messages.send({"text": told["text"]})
            answer = await messages.receive()
            await messages.aclose()
            return answer["text"]
    raise AssertionError(told)


async def _raise(_: PeerId, stream: trio.abc.Stream) -> None:
    await stream.receive_some(1)
    raise ValueError("a handler with a mistake")


async def _sleep(_: PeerId, stream: trio.abc.Stream) -> None:
    await trio.sleep_forever()


async def _note(channel: "trio.MemoryReceiveChannel[Gossip]", heard: list[Gossip]) -> None:
    async for gossip in channel:
        heard.append(gossip)


def _say(answer: object) -> None:
    print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    logging.basicConfig(level=logging.CRITICAL)
    trio.run(main, Path(sys.argv[1]), *sys.argv[2:])
