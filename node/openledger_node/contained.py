"""Work for one request, run so that its failure ends that request and never the daemon."""

import logging
import traceback
from collections.abc import Awaitable, Callable
from typing import TypeVarTuple, Unpack

from openledger_protocol.errors import EngineFailedError, ProtocolError, UnavailableError

from .errors import NodeError, explain_disk

log = logging.getLogger(__name__)

Values = TypeVarTuple("Values")


async def contained(work: Callable[[Unpack[Values]], Awaitable[object]], *values: *Values) -> None:
    """Run `work` in a nursery that many requests share; log what it raises. A cancellation passes through."""
    try:
        await work(*values)
    except* Exception as group:
        for error in _leaves(group):
            log_failure(error)


def why_failed(error: Exception) -> NodeError | ProtocolError:
    """The failure of a request as its requester may see it."""
    if isinstance(error, ExceptionGroup):
        error = next(iter(_leaves(error)))
    if isinstance(error, NodeError | ProtocolError):
        return error
    if isinstance(error, OSError):
        return explain_disk(error)
    return EngineFailedError("this node has failed at this request: its log says why")


def refusal_of(error: Exception) -> ProtocolError:
    """The failure of a request as a refusal of the API."""
    why = why_failed(error)
    return why if isinstance(why, ProtocolError) else UnavailableError(str(why))


def log_failure(error: Exception) -> None:
    """Log the failure of a request: a sentence if it has one, else it is a mistake of ours.

    A refusal is not logged, because the requester has done what it is refused for.
    """
    if isinstance(error, ProtocolError):
        return
    if isinstance(error, NodeError | OSError):
        log.warning("a request has failed: %s", why_failed(error))
    else:
        log_mistake(error)


def log_mistake(error: Exception) -> None:
    """Log a mistake of ours with the places in its traceback; its message may hold values of a request."""
    if isinstance(error, ExceptionGroup):
        error = next(iter(_leaves(error)))
    places = "".join(traceback.format_tb(error.__traceback__))
    log.error("a request has failed by a mistake of this program: %s\n%s", type(error).__name__, places)


def _leaves(group: "ExceptionGroup[Exception]") -> "list[Exception]":
    leaves: list[Exception] = []
    for each in group.exceptions:
        leaves += _leaves(each) if isinstance(each, ExceptionGroup) else [each]
    return leaves
