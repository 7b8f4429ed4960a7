"""Kinds of events that an earlier release of this program did not know, read once more after an update.

The journal notes the kinds that it has read. Without that, a node would lack the earlier events of a kind that a new
release knows, until its operator lets it read the whole chain again.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from openledger_protocol.events import Event
from openledger_protocol.primitives import Address

from ..ledger.events import EventRows
from .contracts import load_contract

UNNOTED: Final = frozenset(
    {
        "DatanetRegistry.BondForfeited(bytes32,address,bytes32,uint128,bytes32)",
        "DatanetRegistry.BondLeaving(bytes32,address,uint128,uint64)",
        "DatanetRegistry.BondPosted(bytes32,address,address,uint128,bytes32)",
        "DatanetRegistry.BondTakenBack(bytes32,address,uint128)",
        "DatanetRegistry.CuratorsChanged(bytes32,address[],uint32)",
        "DatanetRegistry.DatanetDescribed(bytes32,string)",
        "DatanetRegistry.RowsCommitted(bytes32,uint64)",
        "DatanetRegistry.VersionApproved(bytes32,uint32,address[])",
    }
)
"""Kinds that the last release without notes did not know. A journal without notes has all others."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class LogKind:
    """The contract and the name of a kind of events."""

    contract: Address
    name: str


LogKinds = Mapping[str, LogKind]


def kinds_of(contracts: Mapping[str, Address]) -> LogKinds:
    """All kinds of events that this release knows of some contracts."""
    return {
        kind: LogKind(contract=address, name=event)
        for name, address in contracts.items()
        for kind, event in load_contract(name).event_kinds().items()
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class MissedBlocks:
    """Blocks to read again, both included, and the contracts whose kinds were unknown."""

    first: int
    last: int
    contracts: tuple[Address, ...]


class NewKinds:
    """Finds the final blocks in which events of new kinds may be missing, and fills them in.

    Blocks that are not final are forgotten and read again as usual, so that a reorganisation changes nothing here.
    """

    def __init__(self, journal: EventRows, kinds: LogKinds, first_block: int) -> None:
        self._journal = journal
        self._kinds = kinds
        self._first_block = first_block
        self._behind: dict[str, int] | None = None  # the last block of each missing kind; None: not compared yet

    def begin(self) -> None:
        """Compare the kinds that the journal has with those that this release knows, once."""
        if self._behind is None:
            self._behind = self._compare()

    def next_blocks(self, most: int) -> MissedBlocks | None:
        """The next blocks to read again; None if no event of a known kind is missing."""
        assert self._behind is not None
        last = self._journal.finalized_number()
        if self._behind and min(self._behind.values()) >= last:
            self._journal.note_kinds(dict.fromkeys(self._behind))
            self._behind = {}
        if not self._behind:
            return None
        first = min(self._behind.values()) + 1
        contracts = dict.fromkeys(self._kinds[kind].contract for kind in self._behind)
        return MissedBlocks(first=first, last=min(first + most - 1, last), contracts=tuple(contracts))

    def fill(self, blocks: MissedBlocks, events: Sequence[Event]) -> None:
        """Store the events of new kinds in blocks that were read again."""
        assert self._behind is not None
        missing = {self._kinds[kind] for kind in self._behind}
        found = [each for each in events if LogKind(contract=each.contract, name=each.name) in missing]
        self._behind = {kind: max(until, blocks.last) for kind, until in self._behind.items()}
        self._journal.fill(found, self._behind)

    def _compare(self) -> dict[str, int]:
        """Note the kinds that are new, and return those that are not read as far as the others."""
        known = self._journal.kinds()
        is_begun = self._journal.last_number() >= 0
        new = self._kinds.keys() - known.keys()
        missing = (new if known else new & UNNOTED) if is_begun else set()
        if missing:
            log.info("reading events that an earlier release did not know: %s", ", ".join(sorted(missing)))
            self._journal.rewind(self._journal.finalized_number())
        self._journal.forget_kinds(known.keys() - self._kinds.keys())  # read again after a return to this release
        self._journal.note_kinds({kind: self._first_block - 1 if kind in missing else None for kind in new})
        return {kind: until for kind, until in self._journal.kinds().items() if until is not None}
