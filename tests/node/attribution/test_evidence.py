from pathlib import Path

from support.indexes import ADA, BO, BYTES, LAKE_ID, owned

from openledger_node.attribution.attributors.suffix import SuffixAttributor
from openledger_node.attribution.evidence import RowEvidence, evidence
from openledger_node.attribution.service import attribute, exchange_of
from openledger_protocol.codec import canonical_digest
from openledger_protocol.datanet import Row

SUFFIX = SuffixAttributor()
ROWS = (
    Row(prompt="Who steers the ferry?", completion="Odile Fenn steers the ferry.", contributor="ada"),
    Row(prompt="who steers the FERRY?", completion="Odile Fenn steers the ferry!", contributor="bo"),
    Row(prompt="Who keeps the bees?", completion="Casper Marsh keeps the bees.", contributor="bo"),
    Row(prompt="ŁŁŁ", completion="ŁŁŁ", contributor="bo"),
)
ASKED = exchange_of("Who steers?", "It is Odile Fenn who steers.", BYTES)


def shown(folder: Path, rows_max: int = 10) -> tuple[RowEvidence, ...]:
    return evidence(SUFFIX, [owned(ROWS, folder)], ASKED, BYTES, rows_max=rows_max)


def test_the_best_row_of_each_cluster_is_shown_the_best_first_with_who_is_paid_for_it(tmp_path: Path) -> None:
    found = shown(tmp_path)
    assert [row.cluster for row in found] == [0, 2]
    assert found[0].score > found[1].score > 0
    assert (found[0].datanet, found[0].datanet_id) == ("lake", LAKE_ID)
    assert found[0].row in (canonical_digest(ROWS[0]), canonical_digest(ROWS[1]))
    assert shown(tmp_path, rows_max=1) == found[:1]
    paid = {share.account: share.ppm for share in attribute(SUFFIX, [owned(ROWS, tmp_path)], ASKED)}
    assert {row.account: row.share_ppm for row in found} == paid
    assert set(paid) == {ADA, BO}
    assert evidence(SUFFIX, [owned(ROWS, tmp_path)], exchange_of("?", "«", BYTES), BYTES) == ()


def test_the_runs_of_the_answer_that_stand_in_the_row_are_shown_as_text(tmp_path: Path) -> None:
    best = shown(tmp_path)[0]
    texts = [run.text for run in best.runs]
    assert "Odile Fenn " in texts
    for run in best.runs:
        assert run.text in best.text
        assert "It is Odile Fenn who steers."[run.begin : run.begin + run.length] == run.text
        assert run.length >= 2
