"""Records of requests: a write is tried until the ledger takes it, because a disk may be full for a while."""

import logging
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

import trio

from openledger_protocol.errors import MalformedError, ProtocolError, UnavailableError

from ..contained import refusal_of
from ..errors import LedgerError
from ..ledger.jobs import DuplicateJobError

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


def why_broken_off(error: Exception, *, for_payer: bool) -> ProtocolError:
    """The refusal for a request that failed here: a peer learns that it failed, and not the paths of this machine."""
    return UnavailableError("this node has failed at this request: try again") if for_payer else refusal_of(error)


def why_not_begun(error: Exception) -> ProtocolError:
    """The refusal for a request whose record could not be begun."""
    return MalformedError(str(error)) if isinstance(error, DuplicateJobError) else UnavailableError(str(error))
