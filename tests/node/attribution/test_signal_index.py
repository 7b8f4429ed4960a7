"""Signals in an adapter's index: covered by its root, and refused if anything about them is changed."""

from pathlib import Path

import pytest
from support.contributors import ROWS
from support.signals import SKETCHES, trace_of_row

from openledger_node.attribution.index import build_index, open_index
from openledger_node.attribution.signals.files import build_signals
from openledger_node.datanets.rows import rows_digest
from openledger_node.datanets.version import VersionLabel
from openledger_node.engine.tokenizer import ByteTokenizer
from openledger_protocol.errors import AdapterRefusedError
from openledger_protocol.primitives import Digest

LAKE = VersionLabel(id="lake", version="1", rows_root=rows_digest(ROWS))


def build(folder: Path, *, has_signals: bool = True) -> Digest:
    def add_signals(target: Path) -> None:
        build_signals(target, [(LAKE.rows_root, ROWS)], SKETCHES, trace_of_row)

    return build_index(
        folder, [(LAKE, ROWS)], ByteTokenizer(), None, add_signals=add_signals if has_signals else None
    )


def test_signals_open_with_the_index_in_the_order_of_its_rows_and_its_root_covers_them(tmp_path: Path) -> None:
    root = build(tmp_path)
    [datanet] = open_index(tmp_path, root).datanets
    assert datanet.signals is not None
    assert len(datanet.signals.vectors) == datanet.num_rows == len(ROWS)
    assert build(tmp_path / "without", has_signals=False) != root


@pytest.mark.parametrize("name", ["vectors-0.i8", "statistics-0.f32", "signals.json"])
def test_damaged_signals_are_refused(tmp_path: Path, name: str) -> None:
    root, file = build(tmp_path), tmp_path / name
    file.write_bytes(bytes([file.read_bytes()[0] ^ 1]) + file.read_bytes()[1:])
    with pytest.raises(AdapterRefusedError, match=f"{name} does not have the digest"):
        open_index(tmp_path, root)
    file.unlink()
    with pytest.raises(AdapterRefusedError, match=f"{name} does not have the digest"):
        open_index(tmp_path, root)


def test_signals_of_other_rows_are_refused(tmp_path: Path) -> None:
    """They would score rows of the index by the vectors of others."""

    def add_others(target: Path) -> None:
        build_signals(target, [(LAKE.rows_root, ROWS[:1])], SKETCHES, trace_of_row)

    root = build_index(tmp_path, [(LAKE, ROWS)], ByteTokenizer(), None, add_signals=add_others)
    with pytest.raises(AdapterRefusedError, match="of other rows than its text index"):
        open_index(tmp_path, root)
