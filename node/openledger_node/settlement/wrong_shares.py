"""Nodes whose shares this payer has found wrong: nothing is bought from them until the operator says otherwise."""

import time
from collections.abc import Callable

from openledger_protocol.errors import UnavailableError
from openledger_protocol.primitives import Address

from ..errors import NodeError
from ..ledger.audits import Audit
from ..ledger.ledger import Ledger
from ..text import rfc3339


class WrongShares:
    """Alarms about receipts with wrong shares, which the ledger keeps.

    An alarm ends when the operator forgives its node, or when the node's stake no longer answers for the receipt.
    """

    def __init__(self, ledger: Ledger, *, now_s: Callable[[], float] = time.time) -> None:
        self._rows = ledger.audits
        self._now_s = now_s
        self._alarms: list[Audit] = []

    @property
    def alerts(self) -> tuple[str, ...]:
        """Sentences for the operator, as of the last step."""
        return tuple(_alert(audit) for audit in self._alarms)

    def step(self) -> None:
        """Read the alarms.

        Raises:
            LedgerError: the ledger can't be read.
        """
        self._alarms = self._rows.alarms(int(self._now_s()))

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


def _alert(audit: Audit) -> str:
    return (
        f"{audit.node} signed wrong shares in receipt {audit.digest}: {audit.detail}. The receipt is not "
        f"countersigned, and nothing more is bought from this node until `openledger-node attribution forgive "
        f"{audit.node}`. Its texts are kept as evidence, sealed, until {rfc3339(audit.until_s)}, whatever [payer] "
        "keep_texts_s says"
    )
