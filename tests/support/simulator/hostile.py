"""Hostile nodes, each kind a class: they use the network as they like, beside or in place of the real node's code."""

from collections.abc import Callable
from typing import Any

import trio

from openledger_node.errors import NetworkError
from openledger_node.p2p.transport import PeerId
from openledger_protocol.advertisement import sign_advertisement
from openledger_protocol.primitives import Digest
from openledger_protocol.wire.ads import ads_topic

from ..market_world.seller import ad_of
from ..market_world.terms import BASE, NETWORK, now_s, seed_of, word
from .node import SimNode

JUNK_EVERY_S, STALE_EVERY_S = 0.1, 2.0
SQUATTED = 60
"""Topics of made-up bases that one squatter follows."""


class Flooder(SimNode):
    """Publishes bytes that are no advertisement."""

    async def mischief(self) -> None:
        while True:
            await self._publish(self.random.randbytes(1_500))
            await trio.sleep(JUNK_EVERY_S)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Take part, and do mischief."""
        self.started_s = trio.current_time()
        async with trio.open_nursery() as nursery:
            await nursery.start(self.transport.run)
            nursery.start_soon(self.connections.run)
            nursery.start_soon(self.mischief)
            task_status.started()

    async def _publish(self, content: bytes) -> None:
        try:
            await self.transport.publish(ads_topic(NETWORK, BASE), content)
        except NetworkError:
            await trio.lowlevel.checkpoint()


class Stale(Flooder):
    """Publishes advertisements of its own that have expired, each signed well."""

    async def mischief(self) -> None:
        while True:
            await self._publish(sign_advertisement(ad_of(self.name, at_s=now_s() - 3_600), seed_of(self.name)))
            await trio.sleep(STALE_EVERY_S)


class Squatter(Flooder):
    """Follows topics of bases that nobody has, so that bootstrap nodes have no room for real ones."""

    async def mischief(self) -> None:
        for number in range(SQUATTED):
            self.transport.subscribe(
                ads_topic(NETWORK, Digest(word(f"{self.name} base {number}"))), lambda _, __: False
            )
        await trio.sleep_forever()


class Liar(SimNode):
    """Advertises half the usual price, and bids ten times as much."""

    def __init__(self, name: str, **options: Any) -> None:
        super().__init__(name, **{**options, "price": 0.5, "asks": 10.0})


class Cheater(SimNode):
    """Wins by its price, and never answers."""

    def __init__(self, name: str, **options: Any) -> None:
        super().__init__(name, **{**options, "price": 0.5})

    async def serve(self, peer_id: PeerId, stream: trio.abc.Stream) -> None:
        await trio.sleep_forever()


class Sybil(SimNode):
    """One of many peers of one /24 without a bond, at the lowest price, who do not answer either."""

    def __init__(self, name: str, **options: Any) -> None:
        super().__init__(name, **{**options, "price": 0.1})

    async def serve(self, peer_id: PeerId, stream: trio.abc.Stream) -> None:
        await trio.sleep_forever()


HOSTILE: dict[str, Callable[..., SimNode]] = {
    "flooder": Flooder,
    "stale": Stale,
    "liar": Liar,
    "cheater": Cheater,
    "sybil": Sybil,
    "squatter": Squatter,
}
