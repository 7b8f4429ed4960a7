"""Names of the Datanets that adapters learned from, since an id is a hash that tells a reader nothing."""

from collections.abc import Iterable
from typing import Any

from openledger_protocol.adapter import AdapterManifest
from openledger_protocol.datanet import datanet_id
from openledger_protocol.primitives import ZERO_ADDRESS, DatanetId

from ..datanets.about import datanet_name
from ..datanets.sample import SAMPLE_SEEDS
from ..home import Home
from ..ledger.events import EventRows
from ..models.adapters import Adapter
from ..text import on_one_line

Names = dict[DatanetId, str]


def datanet_names(home: Home, events: EventRows | None, adapters: Iterable[Adapter]) -> Names:
    """The names that are known, by id.

    An id is the hash of owner and name, so a name on this machine is proven by it. All others are those that their
    owners registered on the chain, as far as its `events` were read.
    """
    here = {folder.name for folder in home.datanets.iterdir()} if home.datanets.exists() else set()
    found: Names = {}
    for adapter in adapters:
        manifest = adapter.manifest
        own = {
            datanet_id(manifest.owner or ZERO_ADDRESS, name): name for name in here | {*SAMPLE_SEEDS, adapter.name}
        }
        for each in manifest.datanets or ():
            if name := own.get(each.id) or found.get(each.id) or (events and datanet_name(events, each.id)):
                found[each.id] = on_one_line(name)
    return found


def datanets_to_plain(manifest: AdapterManifest, names: Names) -> list[dict[str, Any]] | None:
    """The Datanets of an adapter for JSON, each with its name or None; None if its manifest states none."""
    if manifest.datanets is None:
        return None
    return [
        {"id": each.id, "name": names.get(each.id), "version": each.version, "weight_ppm": each.weight_ppm}
        for each in manifest.datanets
    ]
