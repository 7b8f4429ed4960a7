"""Pulls of bases in the daemon, each in a process of its own."""

import time
from collections.abc import Callable
from typing import Final

from ..home import Home
from .pulls import Fetch, Hear, Kind, Order, Pulls, fetch_in_child

CHILD: Final = "openledger_node.operator.base_child"
KIND: Final = Kind(noun="base", names="OWNER/NAME, or the path of a folder or file")
ORDER_FILE: Final = ".pull.json"


def base_pulls(home: Home, *, fetch: Fetch | None = None, now_s: Callable[[], float] = time.monotonic) -> Pulls:
    """The pulls of bases into a data directory."""

    async def fetch_base(order: Order, hear: Hear) -> None:
        await fetch_in_child(CHILD, [str(home.root), order.name, *(["--anyway"] if order.anyway else [])], hear)

    return Pulls(KIND, home.models / ORDER_FILE, fetch or fetch_base, now_s=now_s)
