"""`attribution`: an answer's page in a file, and an index that is checked."""

from pathlib import Path

import pytest
from node.cli.verbs import FixedMoney, Run
from support.contributors import ADA, ROWS
from support.signal_trainee import make_trainee, shelve

from openledger_node.cli import attribution
from openledger_node.datanets.rows import write_rows
from openledger_node.home import Home
from openledger_node.models.adapters import Adapter


def test_flags_that_do_not_fit_are_refused_before_the_node_is_asked(run: Run) -> None:
    for words, why in (
        (("--html", "a.html"), "--html needs a RECEIPT"),
        (("--follow",), "--follow needs a RECEIPT"),
        (("0x25", "--follow", "--html", "a.html"), "give one of them"),
    ):
        ran = run("attribution", "show", *words)
        assert (ran.status, why in ran.stderr) == (2, True), why


def test_an_answer_page_overwrites_no_file(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    money = FixedMoney({"digest": "0x253914e480", "html": "<!doctype html>é"})
    monkeypatch.setattr(attribution, "open_money", lambda: money)
    file = tmp_path / "answer.html"
    assert run("attribution", "show", "0x25", "--html", str(file), "--json").json["size_bytes"] == 17
    assert money.asked == [("answer_page", {"receipt": "0x25"})]
    assert file.read_text(encoding="utf-8") == "<!doctype html>é"
    file.write_text("mine")
    taken = run("attribution", "show", "0x25", "--html", str(file))
    assert (taken.status, "File exists. Choose another name" in " ".join(taken.stderr.split())) == (1, True)
    assert (run("attribution", "show", "0x25", "--html", "/nowhere/a.html").status, file.read_text()) == (1, "mine")

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        attribution._write_new(tmp_path / "other.html", "text")
    assert [each.name for each in tmp_path.iterdir() if each.is_file()] == ["answer.html"]


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
