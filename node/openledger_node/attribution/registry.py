"""Adapters registered on the chain: those that can be sold, and the owners of the rows they were trained on.

An adapter is sold only if its entry on the chain says what its manifest says, and if the Datanets that the manifest
names have published the rows of its index. Otherwise its data fees would go to somebody else than its contributors.
"""

import threading
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING

from openledger_protocol.adapter import DatanetReference
from openledger_protocol.errors import AdapterRefusedError, UnknownModelError
from openledger_protocol.primitives import AdapterId, DatanetId
from openledger_protocol.registry import check_entry
from openledger_protocol.rules import SIGNALS_RULE, TEXT_RULE, rule_names

from ..chain.deployment import Deployment
from ..datanets.about import datanet_name
from ..datanets.commitments import are_known
from ..datanets.version import DatanetVersion, find_made_here, read_published, write_published
from ..errors import NodeError
from ..home import Home
from ..ledger.events import EventRows
from ..ledger.ledger import Ledger
from ..models.adapters import Adapter
from .index import open_adapter_index
from .owners import OwnedDatanet, join_owners
from .withdrawals import WithdrawalView, pay_at

if TYPE_CHECKING:
    from .signal_checks import ReplaySource


@dataclass(frozen=True, slots=True, kw_only=True)
class Registered:
    """One adapter's entry on the chain: all its Datanets, and those whose rows can be scored here."""

    datanet_ids: tuple[DatanetId, ...]  # ascending
    owned: tuple[OwnedDatanet, ...]
    rules: tuple[int, ...]  # attribution rules that all Datanets allow

    @property
    def has_signals(self) -> bool:
        """True if the adapter has an index of signals, without which poa-v3 can't score."""
        return bool(self.owned) and all(datanet.index.signals is not None for datanet in self.owned)


class AdapterRegistry:
    """Looks up adapters, each once because an entry never changes. Any thread may call."""

    def __init__(
        self,
        home: Home,
        deployment: Deployment,
        ledger: Ledger,
        source: "ReplaySource | None" = None,
        now_s: Callable[[], float] = time.time,
    ) -> None:
        self._home = home
        self._deployment = deployment
        self._ledger = ledger
        self.source = source  # the engine; None: nothing is sold or run here
        self._found: dict[AdapterId, Registered] = {}
        self._looking: defaultdict[AdapterId, threading.Lock] = defaultdict(threading.Lock)  # one for each adapter
        self._now_s = now_s
        epoch_s = cache(lambda: deployment.windows().epoch_s)
        self._withdrawals = WithdrawalView(
            ledger.events, epoch_s, now_s, deployment.finalized_number, deployment.block_time_s
        )

    def find(self, adapter: Adapter) -> Registered:
        """Find the entry of an adapter in the library.

        Raises:
            UnknownModelError: it is not registered, so its answers can't be paid for.
            AdapterRefusedError: the chain's entry differs from its manifest, or its rows were not published.
        """
        if found := self._found.get(adapter.id):
            return found
        with self._looking[adapter.id]:  # other adapters don't wait for this one's index and the chain
            if adapter.id not in self._found:
                self._found[adapter.id] = self._look_up(adapter)
            return self._found[adapter.id]

    def rule_of(self, adapter: Adapter) -> int:
        """The attribution rule of an adapter's answers: the best that can run here and that all Datanets allow.

        Raises:
            UnknownModelError: as in `find`.
            AdapterRefusedError: as in `find`, or no allowed rule can run here.
        """
        registered = self.find(adapter)
        has_taps = self.source is not None and self.source.has_taps
        if SIGNALS_RULE in registered.rules and has_taps and registered.has_signals:
            return SIGNALS_RULE
        if TEXT_RULE in registered.rules:
            return TEXT_RULE
        raise AdapterRefusedError(_why_no_rule(adapter, registered, has_taps=has_taps))

    def find_at(self, adapter: Adapter, at_s: int) -> Registered:
        """Find the entry of an adapter as a receipt issued at `at_s` pays it: withdrawn rows have no account.

        Raises:
            UnknownModelError, AdapterRefusedError: as in `find`.
        """
        found = self.find(adapter)
        return replace(found, owned=pay_at(found.owned, self._withdrawals.of, at_s))

    def check_complete(self, at_s: float) -> None:
        """Check that this node knows every withdrawal that counts at `at_s`.

        Raises:
            AdapterRefusedError: it has not read the chain for too long.
            ChainError: the chain can't be asked.
        """
        self._withdrawals.check_complete(at_s)

    def check_sellable(self, adapter: Adapter) -> int:
        """Check that an adapter can be sold now, and return the attribution rule of its answers.

        Raises:
            UnknownModelError: it is not registered, or its owner has retired it.
            AdapterRefusedError: as in `rule_of`, or the chain was not read for too long.
        """
        rule = self.rule_of(adapter)
        if self.find(adapter).owned:
            self.check_complete(self._now_s())
        if self._ledger.events.find("AdapterRetired", {"adapterId": adapter.id}):
            raise UnknownModelError(f"{adapter.full_name} is no longer sold: its owner has retired it on the chain")
        return rule

    def _look_up(self, adapter: Adapter) -> Registered:
        entry = self._deployment.entry(adapter.id)
        if entry is None:
            raise UnknownModelError(
                f"{adapter.full_name} is not registered on this network, so nobody could be paid for it: "
                f"`openledger-node adapters publish {adapter.full_name}`"
            )
        check_entry(adapter.manifest, entry)
        return Registered(datanet_ids=entry.datanet_ids, owned=self._owned(adapter), rules=entry.rules)

    def _owned(self, adapter: Adapter) -> tuple[OwnedDatanet, ...]:
        index = open_adapter_index(adapter)
        if index is None:
            return ()
        datanets, events = adapter.manifest.datanets or (), self._ledger.events
        return join_owners(
            index,
            {datanet.rows_root: find_version(self._home, events, datanet).rows for datanet in datanets},
            {datanet.rows_root: datanet.id for datanet in datanets},
        )


