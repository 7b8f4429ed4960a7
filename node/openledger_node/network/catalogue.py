"""The registered adapters of a network with what the chain says of each: who owns it, who taught it, what it earned.

Only final blocks are read, each once, so that no reorganisation can make a figure wrong.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import groupby
from threading import Lock
from typing import Any, Final

from openledger_protocol.events import Event
from openledger_protocol.primitives import ZERO_WEI, AdapterId, Address, DatanetId, Digest, Wei

from ..datanets.about import about_from_metadata, licence_of
from ..ledger.events import EventRows
from ..settlement.records import record_of
from ..text import on_one_line

READ: Final = ("DatanetCreated", "DatanetDescribed", "AdapterRegistered", "AdapterRetired", "Claimed")


@dataclass(frozen=True, slots=True, kw_only=True)
class RegisteredAdapter:
    """One entry of ModelRegistry, and what claims have named it for."""

    id: AdapterId
    owner: Address
    base: Digest
    datanets: tuple[tuple[DatanetId, int], ...]  # with their weights in ppm
    block: int  # in which it was registered
    is_retired: bool = False
    num_claims: int = 0  # of nodes, in which it has earned
    gross_wei: Wei = ZERO_WEI  # in these claims

    @property
    def counts_claims(self) -> bool:
        """False for an adapter without Datanets: a claim's record does not tell it from the base."""
        return bool(self.datanets)


@dataclass(slots=True)
class AdapterCatalogue:
    """Reads the journal of chain events further at each look."""

    events: EventRows
    adapters: dict[AdapterId, RegisteredAdapter] = field(default_factory=dict)
    names: dict[DatanetId, str] = field(default_factory=dict)
    licences: dict[DatanetId, str] = field(default_factory=dict)
    descriptions: dict[DatanetId, str | None] = field(default_factory=dict)
    _next_block: int = 0
    _reading: Lock = field(default_factory=Lock)

    def update(self) -> None:
        """Read the blocks that became final since the last look."""
        with self._reading:
            last = self.events.finalized_number()
            if last < self._next_block:
                return
            for name in READ:
                for event in self.events.find(name, first=self._next_block, last=last):
                    self._take(event)
            self._next_block = last + 1

    def _take(self, event: Event) -> None:
        given: Any = event.arguments
        match event.name:
            case "DatanetCreated":
                datanet_id = DatanetId(given["id"])
                self.names[datanet_id] = on_one_line(given["name"])
                self.licences[datanet_id] = licence_of(given["licence"])
            case "DatanetDescribed":
                about = about_from_metadata(given["metadata"])
                self.descriptions[DatanetId(given["id"])] = about.description if about else None
            case "AdapterRegistered":
                made = _registered(event)
                self.adapters[made.id] = made
            case "AdapterRetired":
                id_ = AdapterId(given["adapterId"])
                self.adapters[id_] = replace(self.adapters[id_], is_retired=True)
            case "Claimed":
                for id_, gross_wei in _earned(event):
                    found = self.adapters[id_]
                    self.adapters[id_] = replace(
                        found, num_claims=found.num_claims + 1, gross_wei=Wei(found.gross_wei + gross_wei)
                    )

    def to_plain(self, id_: AdapterId) -> dict[str, Any]:
        """The chain's word on one adapter, for JSON; all fields are None if it is not registered."""
        found = self.adapters.get(id_)
        if found is None:
            return dict.fromkeys(("owner", "datanets", "is_retired", "num_claims", "earned_wei"))
        return {
            "owner": found.owner,
            "datanets": [
                {
                    "id": id_,
                    "name": self.names.get(id_),
                    "licence": self.licences.get(id_),
                    "description": self.descriptions.get(id_),
                    "weight_ppm": weight,
                }
                for id_, weight in found.datanets
            ],
            "is_retired": found.is_retired,
            "num_claims": found.num_claims if found.counts_claims else None,
            "earned_wei": str(found.gross_wei) if found.counts_claims else None,
        }

    def newest(self) -> list[RegisteredAdapter]:
        """All entries that are not retired, the one that has earned most first, then the newest."""
        found = [each for each in self.adapters.values() if not each.is_retired]
        return sorted(found, key=lambda each: (-each.gross_wei, -each.block, each.id))


def _registered(event: Event) -> RegisteredAdapter:
    given: Any = event.arguments
    entry = given["adapter"]
    return RegisteredAdapter(
        id=AdapterId(given["adapterId"]),
        owner=Address(given["owner"]),
        base=Digest(entry["baseDigest"]),
        datanets=tuple(
            (DatanetId(id_), weight) for id_, weight in zip(entry["datanetIds"], entry["weightsPpm"], strict=True)
        ),
        block=event.block.number,
    )


def _earned(event: Event) -> Iterator[tuple[AdapterId, Wei]]:
    """Each adapter with pots in a claim, and its gross, which all its pots name."""
    for id_, pots in groupby(record_of(event).pots, key=lambda pot: pot.adapter_id):
        yield id_, next(pots).gross_wei
