"""Adapters registered on the chain: those that can be sold, and the owners of the rows they were trained on."""

import threading
from dataclasses import dataclass

from openledger_protocol.errors import AdapterRefusedError, UnknownModelError
from openledger_protocol.events import Event
from openledger_protocol.primitives import AdapterId, DatanetId

from ..chain.deployment import Deployment
from ..datanets.version import DatanetVersion, read_version
from ..errors import NodeError
from ..home import Home
from ..ledger.ledger import Ledger
from ..models.adapters import Adapter
from .index import open_adapter_index
from .owners import OwnedDatanet, join_owners


@dataclass(frozen=True, slots=True, kw_only=True)
class Registered:
    """One adapter's entry on the chain: all its Datanets, and those whose rows can be scored here."""

    datanet_ids: tuple[DatanetId, ...]  # ascending
    owned: tuple[OwnedDatanet, ...]


class AdapterRegistry:
    """Looks up adapters, each once because an entry never changes. Any thread may call."""

    def __init__(self, home: Home, deployment: Deployment, ledger: Ledger) -> None:
        self._home = home
        self._deployment = deployment
        self._ledger = ledger
        self._found: dict[AdapterId, Registered] = {}
        self._looking = threading.Lock()

    def find(self, adapter: Adapter) -> Registered:
        """Find the entry of an adapter in the library.

        Raises:
            UnknownModelError: it is not registered, so its answers can't be paid for.
            AdapterRefusedError: its index or the owners of its rows differ from the chain's.
        """
        with self._looking:
            if adapter.id not in self._found:
                self._found[adapter.id] = self._look_up(adapter)
            return self._found[adapter.id]

    def _look_up(self, adapter: Adapter) -> Registered:
        terms = self._deployment.adapter(adapter.id)
        if terms is None:
            raise UnknownModelError(
                f"{adapter.full_name} is not registered on this network, so nobody could be paid for it: "
                f"`openledger-node adapters publish {adapter.full_name}`"
            )
        datanet_ids = tuple(datanet_id for datanet_id, _ in terms.datanets)
        return Registered(datanet_ids=datanet_ids, owned=self._owned(adapter, datanet_ids))

    def _owned(self, adapter: Adapter, datanet_ids: tuple[DatanetId, ...]) -> tuple[OwnedDatanet, ...]:
        index = open_adapter_index(adapter)
        if index is None:
            return ()
        names = {self._name_of(datanet_id): datanet_id for datanet_id in datanet_ids}
        versions = {
            datanet.id: self._version(names[datanet.id], datanet.id, datanet.version).rows
            for datanet in index.datanets
            if datanet.id in names
        }
        if missing := [datanet.id for datanet in index.datanets if datanet.id not in names]:
            raise AdapterRefusedError(
                f"{adapter.full_name} was trained on {missing[0]}, which its entry on the chain does not name"
            )
        return join_owners(index, versions, names)

    def _name_of(self, datanet_id: DatanetId) -> str:
        name = datanet_name(self._ledger, datanet_id)
        if name is None:
            raise AdapterRefusedError(
                f"Datanet {datanet_id} has not been read from the chain yet: try again in a moment"
            )
        return name

    def _version(self, datanet_id: DatanetId, name: str, version: str) -> DatanetVersion:
        """Read the local version, and check that the chain has published it."""
        try:
            found = read_version(self._home, name, version)
        except NodeError as error:
            raise AdapterRefusedError(str(error)) from error
        published = self._ledger.events.find("DatanetVersion", {"id": datanet_id})
        if not any(_is_of(event, found) for event in published):
            raise AdapterRefusedError(
                f"the local version {version} of Datanet {name} was never published under {datanet_id}"
            )
        return found


def datanet_name(ledger: Ledger, datanet_id: DatanetId) -> str | None:
    """Find the name that a Datanet's owner registered on the chain; None if its event has not been read yet."""
    created = ledger.events.find("DatanetCreated", {"id": datanet_id})
    return str(created[-1].arguments["name"]) if created else None


def _is_of(event: Event, version: DatanetVersion) -> bool:
    roots = (event.arguments["rowsRoot"], event.arguments["contributorsRoot"])
    return roots == (version.rows_root, version.contributors_root)
