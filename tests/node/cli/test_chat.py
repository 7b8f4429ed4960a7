"""Words of a conversation at the terminal: what starts with a slash is for the chat, and nobody pays for it."""

from pathlib import Path
from typing import Any

import pytest

from openledger_node.cli import chat, chat_client
from openledger_node.cli.chat import check_text
from openledger_node.cli.chat_client import CostNotice
from openledger_node.errors import NodeError
from openledger_node.home import Home


def test_a_slash_command_is_never_sent(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    asked: list[dict[str, Any]] = []

    def ask(body: dict[str, Any], *, is_quiet: bool) -> tuple[str, dict[str, Any]]:
        asked.append({**body, "messages": list(body["messages"])})
        return "answer", {}

    typed = ["/help", "/halp me", "one", "/system Be brief.", "two", "/model harbour", "/clear", "/etc/hosts is ok?"]
    monkeypatch.setattr(chat, "_questions", lambda: iter(typed))
    chat._converse(ask, {"model": "base"}, [])
    system = {"role": "system", "content": "Be brief."}
    assert [(body["model"], body["messages"]) for body in asked] == [
        ("base", [{"role": "user", "content": "one"}]),
        ("base", [system, {"role": "user", "content": "two"}]),
        ("harbour", [system, {"role": "user", "content": "/etc/hosts is ok?"}]),
    ]
    said = capsys.readouterr().err
    assert "/halp is not a word of this chat" in said
    assert said.count("/system TEXT") == 2


def answers(chain: str | None = "ok", *, serve: bool = True) -> dict[str, Any]:
    adapter = {"name": "harbour", "full_name": "harbour@1234", "id": "0x12"}
    return {
        "/status": {"base": "smollm", "chain": chain},
        "/limits": {"serve": serve, "request_max_wei": str(10**17)},
        "/adapters": {"adapters": [adapter]},
    }


def notice(
    monkeypatch: pytest.MonkeyPatch, home: Path, found: dict[str, Any], *, is_quiet: bool = False
) -> CostNotice:
    monkeypatch.setattr(chat_client, "ask_daemon", lambda _home, _method, path: found[path])
    return CostNotice(Home(home), is_quiet=is_quiet)


def test_an_answer_of_another_node_says_before_what_it_can_cost_and_after_what_it_did(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = notice(monkeypatch, tmp_path, answers())
    for model in ("ferry", "ferry"):
        said.before(model)
    printed = capsys.readouterr()
    assert printed.out == "", "an answer in a pipe stays clean"
    text = " ".join(printed.err.split())
    assert text.count("ferry is not on this machine") == 1
    assert "at most 0.1 OPEN for each question" in text
    assert "deposits 1 OPEN" in text
    usage = {"prompt_tokens": 28, "completion_tokens": 20, "cost_wei": "91000000000000"}
    for free in (None, {**usage, "cost_wei": "0"}, {**usage, "cost_wei": None}):
        said.after(free)
    assert capsys.readouterr().err == ""
    said.after(usage)
    assert "you paid 0.000091 OPEN for 28 + 20 tokens" in capsys.readouterr().err


def test_nothing_is_said_where_nothing_is_paid_and_a_requester_pays_for_every_model(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for model in ("smollm", "harbour", "harbour@1234", "0x12", "smollm:harbour"):
        notice(monkeypatch, tmp_path, answers()).before(model)
    notice(monkeypatch, tmp_path, answers(None)).before("ferry")
    notice(monkeypatch, tmp_path, answers(), is_quiet=True).before("ferry")
    assert capsys.readouterr().err == ""
    notice(monkeypatch, tmp_path, answers(serve=False)).before("smollm")
    assert "smollm is not on this machine" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["\udcff\udcfe", "a \udcff"])
def test_a_question_that_is_not_utf_8_is_refused_and_no_traceback(text: str) -> None:
    with pytest.raises(NodeError, match="send it in UTF-8"):
        check_text(text, "")
    check_text("Où est 🙂?", "Sei kurz.")
