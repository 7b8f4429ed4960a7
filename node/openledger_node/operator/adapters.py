"""Bases and adapters of this machine for JSON: state, use, bonds, and the folders that were refused."""

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from openledger_protocol.primitives import AdapterId, Wei

from ..chain.refusals import bond_text, open_text
from ..datanets.withdrawn import WithdrawnRows, withdrawn_from, withdrawn_to_plain
from ..engine.budget import disk_bytes
from ..errors import ModelError
from ..home import Home
from ..ledger.events import EventRows
from ..ledger.ledger import open_ledger
from ..models.adapter_files.layout import LoraLayout, read_layout
from ..models.adapters import INDEX_FOLDER, Adapter, adapter_to_json
from ..models.bases import Base, base_here, base_to_json, list_bases, problem_of
from ..models.library import LibraryListing, read_library
from ..models.pins import read_pins
from ..models.stores import find_elsewhere
from ..text import rfc3339
from .base_facts import base_facts
from .datanet_names import Names, datanet_names, datanets_to_plain

Usage = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedBond:
    """The bond of a published adapter."""

    bond_wei: Wei  # 0 once its owner has taken it back
    free_at_s: int | None  # when the bond of a retired adapter is free, in chain time; None while it is sold

    @property
    def free_at(self) -> str | None:
        """The same time as text; None while the adapter is sold."""
        return None if self.free_at_s is None else rfc3339(self.free_at_s)

    def says(self, now_s: float, name: str | None = None) -> str:
        """The state of adapter and bond in words; with the adapter's name, also how to take a free bond back."""
        if self.free_at_s is None:
            return f"published under a bond of {open_text(self.bond_wei)}"
        return f"retired; {bond_text(self.bond_wei, self.free_at_s, now_s, name)}"


def adapters_to_plain(
    home: Home,
    memory: dict[str, Any] | None,
    usage: Usage | None = None,
    *,
    listing: LibraryListing | None = None,
    bonds: Mapping[AdapterId, PublishedBond] | None = None,
    withdrawn: Mapping[AdapterId, WithdrawnRows] | None = None,
    disk_cap_bytes: int = 0,
    not_sold: Mapping[AdapterId, str] | None = None,
    names: Names | None = None,
) -> dict[str, Any]:
    """Every adapter with its state.

    `memory`, `usage` and `not_sold` come from the running node, if there is one; `bonds` are those of published
    adapters, `withdrawn` the withdrawn rows of those that were trained on some, and `names` those of Datanets.
    """
    listing, pinned, bonds, withdrawn = listing or read_library(home), read_pins(home), bonds or {}, withdrawn or {}
    return {
        "adapters": [
            {
                **adapter_to_json(each),
                "state": adapter_state(each, memory),
                "is_pinned": each.id in pinned,
                "usage": None if usage is None else usage.get(each.id),
                "bond_wei": str(bonds[each.id].bond_wei) if each.id in bonds else None,
                "bond_free_at": bonds[each.id].free_at if each.id in bonds else None,
                "why_not_sold": (not_sold or {}).get(each.id),
                "withdrawn": withdrawn_to_plain(withdrawn.get(each.id)),
                "datanets": datanets_to_plain(each.manifest, names or {}),
            }
            for each in listing.adapters
        ],
        "refused": {folder.name: reason for folder, reason in listing.refused.items()},
        "memory": memory,
        "disk": {
            "adapters_bytes": sum(each.size_bytes for each in listing.adapters),
            "used_bytes": disk_bytes(home),
            "cap_bytes": disk_cap_bytes or None,
        },
    }


def adapter_state(adapter: Adapter, memory: dict[str, Any] | None) -> str:
    """`in_memory` or `on_disk`."""
    return "in_memory" if memory and adapter.id in memory["resident"] else "on_disk"


def models_to_plain(home: Home, served: str) -> dict[str, Any]:
    """Every base model on this machine, and the models of other programs that can be used at once."""
    chosen, (found, refused) = _known(home, served), find_elsewhere()
    return {
        "served": served,
        "models": [
            {
                **base_to_json(base),
                **base_facts(base),
                "is_served": base == chosen,
                "is_link": base.folder is not None and base.folder.is_symlink(),
                "problem": problem_of(base),
            }
            for base in list_bases(home)
        ],
        "found": found,
        "refused": refused,
    }


def _known(home: Home, name: str) -> Base | None:
    """The base that the setting means, if it is in the data directory; the start says what is wrong with others."""
    try:
        return base_here(home, name)
    except ModelError:
        return None


