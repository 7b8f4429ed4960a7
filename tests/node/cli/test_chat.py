"""Words of a conversation at the terminal: what starts with a slash is for the chat, and nobody pays for it."""

from typing import Any

import pytest

from openledger_node.cli import chat


def test_words_with_a_slash_are_never_sent(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[dict[str, Any]] = []

    def ask(body: dict[str, Any], *, is_quiet: bool) -> tuple[str, dict[str, Any]]:
        asked.append({**body, "messages": list(body["messages"])})
        return "answer", {}

    typed = [
        "/help",
        "/halp me",
        "one",
        "/system Be brief.",
        "two",
        "/model harbour",
        "/clear",
        "/etc/hosts is what?",
    ]
    monkeypatch.setattr(chat, "_questions", lambda: iter(typed))
    chat._converse(ask, {"model": "base"}, [])
    system = {"role": "system", "content": "Be brief."}
    assert [(body["model"], body["messages"]) for body in asked] == [
        ("base", [{"role": "user", "content": "one"}]),
        ("base", [system, {"role": "user", "content": "two"}]),
        ("harbour", [system, {"role": "user", "content": "/etc/hosts is what?"}]),
    ]
    said = capsys.readouterr().err
    assert "/halp is not a word of this chat" in said
    assert said.count("/system TEXT") == 2
