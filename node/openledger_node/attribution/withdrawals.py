"""Pay of rows that their contributor has withdrawn: it goes to the treasury from the moment that the chain states.

A receipt's own time decides which withdrawals it knows. Node and payer read both from the same places, so that they
find the same shares. The moment is two epochs after a withdrawal's block, when each of them has long read it.
"""

import threading
from collections.abc import Callable
from dataclasses import replace
from math import inf

from openledger_protocol.errors import AdapterRefusedError
from openledger_protocol.primitives import ZERO_ADDRESS, DatanetId
from openledger_protocol.withdrawal import NOTICE_EPOCHS

from ..datanets.withdrawn import Withdrawn, add_earliest, read_withdrawn
from ..ledger.events import EventRows
from .owners import OwnedDatanet


def without_withdrawn(datanet: OwnedDatanet, withdrawn: Withdrawn, at_s: int) -> OwnedDatanet:
    """Leave the rows that were withdrawn at `at_s` without an account; a copy of one is not paid in its place."""
    if not withdrawn:
        return datanet
    rows = zip(datanet.accounts, datanet.firsts, strict=True)
    return replace(
        datanet, accounts=tuple(ZERO_ADDRESS if withdrawn.get(row, inf) <= at_s else row[0] for row in rows)
    )


BEHIND_MAX = 16
"""Final blocks that are still to be read where everything counts as read."""


class WithdrawalView:
    """Withdrawals as the ledger has read them from final blocks, and the moment up to which none can be missing.

    Any thread may call. None waits for another that asks the chain.
    """

    def __init__(
        self,
        events: EventRows,
        epoch_s: Callable[[], int],
        now_s: Callable[[], float],
        ask_final: Callable[[], int],
        ask_time_s: Callable[[int], int],
    ) -> None:
        self._events = events
        self._ask_final = ask_final
        self._ask_time_s = ask_time_s  # of the final block with a number; negative numbers have the time 0
        self._epoch_s = epoch_s
        self._now_s = now_s
        self._number: int | None = None  # of the newest final block that was read
        self._timed: int | None = None  # the block whose time was asked last
        self._complete_until_s = -inf
        self._known: dict[DatanetId, tuple[int, Withdrawn]] = {}  # each up to a block
        self._lock = threading.Lock()  # never held over a question to the chain

    def of(self, datanet_id: DatanetId) -> Withdrawn:
        """The withdrawn rows of a Datanet."""
        with self._lock:
            number = self._look()
            last, found = self._known.get(datanet_id, (-1, {}))
            if last < number:  # earlier ones are not read again: strangers may add any number of them
                newer = read_withdrawn(self._events, datanet_id, first=last + 1, last=number)
                if newer:
                    found = dict(found)  # others may be reading the one before
                    add_earliest(found, newer)
                self._known[datanet_id] = number, found
            return found

    def check_complete(self, at_s: float) -> None:
        """Check that no withdrawal that counts at `at_s` can be missing here.

        A withdrawal counts a notice after its block, so the time of the newest block that was read decides. A quarter
        of the notice is left for blocks to become final and for clocks to differ. If that block is older, the chain
        is asked whether it is still among the newest final ones, because some chains mine on demand.

        Raises:
            AdapterRefusedError: the chain was not read for too long.
            ChainError: the chain can't be asked.
        """
        with self._lock:
            number = self._look()
            until_s, is_timed = self._complete_until_s, number == self._timed
        if at_s <= until_s:
            return
        known_s = NOTICE_EPOCHS * self._epoch_s() * 3 // 4
        if not is_timed:
            until_s = self._ask_time_s(number) + known_s
        if at_s > until_s and 0 <= self._ask_final() - number <= BEHIND_MAX:
            until_s = self._now_s() + known_s
        with self._lock:
            if number == self._number:  # otherwise blocks were read meanwhile, or read again
                others_s = self._complete_until_s if self._timed == number else -inf  # of another thread's answer
                self._timed, self._complete_until_s = number, max(until_s, others_s)
        if at_s > until_s:
            raise AdapterRefusedError(
                "this node has not read a new block for so long that it may have missed withdrawals of rows: see the "
                "chain's state in `openledger-node status`, and try again once it is connected"
            )

    def _look(self) -> int:
        number = self._events.finalized_number()
        if (
            self._number is None or number < self._number
        ):  # blocks are read again, and their events are gone meanwhile
            self._timed, self._complete_until_s, self._known = None, -inf, {}
        self._number = number
        return number


def pay_at(
    owned: tuple[OwnedDatanet, ...], withdrawn: Callable[[DatanetId], Withdrawn], at_s: int
) -> tuple[OwnedDatanet, ...]:
    """Apply the withdrawals of each Datanet to an adapter's rows, as a receipt of the second `at_s` has to."""
    return tuple(without_withdrawn(datanet, withdrawn(datanet.id), at_s) for datanet in owned)