def _why_no_rule(adapter: Adapter, registered: Registered, *, has_taps: bool) -> str:
    """The reason why none of the rules that an adapter's Datanets allow can run here."""
    if not registered.rules:
        return f"the Datanets of {adapter.full_name} allow no attribution rule in common, so nobody can sell it"
    asked = f"{adapter.full_name} is not sold here: its Datanets allow {rule_names(registered.rules)} only"
    if not registered.has_signals:
        return f"{asked}, and it was trained without an index of signals: train it with --signals"
    assert not has_taps, "then poa-v3 runs"
    return f'{asked}, which this backend can\'t compute: set [inference] backend = "torch_lora"'


def find_version(home: Home, events: EventRows, datanet: DatanetReference) -> DatanetVersion:
    """Find the version that a manifest names, and check that this Datanet has published its rows and their owners.

    One that was made here under other names is stored under the Datanet's id on the chain.

    Raises:
        AdapterRefusedError: it is not here, or was never published by this Datanet.
    """
    try:
        found = read_published(home, datanet)
        if is_published(events, datanet.id, found):
            return found
        why = ""
    except NodeError as error:
        why = str(error)
    made_here = find_made_here(home, datanet.rows_root)
    for version in made_here:
        if is_published(events, datanet.id, version):
            write_published(home, datanet.id, version)
            return version
    name = datanet_name(events, datanet.id) or datanet.id
    if made_here or not why:
        why = "the local rows with these contributors were never published under it on this network"
    raise AdapterRefusedError(f"version {datanet.version} of Datanet {name} can't be used: {why}")


def is_published(events: EventRows, datanet_id: DatanetId, version: DatanetVersion) -> bool:
    """Return True if a Datanet has published exactly the rows and owners of a version, and its commitments exist."""
    roots = {"rowsRoot": version.rows_root, "contributorsRoot": version.contributors_root}
    found = events.find("DatanetVersion", {"id": datanet_id, **roots})
    return bool(found) and are_known(events, datanet_id, found[-1].contract, version.offers, version.commitments)
