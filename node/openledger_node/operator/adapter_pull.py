"""Pulls of adapters in the daemon: from peers over the network, or from the Hugging Face hub in a child process."""

import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Final

import trio

from openledger_protocol.errors import UnknownModelError

from ..home import Home
from ..models.adapter_hub import discard_partial, is_hub_name
from ..models.bases import Base
from .pulls import DOWNLOADING, Hear, Kind, Order, Pulls, fetch_in_child

CHILD: Final = "openledger_node.operator.adapter_child"
NAMES: Final = "a name that peers offer, an adapter's id, or OWNER/NAME of the Hugging Face hub"
FACTS: Final = ("digest", "received_bytes", "from_peer", "made_for", "missing_versions")
ORDER_FILE: Final = ".pull.json"

RESUME_S: Final = 120.0
"""Time for the peers' advertisements to arrive after a start, before a resumed pull gives up."""

ASK_AGAIN_S: Final = 3.0

FromPeers = Callable[[str, Callable[[int, int], None]], Awaitable[dict[str, Any]]]
"""Fetches an adapter from peers by its name; the second argument gets the bytes that are here, and of all."""


def adapter_pulls(
    home: Home, base: Base, from_peers: FromPeers, *, now_s: Callable[[], float] = time.monotonic
) -> Pulls:
    """The pulls of adapters for the base that is served."""

    async def fetch_adapter(order: Order, hear: Hear) -> None:
        if is_hub_name(order.name):
            await fetch_in_child(CHILD, [str(home.root), order.name, base.name], hear)
        else:
            await _fetch_from_peers(from_peers, order, hear)

    def discard(order: Order) -> None:
        if is_hub_name(order.name):
            discard_partial(home, order.name)

    kind = Kind(noun="adapter", names=NAMES, facts=FACTS, discard=discard)
    return Pulls(kind, home.adapters / ORDER_FILE, fetch_adapter, now_s=now_s)


async def _fetch_from_peers(from_peers: FromPeers, order: Order, hear: Hear) -> None:
    hear({"what": "asking peers", "done": 0, "total": 1})
    ends_s = trio.current_time() + (RESUME_S if order.is_resumed else 0)
    while True:
        try:
            found = await from_peers(order.name, partial(_tell_progress, hear))
            break
        except UnknownModelError:
            if trio.current_time() >= ends_s:
                raise
            await trio.sleep(ASK_AGAIN_S)
    facts = {name: found[name] for name in ("adapter", "digest", "from_peer", "missing_versions")}
    hear({**facts, "received_bytes": found["bytes"]})


def _tell_progress(hear: Hear, done: int, total: int) -> None:
    hear({"what": DOWNLOADING, "done": done, "total": total})
