"""`attribution show --html`: slips in its use are answered before the node is asked, and no file is overwritten."""

from pathlib import Path
from typing import Any

import pytest
from support.verbs import FixedMoney

from openledger_node.cli import attribution
from openledger_node.errors import InputError, NodeError


@pytest.mark.parametrize(
    ("flags", "why"),
    [
        ({"receipt": None, "html": Path("a.html")}, "--html needs a RECEIPT"),
        ({"receipt": None, "follow": True}, "--follow needs a RECEIPT"),
        ({"receipt": "0x25", "follow": True, "html": Path("a.html")}, "give one of them"),
    ],
)
def test_flags_that_do_not_fit_are_refused_before_the_node_is_asked(flags: dict[str, Any], why: str) -> None:
    with pytest.raises(InputError, match=why):
        attribution.show(**{"follow": False, "html": None, "limit": 20, "as_json": False, **flags})


def test_an_answer_is_written_once_and_over_no_other_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    money = FixedMoney({"digest": "0x253914e480", "html": "<!doctype html>é"})
    monkeypatch.setattr(attribution, "open_money", lambda: money)
    file = tmp_path / "answer.html"
    show = {"receipt": "0x25", "follow": False, "limit": 20, "as_json": True}
    attribution.show(html=file, **show)  # type: ignore[arg-type]
    assert money.asked == [("answer_page", {"receipt": "0x25"})]
    assert file.read_text(encoding="utf-8") == "<!doctype html>é"
    assert '"size_bytes": 17' in capsys.readouterr().out
    file.write_text("mine")
    with pytest.raises(NodeError, match=r"answer\.html: File exists\. Choose another name"):
        attribution.show(html=file, **show)  # type: ignore[arg-type]
    with pytest.raises(NodeError, match="No such file or directory"):
        attribution.show(html=tmp_path / "no" / "answer.html", **show)  # type: ignore[arg-type]
    assert file.read_text() == "mine"


def test_an_answer_whose_writing_is_interrupted_leaves_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        attribution._write_new(tmp_path / "answer.html", "text")
    assert list(tmp_path.iterdir()) == []
