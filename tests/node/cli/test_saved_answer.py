"""`attribution show --html`: slips in its use are answered before the node is asked, and no file is overwritten."""

import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from openledger_node.cli import attribution
from openledger_node.errors import InputError, NodeError


class OneAnswer:
    """Money that knows one answer."""

    def __enter__(self) -> "OneAnswer":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def ask(self, question: str, **arguments: Any) -> dict[str, Any]:
        assert (question, arguments) == ("answer_page", {"receipt": "0x25"})
        return {"digest": "0x253914e480", "html": "<!doctype html>é"}


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
    monkeypatch.setattr(attribution, "open_money", OneAnswer)
    file = tmp_path / "answer.html"
    show = {"receipt": "0x25", "follow": False, "limit": 20, "as_json": True}
    attribution.show(html=file, **show)  # type: ignore[arg-type]
    assert file.read_text(encoding="utf-8") == "<!doctype html>é"
    assert '"size_bytes": 17' in capsys.readouterr().out
    file.write_text("mine")
    with pytest.raises(NodeError, match=r"answer\.html: File exists\. Choose another name"):
        attribution.show(html=file, **show)  # type: ignore[arg-type]
    with pytest.raises(NodeError, match="No such file or directory"):
        attribution.show(html=tmp_path / "no" / "answer.html", **show)  # type: ignore[arg-type]
    assert file.read_text() == "mine"


@contextmanager
def small_files() -> Iterator[None]:
    """Files of at most 8 bytes: a write past them fails as on a full disk, after a part of it.

    It is for a single call, because pytest's own output may go to a file too.
    """
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


def test_a_disk_that_is_full_keeps_no_part_of_an_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attribution, "open_money", OneAnswer)
    refusal = r"cannot write .*answer\.html: File too large\. Choose another name"
    with small_files(), pytest.raises(NodeError, match=refusal):
        attribution.show(receipt="0x25", html=tmp_path / "answer.html", follow=False, limit=20, as_json=True)
    assert list(tmp_path.iterdir()) == []


def test_an_answer_whose_writing_is_interrupted_leaves_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        attribution._write_new(tmp_path / "answer.html", "text")
    assert list(tmp_path.iterdir()) == []
