"""Supervision of the daemon's own development chain: its process is started again when it has ended."""

import logging
from typing import Final

import trio

from ...errors import ChainError
from .launch import Devnet

LOOK_S: Final = 0.5
RESTART_PAUSES_S: Final = (0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
LASTING_S: Final = 60.0
"""A chain that has run for so long counts as sound again."""

log = logging.getLogger(__name__)


async def keep_running(devnet: Devnet) -> None:
    """Start a chain again whenever its process ends; the pauses between attempts grow while it does not last."""
    num_failed, said = 0, ""
    while True:
        began_s = trio.current_time()
        while (status := devnet.status) is None:  # noqa: ASYNC110  # nothing tells when
            await trio.sleep(LOOK_S)
        if trio.current_time() - began_s >= LASTING_S:
            num_failed = 0
        if not said:
            log.warning("the development chain's process has ended with status %d: starting it again", status)
        await trio.sleep(RESTART_PAUSES_S[min(num_failed, len(RESTART_PAUSES_S) - 1)])
        num_failed += 1
        try:
            await trio.to_thread.run_sync(devnet.restart, abandon_on_cancel=True)
        except (ChainError, OSError) as error:
            if str(error) != said:
                log.warning("%s", error)
            said = str(error)
        else:
            said = ""
            log.warning("the development chain runs again; receipts and channels are as they were")
