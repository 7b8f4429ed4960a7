"""Names of the Datanets that adapters learned from: those on this machine, and those on the chain."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.rows import append_event

from openledger_node.home import Home
from openledger_node.ledger.ledger import Ledger
from openledger_node.models.adapters import Adapter, add_adapter
from openledger_node.models.bases import FAKE_BASE
from openledger_node.operator.datanet_names import datanet_names, datanets_to_plain
from openledger_protocol.adapter import DatanetReference
from openledger_protocol.constants import PPM
from openledger_protocol.datanet import datanet_id
from openledger_protocol.primitives import ZERO_ADDRESS, ZERO_DIGEST, Address, DatanetId

ADA, BEN = Address("0x" + "0a" * 20), Address("0x" + "0b" * 20)


def learned_from(folder: Path, home: Home, *ids: DatanetId, owner: Address | None) -> Adapter:
    adapter = add_adapter(home, folder, FAKE_BASE)
    datanets = tuple(
        DatanetReference(id=id_, version="v1", rows_root=ZERO_DIGEST, weight_ppm=PPM // len(ids)) for id_ in ids
    )
    return replace(adapter, manifest=replace(adapter.manifest, datanets=datanets, owner=owner))


def register(ledger: Ledger, id_: DatanetId, name: str) -> None:
    append_event(ledger, "DatanetCreated", {"id": id_, "creator": BEN, "name": name})


@pytest.mark.parametrize("owner", [ADA, None], ids=["owner", "before a wallet"])
def test_an_own_datanet_has_its_name_without_a_chain(
    home: Home, make_adapter_folder: Any, owner: Address | None
) -> None:
    (home.datanets / "lake").mkdir(parents=True)
    lake = datanet_id(owner or ZERO_ADDRESS, "lake")
    adapter = learned_from(make_adapter_folder(), home, lake, owner=owner)
    names = datanet_names(home, None, [adapter])
    assert names == {lake: "lake"}
    assert datanets_to_plain(adapter.manifest, names) == [
        {"id": lake, "name": "lake", "version": "v1", "weight_ppm": PPM}
    ]


def test_a_datanet_of_somebody_else_has_the_name_of_the_chain(
    home: Home, ledger: Ledger, make_adapter_folder: Any
) -> None:
    (home.datanets / "lake").mkdir(parents=True)  # the owner's own of that name is another one
    theirs, unknown = datanet_id(BEN, "lake"), datanet_id(BEN, "forest")
    adapter = learned_from(make_adapter_folder(), home, theirs, unknown, owner=ADA)
    register(ledger, theirs, "lake\n\x1b[2J")
    names = datanet_names(home, ledger.events, [adapter])
    assert list(names) == [theirs]
    assert names[theirs].startswith("lake\\n"), "a stranger's name stays on one line"
    assert "\x1b" not in names[theirs]
    plain = datanets_to_plain(adapter.manifest, names)
    assert plain is not None
    assert [each["name"] for each in plain] == [names[theirs], None]
    assert datanets_to_plain(replace(adapter.manifest, datanets=None), names) is None
    harbour = datanet_id(ZERO_ADDRESS, "harbour")
    sample = replace(adapter.manifest.datanets[0], id=harbour)  # type: ignore[index]
    shipped = replace(adapter, manifest=replace(adapter.manifest, datanets=(sample,), owner=None))
    assert datanet_names(home, None, [shipped]) == {harbour: "harbour"}