def details_to_plain(adapter: Adapter, served: Base | None = None) -> dict[str, Any]:
    """The details of one adapter and the results of its checks; `served` is the base to compare it with.

    Raises:
        AdapterRefusedError: its files are damaged.
    """
    layout = read_layout(adapter.folder)
    index = adapter.folder / INDEX_FOLDER
    return {
        **adapter_to_json(adapter),
        "modules": sorted({site.module for site in layout.sites}),
        "ranks": sorted({site.rank for site in layout.sites}),
        "module_ranks": ranks_of_modules(layout),
        "dtypes": list(layout.dtypes),
        "is_dora": layout.is_dora,
        "is_rslora": layout.is_rslora,
        "index_bytes": sum(file.stat().st_size for file in index.iterdir()) if index.is_dir() else None,
        "checks": _checks(adapter, layout, served),
    }


def ranks_of_modules(layout: LoraLayout) -> dict[str, list[int]]:
    """The ranks of each module over all layers, by the module's name."""
    modules = sorted({site.module for site in layout.sites})
    return {name: sorted({site.rank for site in layout.sites if site.module == name}) for name in modules}


def _checks(adapter: Adapter, layout: LoraLayout, served: Base | None) -> list[dict[str, Any]]:
    """The results of the checks; `ok` is None if there is nothing to compare with."""
    base = adapter.manifest.base
    checks: list[dict[str, Any]] = [
        {"check": "files", "ok": True, "says": f"header and shapes of {len(layout.sites)} maps, all numbers finite"},
        {
            "check": "probe",
            "ok": None,
            "says": "its first answer is compared with the manifest's when it is loaded"
            if adapter.manifest.probe
            else "the manifest states no answer to compare with",
        },
    ]
    if served is not None:
        is_same = base.digest == served.digest
        says = "the one that is served" if is_same else f"but {served.name} is served"
        checks.insert(1, {"check": "base", "ok": is_same, "says": f"base {base.name}, {base.digest[:10]}…, {says}"})
    return checks


# ---- Bonds of published adapters, as far as the ledger has read the chain.


def published_bonds(events: EventRows, adapters: Sequence[Adapter]) -> dict[AdapterId, PublishedBond]:
    """The bond of each published adapter."""
    found = {adapter.id: _bond(events, adapter.id) for adapter in adapters}
    return {adapter_id: bond for adapter_id, bond in found.items() if bond is not None}


def found_withdrawn(home: Home, events: EventRows, adapters: Sequence[Adapter]) -> dict[AdapterId, WithdrawnRows]:
    """The adapters that were trained on rows that were withdrawn since."""
    found = {adapter.id: withdrawn_from(home, events, adapter.manifest) for adapter in adapters}
    return {adapter_id: rows for adapter_id, rows in found.items() if rows is not None}


def read_withdrawals(home: Home, network: str, adapters: Sequence[Adapter]) -> Mapping[AdapterId, WithdrawnRows]:
    """The same from the ledger's file, whether or not a daemon is writing to it."""
    file = home.ledger(network)
    if not file.exists():
        return {}
    with closing(open_ledger(file, is_writer=False)) as ledger:
        return found_withdrawn(home, ledger.events, adapters)


def read_datanet_names(home: Home, network: str, adapters: Sequence[Adapter]) -> Names:
    """The names of Datanets, with those in the ledger's file, whether or not a daemon is writing to it."""
    file = home.ledger(network)
    if not file.exists():
        return datanet_names(home, None, adapters)
    with closing(open_ledger(file, is_writer=False)) as ledger:
        return datanet_names(home, ledger.events, adapters)


def read_bonds(home: Home, network: str, adapters: Sequence[Adapter]) -> Mapping[AdapterId, PublishedBond]:
    """The same from the ledger's file, whether or not a daemon is writing to it."""
    file = home.ledger(network)
    if not file.exists():
        return {}
    ledger = open_ledger(file, is_writer=False)
    try:
        return published_bonds(ledger.events, adapters)
    finally:
        ledger.close()


def _bond(events: EventRows, adapter_id: AdapterId) -> PublishedBond | None:
    named = {"adapterId": adapter_id}
    registered, retired = events.find("AdapterRegistered", named), events.find("AdapterRetired", named)
    if not registered:
        return None
    terms: Any = registered[-1].arguments["adapter"]
    return PublishedBond(
        bond_wei=Wei(0 if events.find("BondReclaimed", named) else int(terms["bond"])),
        free_at_s=int(str(retired[-1].arguments["reclaimableAt"])) if retired else None,
    )
