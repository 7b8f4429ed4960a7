"""The greeting of a start: what a newcomer is told to try, and what the answers are worth."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from openledger_node.cli import greeting
from openledger_node.cli.greeting import greet
from openledger_node.first_words import FIRST_QUESTION, SAMPLE_QUESTION, SAMPLE_TEACHER

PROFILE = SimpleNamespace(device="cpu", dtype="bfloat16", backend="torch_lora")


def listening(base: str = "smollm2-135m-instruct", num_adapters: int = 0, is_selling: bool = True) -> Any:
    return SimpleNamespace(
        url="http://127.0.0.1:8420",
        page="http://127.0.0.1:8420/open?code=x",
        key_file=Path("/home/me/keys/api.key"),
        base=SimpleNamespace(name=base),
        engine=SimpleNamespace(profile=PROFILE),
        is_selling=is_selling,
        num_adapters=num_adapters,
        num_recovered=0,
    )


def said(capsys: pytest.CaptureFixture[str], node: Any) -> str:
    greet(node, began_s=0.0, hello=False)
    return capsys.readouterr().err


def test_the_demo_base_is_asked_what_it_knows_and_said_to_be_no_judge_of_facts(
    capsys: pytest.CaptureFixture[str],
) -> None:
    text = said(capsys, listening())
    assert f"chat '{FIRST_QUESTION}'" in text
    assert f'"content": "{FIRST_QUESTION}"}}], "temperature": 0}}' in text
    assert "don't trust its answers. For a larger base, run `openledger-node setup`" in text
    assert "demo base" not in said(capsys, listening(base="qwen"))


def test_the_shipped_adapter_is_named_with_its_teacher_where_there_is_none_yet(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(greeting, "files", lambda _: tmp_path)
    assert SAMPLE_TEACHER not in said(capsys, listening())
    (tmp_path / "samples" / "harbour").mkdir(parents=True)
    text = said(capsys, listening())
    assert (SAMPLE_TEACHER in text, f"chat '{SAMPLE_QUESTION}' --model harbour" in text) == (True, True)
    assert SAMPLE_TEACHER not in said(capsys, listening(num_adapters=1))


def test_a_node_that_only_buys_is_told_where_adapters_are_and_not_to_add_one(
    capsys: pytest.CaptureFixture[str],
) -> None:
    text = said(capsys, listening(is_selling=False))
    assert "adapters  those of other nodes" in text
    assert "peers list` shows who sells which" in text
    assert "adapters add" not in text
