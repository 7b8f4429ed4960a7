"""Follows this machine into another network: a laptop in another Wi-Fi listens there without a restart."""

import logging
from collections.abc import Callable
from typing import Final

from ..beats import sleep_to_beat
from ..errors import NetworkError
from .own_host import LOOPBACK, own_host
from .scopes import host_of
from .transport import Transport

LOOK_S: Final = 10.0

log = logging.getLogger(__name__)


async def listen_where_this_machine_is(
    transport: Transport, *, port: int, find_host: Callable[[], str] = own_host
) -> None:
    """Listen on the address of this machine's default route too whenever it is another one, until cancelled.

    An address that this machine has lost is given up, so that no peer is told of it.

    `port` is the one of the settings; 0 is any free one.
    """
    said = ""
    while True:
        await sleep_to_beat(LOOK_S)
        host = find_host()
        if host == LOOPBACK:
            continue  # no network just now, and the same one may come back
        if host in map(host_of, transport.listening):
            await transport.close_lost()  # another interface may have gone since the last move
            continue
        try:
            await transport.listen_also(f"/ip4/{host}/tcp/{port}")
        except NetworkError as error:
            if str(error) != said:  # said once, and not at each look
                log.warning("this machine has moved to %s, and others can't reach it there: %s", host, error)
            said = str(error)
        else:
            log.info("this machine has moved, so the node listens on %s", host)
            said = ""
