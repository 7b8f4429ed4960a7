"""Votes that wait for this node's operator: proposals that are voted on now, where its votes count and are not cast.

The daemon counts them with each step, from the ledger. The chain is asked once for each proposal.
"""

from typing import Final

from openledger_protocol.primitives import Wei

from ..chain.governance import Governance
from ..settlement.records import integer
from ..settlement.session import NetworkSession

OVER: Final = ("ProposalCanceled", "ProposalExecuted")


class VotesWaiting:
    """Counts the votes that the node's wallet can still cast."""

    def __init__(self, session: NetworkSession) -> None:
        self._session = session
        self._events = session.ledger.events
        self._weights: dict[int, Wei] = {}  # by proposal; fixed once its voting has begun

    def count(self) -> int:
        """Count the proposals that the wallet can vote on, has votes for, and has not voted on.

        Raises:
            ChainError: the chain can't be asked for the votes on a new proposal.
        """
        running = self._running()
        if not running:
            return 0
        cast = self._events.find("VoteCast", {"voter": self._session.accounts.wallet})
        done = {integer(event, "proposalId") for event in cast}
        done |= {integer(event, "proposalId") for name in OVER for event in self._events.find(name)}
        return sum(self._weight(proposal, from_s) > 0 for proposal, from_s in running.items() if proposal not in done)

    def _running(self) -> dict[int, int]:
        """The proposals whose voting runs by the latest block, with its beginning."""
        head = self._session.watcher.head
        if head is None:
            return {}
        extended = {
            integer(event, "proposalId"): integer(event, "extendedDeadline")
            for event in self._events.find("ProposalExtended")
        }
        times = {
            integer(event, "proposalId"): (integer(event, "voteStart"), integer(event, "voteEnd"))
            for event in self._events.find("ProposalCreated")
        }
        return {
            proposal: from_s
            for proposal, (from_s, until_s) in times.items()
            if from_s < head.timestamp_s <= extended.get(proposal, until_s)
        }

    def _weight(self, proposal: int, from_s: int) -> Wei:
        if proposal not in self._weights:
            governance = Governance(self._session.deployment)
            self._weights[proposal] = governance.votes_at(self._session.accounts.wallet, from_s)
        return self._weights[proposal]
