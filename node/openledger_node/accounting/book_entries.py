"""Entries of this node's books: amounts on the chain that its accounts got, each on one line of the books."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from openledger_protocol.events import BlockId, Event
from openledger_protocol.primitives import Address, Digest

from ..chain.client import ChainClient
from ..chain.deployment import Deployment
from ..ledger.events import EventRows
from ..settlement.session import NetworkSession


class BookLine(StrEnum):
    """The lines of the books, in the order in which they are shown."""

    NODE = "node"
    ROYALTY = "royalty"
    DATANET = "datanet_owner"
    CONTRIBUTOR = "contributor"
    TREASURY = "treasury"
    PROTOCOL = "protocol"
    OTHER_NODES = "other_nodes"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One amount of the books at its time on the chain."""

    line: BookLine
    amount_wei: int
    at_s: float
    account: Address
    node: Address | None = None  # whose claim it is of
    seq: int | None = None  # of that claim
    transaction_hash: Digest | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Accounts:
    """The accounts of this node, each with its role: wallet, signer or authorizer."""

    wallet: Address
    roles: Mapping[Address, str]


def accounts_of(session: NetworkSession) -> Accounts:
    """List the accounts of a node: its wallet and its hot keys."""
    named = session.accounts
    roles = {named.wallet: "wallet"}
    roles.setdefault(named.signer, "signer")
    roles.setdefault(named.authorizer, "authorizer")
    return Accounts(wallet=named.wallet, roles=roles)


class BlockTimes:
    """Times of blocks in seconds of the chain; the endpoint is asked once for each block."""

    def __init__(self, client: ChainClient) -> None:
        self._client = client
        self._known: dict[Digest, float] = {}

    def clock(self, mined_s: Mapping[Digest, int]) -> Callable[[Event], float]:
        """Return the clock of events: the time of this node's own transaction, or else of the block.

        The time is 0 if the endpoint does not have the block any more.
        """

        def when(event: Event) -> float:
            known = mined_s.get(event.transaction_hash)
            return float(known) if known else self.time_of(event.block)

        return when

    def time_of(self, block: BlockId) -> float:
        """The time of a block; 0 if the endpoint does not have it any more.

        Raises:
            ChainError: the chain can't be asked.
        """
        if block.hash not in self._known:
            found = self._client.block(block.number)
            if found is None or found.hash != block.hash:
                return float(found.timestamp_s) if found else 0.0
            self._known[block.hash] = float(found.timestamp_s)
        return self._known[block.hash]


class ViewsAtBlock:
    """Answers of the contracts as of one block; each is asked for once, because it never changes."""

    def __init__(self, deployment: Deployment, number: int) -> None:
        self.number = number
        self._deployment = deployment
        self._answers: dict[tuple[object, ...], Any] = {}

    def ask(self, contract: str, function: str, *arguments: object) -> Any:
        """Ask a view that always answers.

        Raises:
            ChainError: the chain can't be asked.
        """
        key = (contract, function, *arguments)
        if key not in self._answers:
            self._answers[key] = self._deployment.ask(contract, function, *arguments, block_number=self.number)
        return self._answers[key]


def in_order(events: EventRows, *names: str) -> list[Event]:
    """Events of these names in the chain's order."""
    found = [event for name in names for event in events.find(name)]
    return sorted(found, key=lambda event: (event.block.number, event.log_index))
