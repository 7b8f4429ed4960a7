"""The parts of a daemon that stay while its base is changed."""

import logging
import socket
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass

from .access.keys import ApiKeyRing
from .access.listening import PLAIN, public_addresses
from .api.page import Sessions
from .api.server import bind_tcp, url_of
from .config import Config
from .engine.child import StartChild
from .home import Home
from .operator.base_pull import base_pulls
from .operator.base_switch import BaseSwitch
from .operator.event_watch import EventWatch
from .operator.pulls import Pulls

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class LastingParts:
    """The parts that stay while the base is changed, so that clients wait and the page stays signed in."""

    start_engine: StartChild
    ring: ApiKeyRing
    listener: socket.socket
    public: tuple[socket.socket, ...]  # for callers from other machines
    sessions: Sessions
    switch: BaseSwitch
    pulls: Pulls
    events: EventWatch


def lasting_parts(
    home: Home, config: Config, tell: Callable[[str], None], start_engine: StartChild, open_parts: ExitStack
) -> LastingParts:
    """Open the parts that stay until `open_parts` ends.

    Raises:
        ConfigError: an address can't be listened on, or the file of keys is damaged.
    """
    ring = ApiKeyRing(home)
    ring.all()  # a damaged file of keys ends the start, and not the first request
    listener = open_parts.enter_context(bind_tcp(config.api.host, config.api.port))
    fix = "stop what uses it, or change [api] listen to an address of this machine"
    public = [
        open_parts.enter_context(bind_tcp(each.host, each.port, fix=fix))
        for each in public_addresses(config.api, ring, takes_payments=config.gateway.takes_payments)
    ]
    for each in public:
        log.warning("the API also listens on %s, and %s", url_of(each), PLAIN)
    return LastingParts(
        start_engine=start_engine,
        ring=ring,
        listener=listener,
        public=tuple(public),
        sessions=Sessions(port=listener.getsockname()[1], now_s=time.monotonic),
        switch=BaseSwitch(home, config, tell),
        pulls=base_pulls(home),
        events=EventWatch(home.root),
    )
