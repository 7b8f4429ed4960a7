"""The index of an adapter on the shelf: it must be the one that its manifest names, of the same base and Datanets."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.fake_trained import train_adapter
from support.indexes import BYTES, label

from openledger_node.attribution.index import build_index, open_adapter_index
from openledger_node.datanets.version import VersionLabel
from openledger_node.home import Home
from openledger_node.models.adapters import Adapter
from openledger_protocol.datanet import Row
from openledger_protocol.errors import AdapterRefusedError
from openledger_protocol.primitives import Digest

ROWS = tuple(Row(prompt=f"What is {number}?", completion="A number.", contributor="ada") for number in range(9))
LAKE = label()


def trained(home: Home, *, indexed: VersionLabel | None, tokenizer_digest: Digest | None = None) -> Adapter:
    def build(folder: Path, rows: tuple[Row, ...]) -> Digest:
        assert indexed is not None
        return build_index(folder, [(indexed, rows)], BYTES, tokenizer_digest)

    return train_adapter(home, "numbers", datanet=LAKE, rows=ROWS, build_index=build if indexed else None)


def test_the_index_of_a_trained_adapter_opens_under_any_name_and_one_without_has_none(home: Home) -> None:
    for number, indexed in enumerate((LAKE, replace(LAKE, id="hill"), replace(LAKE, version="2"))):
        adapter = trained(Home(home.root / str(number)), indexed=indexed)
        index: Any = open_adapter_index(adapter)
        assert index.root == adapter.manifest.index_root
        assert index.datanets[0].num_rows == len(ROWS)
    assert open_adapter_index(trained(home, indexed=None)) is None


def test_an_index_of_other_rows_or_another_tokenizer_is_refused(home: Home) -> None:
    with pytest.raises(AdapterRefusedError, match="covers other Datanets"):
        open_adapter_index(trained(home, indexed=replace(LAKE, rows_root=Digest("0x" + "0" * 64))))
    other = Home(home.root / "other")
    with pytest.raises(AdapterRefusedError, match="another tokenizer"):
        open_adapter_index(trained(other, indexed=LAKE, tokenizer_digest=Digest("0x" + "7e" * 32)))
