"""Writes of what has happened already: they are tried until the ledger takes them, because a disk may be full."""

import logging
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

import trio

from ..errors import LedgerError

ATTEMPTS_MAX: Final = 20
"""Attempts before a write is given up, where it may be."""

PAUSE_S: Final = 0.5
log = logging.getLogger(__name__)

Written = TypeVar("Written")
Write = Callable[[], Awaitable[None]]


async def insist(write: Callable[[], Awaitable[Written]], *, until: Callable[[], bool]) -> Written:
    """Write, and try again for as long as the ledger can't be written; `until` says that it may be given up.

    Raises:
        LedgerError: it may be given up, and ATTEMPTS_MAX attempts have failed.
    """
    num_failed = 0
    while True:
        try:
            return await write()
        except LedgerError as error:
            num_failed += 1
            if num_failed == 1 and not until():
                log.warning("%s; what has happened is kept in memory, and written once this is mended", error)
            if num_failed >= ATTEMPTS_MAX and until():
                raise
        await trio.sleep(PAUSE_S)


async def insist_or_leave(write: Write, *, until: Callable[[], bool]) -> None:
    """Write as `insist` does; log it if the write is given up."""
    try:
        await insist(write, until=until)
    except LedgerError as error:
        log.warning("the record of a request stays incomplete: %s", error)
