"""Costs of answers that other nodes give, read from the ledger and told to the caller."""

from collections.abc import Sequence
from typing import Final

import trio

from openledger_protocol.primitives import Wei

from ..market.router import RemoteRequest, Router
from ..serving.service import Outcome

BILL_S: Final = 5.0
"""An answer does not wait longer for its cost, such as while the disk is full."""


class Bill:
    """The cost of one bought answer, known as soon as it has ended."""

    def __init__(self) -> None:
        self.cost_wei: Wei | None = None  # None: not known, or not yet
        self._is_written = trio.Event()

    def write(self, cost_wei: Wei | None) -> None:
        """Tell the cost; None: the ledger could not be read."""
        self.cost_wei = cost_wei
        self._is_written.set()

    @property
    def is_written(self) -> bool:
        """True once the cost is known, or is known to stay unknown."""
        return self._is_written.is_set()

    async def read(self) -> Wei | None:
        """Wait for the cost; None if it is not known in time."""
        with trio.move_on_after(BILL_S):
            await self._is_written.wait()
        return self.cost_wei


def cost_fields(costs_wei: Sequence[Wei | None]) -> dict[str, str | None]:
    """The field of `usage` with the cost of a request's answers together.

    It is not named `cost`, which OpenRouter has in dollars and programs show so.
    """
    known = [wei for wei in costs_wei if wei is not None]
    return {"cost_wei": str(sum(known)) if len(known) == len(costs_wei) else None}


async def answer_and_bill(
    router: Router, admitted: RemoteRequest, send: "trio.MemorySendChannel[Outcome]", bill: Bill
) -> None:
    """Buy an answer, and write its bill by the ledger, however it ends."""
    cost_wei: Wei | None = None
    try:
        await router.handle(admitted, send)
    finally:
        with trio.CancelScope(shield=True):
            try:
                cost_wei = await router.cost_of(admitted.request.request_id)
            finally:
                bill.write(cost_wei)
