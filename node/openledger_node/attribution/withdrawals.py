"""Pay of withdrawn rows: it goes to the treasury from the moment that the chain states.

A receipt's own time decides which withdrawals it knows. Node and payer read both from the same places, so that they
find the same shares. The moment is two epochs after a withdrawal's block, when each of them has long read it.
"""

from collections.abc import Callable
from dataclasses import replace

from openledger_protocol.errors import AdapterRefusedError
from openledger_protocol.primitives import ZERO_ADDRESS, DatanetId
from openledger_protocol.withdrawal import NOTICE_EPOCHS

from ..datanets.withdrawn import Withdrawn, read_withdrawn
from ..ledger.events import EventRows
from .owners import OwnedDatanet


def without_withdrawn(datanet: OwnedDatanet, withdrawn: Withdrawn, at_s: int) -> OwnedDatanet:
    """Leave the rows that were withdrawn at `at_s` without an account; a copy of one is not paid in its place."""
    gone = {named for named, effective_at_s in withdrawn.items() if effective_at_s <= at_s}
    if not gone:
        return datanet
    rows = zip(datanet.accounts, datanet.firsts, strict=True)
    return replace(datanet, accounts=tuple(ZERO_ADDRESS if row in gone else row[0] for row in rows))


class WithdrawalView:
    """Withdrawals as the ledger has read them from final blocks, and the moment up to which none can be missing."""

    def __init__(
        self,
        events: EventRows,
        epoch_s: Callable[[], int],
        now_s: Callable[[], float],
        ask_final: Callable[[], int],
    ) -> None:
        self._events = events
        self._ask_final = ask_final
        self._epoch_s = epoch_s
        self._now_s = now_s
        self._read: tuple[int, float] | None = None  # the newest final block that was read, and the time of reading
        self._known: dict[DatanetId, Withdrawn] = {}  # up to that block

    def of(self, datanet_id: DatanetId) -> Withdrawn:
        """The withdrawn rows of a Datanet."""
        number, _ = self._look()
        if datanet_id not in self._known:
            self._known[datanet_id] = read_withdrawn(self._events, datanet_id, last=number)
        return self._known[datanet_id]

    def check_complete(self, at_s: float) -> None:
        """Check that no withdrawal that counts at `at_s` can be missing here.

        A quarter of the notice is left for blocks to become final and for clocks to differ. If the newest final block
        has been the same for longer, the chain is asked whether it still is, because some chains mine on demand.

        Raises:
            AdapterRefusedError: the chain was not read for too long.
            ChainError: the chain can't be asked.
        """
        number, read_s = self._look()
        if at_s - read_s <= NOTICE_EPOCHS * self._epoch_s() * 3 // 4:
            return
        if self._ask_final() == number:
            self._read = (number, self._now_s())
        else:
            raise AdapterRefusedError(
                "this node has not read a new block for so long that it may have missed withdrawals of rows: see the "
                "chain's state in `openledger-node status`, and try again once it is connected"
            )

    def _look(self) -> tuple[int, float]:
        # The first look counts as a reading, because a session begins only while its chain answers.
        number = self._events.finalized_number()
        if self._read is None or self._read[0] != number:
            self._read, self._known = (number, self._now_s()), {}
        return self._read


def pay_at(
    owned: tuple[OwnedDatanet, ...], withdrawn: Callable[[DatanetId], Withdrawn], at_s: int
) -> tuple[OwnedDatanet, ...]:
    """Apply the withdrawals of each Datanet to an adapter's rows, as a receipt of the second `at_s` has to."""
    return tuple(without_withdrawn(datanet, withdrawn(datanet.id), at_s) for datanet in owned)
