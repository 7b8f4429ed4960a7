"""`attribution verify-index` as it is printed, and its user's mistakes."""

from pathlib import Path

import pytest
from support.contributors import ADA, ROWS
from support.signal_trainee import make_trainee, shelve
from support.verbs import Run

from openledger_node.cli import attribution
from openledger_node.datanets.rows import write_rows
from openledger_node.home import Home
from openledger_node.models.adapters import Adapter


@pytest.fixture
def adapter(home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Adapter:
    trainee = make_trainee(tmp_path / "trainee")
    monkeypatch.setattr(attribution, "find_base", lambda *_: trainee.base)
    return shelve(home, trainee, ADA, has_signals=False)


def test_an_index_that_its_rows_give_holds_and_one_of_other_tokens_fails(
    run: Run, tmp_path: Path, adapter: Adapter, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_rows(tmp_path / "rows.jsonl", ROWS)
    words = ("attribution", "verify-index", "lake", "--rows", str(tmp_path / "rows.jsonl"))
    ran = run(*words)
    assert (ran.status, "holds" in ran.stdout, "no index of signals" in ran.stdout + ran.stderr) == (0, True, True)
    report = run(*words, "--json").json
    assert (report["adapter_id"], report["holds"]) == (adapter.id, True)
    assert report["checks"] == [{"what": "tokens", "holds": True, "detail": "3 rows have the same tokens"}]
    monkeypatch.setattr("openledger_node.factory.index_check.tokens_of", lambda *_: (1, 2, 3))
    ran = run(*words)
    assert (ran.status, "FALSE" in ran.stdout) == (1, True)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ((), "missing argument"),
        (("sea",), "sea"),
        (("lake",), "3 of the 3 rows that taught this adapter are not here"),
        (("lake", "--rows", "none.jsonl"), "cannot read rows from none.jsonl"),
    ],
)
def test_a_mistake_says_what_to_do(run: Run, adapter: Adapter, words: tuple[str, ...], told: str) -> None:
    ran = run("attribution", "verify-index", *words)
    assert ran.status != 0
    assert told in " ".join(ran.stderr.split())
