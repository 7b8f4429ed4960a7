"""An index of signals gives back what was built, to the byte, and refuses whatever else it finds."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.signals import IS_RESIDUAL, SKETCHES, random_trace, trace_of_row

from openledger_node.attribution.signals import files
from openledger_node.attribution.signals.files import MANIFEST_FILE, build_signals, open_signals, statistics_rows
from openledger_node.attribution.signals.sketches import Sketches
from openledger_node.attribution.signals.statistics import signals_of
from openledger_node.models.bases import file_digest
from openledger_protocol.codec import canonical_digest
from openledger_protocol.datanet import Row
from openledger_protocol.errors import AdapterRefusedError, AttributionError
from openledger_protocol.primitives import Digest
from openledger_protocol.signals import Signals, evidence_of, signal_cosines

D1, D2 = (Digest("0x" + digit * 64) for digit in "12")
ROWS = [Row(prompt=f"q {n}", completion=f"answer {n} of {n % 3} things", contributor=f"c{n % 3}") for n in range(12)]


def test_rows_are_read_back_as_they_were_computed(tmp_path: Path) -> None:
    root = build_signals(tmp_path, [(D1, ROWS), (D2, ROWS[:5])], SKETCHES, trace_of_row)
    opened = open_signals(tmp_path, root)
    assert list(opened) == [D1, D2]
    for rows_root, count in ((D1, 12), (D2, 5)):
        found = opened[rows_root]
        assert len(found.vectors) == count
        for number in range(count):
            assert found.row(number) == signals_of(trace_of_row(ROWS[number]), found.statistics, SKETCHES)


def test_the_evidence_of_all_rows_is_the_protocols_to_the_integer(tmp_path: Path) -> None:
    root = build_signals(tmp_path, [(D1, ROWS)], SKETCHES, trace_of_row)
    found = open_signals(tmp_path, root)[D1]
    zero = Signals(error=bytes(256), label=found.row(1).label, activation=bytes(len(IS_RESIDUAL)))
    asked = [signals_of(random_trace(seed), found.statistics, SKETCHES) for seed in range(5)]
    for answer in [*asked, found.row(3), zero]:
        expected = [evidence_of(signal_cosines(answer, found.row(number))) for number in range(len(ROWS))]
        assert found.evidence(answer).tolist() == expected
    with pytest.raises(AttributionError, match="don't fit"):
        found.evidence(Signals(error=bytes(256), label=bytes(256), activation=bytes(3)))


def rehashed(folder: Path) -> Digest:
    """The root after the files were exchanged by somebody who also wrote the manifest."""
    content = json.loads((folder / MANIFEST_FILE).read_text())
    for place, entry in enumerate(content["datanets"]):
        entry["vectors"] = file_digest(folder / f"vectors-{place}.i8")
        entry["statistics"] = file_digest(folder / f"statistics-{place}.f32")
    (folder / MANIFEST_FILE).write_text(json.dumps(content))
    return canonical_digest(files.read_manifest(folder))


def test_owners_take_turns_in_the_rows_for_statistics() -> None:
    rows = [Row(prompt=f"q {n}", completion="a", contributor="many" if n < 90 else f"c{n}") for n in range(100)]
    chosen = statistics_rows(rows, 30)
    assert len(chosen) == 30
    assert set(range(90, 100)) < set(chosen)
    assert [rows[n] for n in chosen] == sorted(
        (rows[::-1][n] for n in statistics_rows(rows[::-1], 30)), key=lambda row: int(row.prompt.split()[1])
    )
    assert statistics_rows(rows, 100) == list(range(100))


def test_an_adapter_that_writes_nothing_into_the_residual_stream_is_refused(tmp_path: Path) -> None:
    sketches = Sketches(1, d_model=4, is_residual=np.zeros(8, np.bool_))
    with pytest.raises(AttributionError, match="neither o_proj nor down_proj"):
        build_signals(tmp_path, [(D1, ROWS)], sketches, trace_of_row)


def test_the_least_evidence_is_a_quarter_of_what_alike_rows_have_and_is_bounded(tmp_path: Path) -> None:
    def least(name: str, texts: list[str]) -> int:
        rows = [Row(prompt=str(n), completion=text, contributor=f"c{n % 3}") for n, text in enumerate(texts)]
        root = build_signals(tmp_path / name, [(D1, rows)], SKETCHES, trace_of_row)
        found = open_signals(tmp_path / name, root)[D1]
        assert files.read_manifest(tmp_path / name).datanets[0].evidence_min == found.evidence_min
        return found.evidence_min

    assert least("one", ["a b c"]) == 0
    assert least("strangers", ["a b c", "d e f", "g h i", "j k l"]) < files.CHANCE_EVIDENCE // 10
    assert least("alike", 2 * ["a b c", "d e f", "g h i"]) == files.CHANCE_EVIDENCE
    assert least("copies", 9 * ["a b c"] + ["d e f", "g h i"]) == files.CHANCE_EVIDENCE


def append(name: str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes() + b"\0")


def edit(**changes: Any) -> Callable[[Path], object]:
    def apply(folder: Path) -> None:
        content = json.loads((folder / MANIFEST_FILE).read_text())
        (folder / MANIFEST_FILE).write_text(json.dumps({**content, **changes}))

    return apply


def entry(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / MANIFEST_FILE).read_text())["datanets"][0]
    return found


def link(folder: Path) -> None:
    (folder / "vectors-0.i8").rename(folder / "elsewhere")
    (folder / "vectors-0.i8").symlink_to(folder / "elsewhere")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (append("vectors-0.i8"), "digest in its manifest"),
        (link, "digest in its manifest"),
        (lambda folder: (folder / MANIFEST_FILE).unlink(), "is not a file"),
        (lambda folder: (folder / MANIFEST_FILE).write_bytes(b" " * 70_000), "larger than"),
        (lambda folder: (folder / MANIFEST_FILE).write_text("{"), "signals.json"),
        (edit(seed="xyz"), "16 hex digits"),
        (edit(schema="openledger.signals/1"), "another schema"),
        (edit(width=0), "width must be"),
        (edit(datanets=[]), "1 to 8 Datanets"),
        (lambda folder: edit(datanets=[{**entry(folder), "evidence_min": -1}])(folder), "evidence_min must be"),
        (edit(more=1), "objects with the fields"),
    ],
)
def test_damage_is_refused_with_its_reason(tmp_path: Path, damage: Callable[[Path], object], message: str) -> None:
    root = build_signals(tmp_path, [(D1, ROWS)], SKETCHES, trace_of_row)
    damage(tmp_path)
    with pytest.raises(AdapterRefusedError, match=message):
        open_signals(tmp_path, root)


@pytest.mark.parametrize("name", ["vectors-0.i8", "statistics-0.f32"])
def test_a_file_of_another_size_is_refused_even_under_its_own_hash(tmp_path: Path, name: str) -> None:
    build_signals(tmp_path, [(D1, ROWS)], SKETCHES, trace_of_row)
    append(name)(tmp_path)
    with pytest.raises(AdapterRefusedError, match="bytes"):
        open_signals(tmp_path, rehashed(tmp_path))
