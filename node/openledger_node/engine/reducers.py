"""Reducers: taps of an answer, step by step, in; a few bytes that attribution needs, out.

Taps are thousands of numbers a token. They are reduced where they arise, so that only bytes leave the process.
"""

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from ..errors import NodeError
from .backend import Backend
from .frames import Reduced

if TYPE_CHECKING:
    from .taps import Taps

SIGNALS_MODULE = "openledger_node.attribution.signals.sums"
"""Imported by name at the first use, because attribution stands above the engine."""


class TapReducer(Protocol):
    """Sums over the tokens of one answer."""

    def add(self, taps: "Taps", token_id: int) -> None:
        """Add a token with the taps of the step that drew it."""

    def reduced(self) -> Reduced:
        """The signals of all tokens so far; empty if there are none, or a number is not finite."""


def open_reducer(folder: str, backend: Backend) -> TapReducer | None:
    """Open a reducer with the index of signals in an adapter's index folder.

    Returns:
        None if the backend has no taps, or there is no such index: the answer then has no signals.
    """
    if not backend.has_taps:
        return None
    try:
        reducer: TapReducer = import_module(SIGNALS_MODULE).open_reducer(Path(folder), backend)
    except NodeError:
        return None
    return reducer
