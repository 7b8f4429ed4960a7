"""Nodes whose shares this payer has found wrong: nothing is bought from them until the operator says otherwise."""

import time
from collections.abc import Callable

from openledger_protocol.errors import UnavailableError
from openledger_protocol.primitives import Address, Digest

from ..errors import NodeError
from ..ledger.audits import Audit
from ..ledger.ledger import Ledger
from ..text import rfc3339


class WrongShares:
    """Alarms about receipts with wrong shares, which the ledger keeps.

    An alarm ends when the operator forgives its node, or when a case about the receipt can no longer be opened.
    """

    def __init__(self, ledger: Ledger, *, now_s: Callable[[], float] = time.time) -> None:
        self._rows = ledger.audits
        self._events = ledger.events
        self._now_s = now_s
        self._alarms: list[Audit] = []
        self._challenged = set[Digest]()  # receipts that there is a case about

    @property
    def alerts(self) -> tuple[str, ...]:
        """Sentences for the operator, as of the last step."""
        return tuple(_alert(audit, is_challenged=audit.digest in self._challenged) for audit in self._alarms)

    def step(self) -> None:
        """Read the alarms, and which of them there are cases about.

        Raises:
            LedgerError: the ledger can't be read.
        """
        self._alarms = self._rows.alarms(int(self._now_s()))
        digests = {audit.digest for audit in self._alarms}
        self._challenged = {digest for digest in digests if self._events.find("Challenged", {"digest": digest})}

    def check(self, node: Address) -> None:
        """Require that there is no alarm about a node.

        Raises:
            UnavailableError: there is one.
        """
        self.step()
        if found := next((audit for audit in self._alarms if audit.node == node), None):
            raise UnavailableError(
                f"{node} signed wrong shares in receipt {found.digest}: nothing is bought from it until "
                f"`openledger-node attribution forgive {node}`"
            )

    def forgive(self, node: Address) -> int:
        """Buy from a node again, and return the number of alarms that this ends.

        Raises:
            NodeError: there is no alarm about it.
            LedgerError: the ledger can't be written.
        """
        num_forgiven = self._rows.forgive(node)
        self.step()
        if not num_forgiven:
            nodes = ", ".join(sorted({audit.node for audit in self._alarms})) or "none"
            raise NodeError(f"no wrong shares of {node} are known here, so there is nothing to forgive; of: {nodes}")
        return num_forgiven


def _alert(audit: Audit, *, is_challenged: bool) -> str:
    if is_challenged:
        case = "There is a case about it: `openledger-node attribution cases`"
    elif audit.is_too_long:
        case = "Its texts are too long for a case"
    else:
        case = (
            f"Its texts are kept, sealed, until {rfc3339(audit.until_s)}, whatever [payer] keep_texts_s says, for "
            f"`openledger-node attribution challenge {audit.digest}`"
        )
    return (
        f"{audit.node} signed wrong shares in receipt {audit.digest}: {audit.detail}. The receipt is not "
        f"countersigned, and nothing more is bought from this node until `openledger-node attribution forgive "
        f"{audit.node}`. {case}"
    )
