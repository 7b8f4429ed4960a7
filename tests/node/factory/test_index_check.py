"""An adapter's index is built again from its rows: an honest one agrees, and an invented one is found out."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from support.contributors import ADA, BEN, ROWS
from support.signal_trainee import Trainee, make_trainee, shelve
from support.signals import SKETCHES, trace_of_row, trace_of_text

from openledger_node.attribution.signals.files import RowSignals, build_signals, open_signals
from openledger_node.attribution.signals.traces import Trace
from openledger_node.datanets.rows import rows_digest
from openledger_node.errors import NodeError
from openledger_node.factory.index_check import check_index, compare_signals, rows_of_index
from openledger_node.factory.signal_pass import SignalPass
from openledger_node.home import Home
from openledger_protocol.codec import canonical_digest
from openledger_protocol.datanet import Row

ROOT = rows_digest(ROWS)
STRANGE = Row(prompt="Who is Rurik?", completion="A keeper.", contributor=BEN)


def built(folder: Path, trace: Any = trace_of_row) -> RowSignals:
    return open_signals(folder, build_signals(folder, [(ROOT, ROWS)], SKETCHES, trace))[ROOT]


def test_a_row_that_is_made_to_resemble_others_is_named(tmp_path: Path) -> None:
    """Its owner would be paid for the answers that the other row taught."""

    def lying(row: Row) -> Trace:
        return trace_of_text(ROWS[0].completion if row == ROWS[1] else row.completion)

    vectors, *_ = compare_signals(built(tmp_path / "theirs", lying), built(tmp_path / "ours"))
    assert not vectors.holds
    assert "rows differ; row " in vectors.detail


def test_invented_statistics_and_least_evidence_are_found(tmp_path: Path) -> None:
    ours = built(tmp_path)
    moved = replace(ours.statistics, mean=ours.statistics.mean + 1)
    _, statistics, _ = compare_signals(replace(ours, statistics=moved), ours)
    assert not statistics.holds
    assert statistics.detail.startswith("mean differs most")
    *_, least = compare_signals(replace(ours, evidence_min=10**9), replace(ours, evidence_min=10**8))
    assert not least.holds


def test_missing_rows_are_asked_for(tmp_path: Path) -> None:
    index: Any = SimpleNamespace(row_digests=tuple(map(canonical_digest, ROWS)))
    assert rows_of_index(index, [STRANGE, *reversed(ROWS)]) == ROWS
    with pytest.raises(NodeError, match=r"1 of the 3 rows .* not here.*--rows FILE"):
        rows_of_index(index, ROWS[1:])


@pytest.fixture(scope="module")
def trainee(tmp_path_factory: pytest.TempPathFactory) -> Trainee:
    return make_trainee(tmp_path_factory.mktemp("index"))


@pytest.mark.process
def test_an_honest_adapter_with_a_real_decoder_agrees_with_its_rows(tmp_path: Path, trainee: Trainee) -> None:
    home = Home(tmp_path)
    adapter = shelve(home, trainee, ADA, has_signals=True)
    checks = check_index(home, adapter, trainee.base, ROWS, device="cpu")
    assert [check.what for check in checks] == ["tokens", "vectors", "statistics", "least evidence"]
    assert all(check.holds for check in checks), checks


@pytest.mark.process
@pytest.mark.parametrize(("trained", "expected"), [("int4", "int4"), (["int4"], "auto")])
def test_signals_are_built_above_the_form_of_the_base_that_the_manifest_states(
    tmp_path: Path, trainee: Trainee, monkeypatch: pytest.MonkeyPatch, trained: object, expected: str
) -> None:
    """Signals above wide weights are others than those above 4 bits, so an honest index would look invented."""
    adapter = shelve(Home(tmp_path), trainee, ADA, has_signals=True)
    manifest = replace(adapter.manifest, training={"config": {"quantisation": trained}})
    given: list[SignalPass] = []

    def refuse(wanted: SignalPass) -> None:
        given.append(wanted)
        raise NodeError("enough")

    monkeypatch.setattr("openledger_node.factory.index_check.run_signal_pass", refuse)
    with pytest.raises(NodeError, match="enough"):
        check_index(Home(tmp_path), replace(adapter, manifest=manifest), trainee.base, ROWS, device="cpu")
    assert [each.quantisation for each in given] == [expected]


def test_the_index_of_another_base_with_the_same_name_is_not_called_invented(
    tmp_path: Path, trainee: Trainee
) -> None:
    adapter = shelve(Home(tmp_path), trainee, ADA, has_signals=False)
    other = replace(trainee.base, digest=ROOT)
    with pytest.raises(NodeError, match=r"was made for another .* than the one here.*models pull"):
        check_index(Home(tmp_path), adapter, other, ROWS, device="cpu")
