"""`models remove`: it frees space, spares files of other programs, and keeps the base that the node serves."""

import json
from pathlib import Path
from typing import Any

import pytest
from support.verbs import Run

from openledger_node.cli import models
from openledger_node.cli.daemon_client import RefusedError
from openledger_node.home import Home
from openledger_node.models.bases import BASE_SCHEMA


def put_base(home: Home, name: str) -> Path:
    folder = home.models / name
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(b"x" * 5_000)
    unknown = dict.fromkeys(("source", "tokenizer_digest", "chat_template_digest"))
    described = {"schema": BASE_SCHEMA, "name": name, "digest": "0x" + "11" * 32, **unknown}
    (folder / "base.json").write_text(json.dumps(described))
    return folder


def test_a_base_is_removed_and_the_space_that_it_frees_is_said(run: Run, home: Home, tmp_path: Path) -> None:
    folder = put_base(home, "tiny")
    theirs = tmp_path / "theirs.bin"
    theirs.write_bytes(b"x" * 9_000)
    (folder / "link.bin").symlink_to(theirs)
    found = run("models", "remove", "tiny", "--json").json
    assert 5_000 < found["freed_bytes"] < 6_000
    assert not folder.exists()
    assert theirs.exists()


def test_a_running_node_removes_the_base_itself_or_says_why_not(
    run: Run, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, asked = put_base(home, "tiny"), []

    def refuse(_home: Home, *words: Any, timeout_s: float) -> Any:
        asked.append(words)
        raise RefusedError("tiny may be in use: serve another base first", 3)

    monkeypatch.setattr(models, "ask_daemon", refuse)
    refused = run("models", "remove", "tiny")
    assert (refused.status, "tiny may be in use" in refused.stderr) == (3, True)
    assert asked == [("POST", "/models/remove", {"base": "tiny"})], "its status names the base that loads, too"
    monkeypatch.setattr(models, "ask_daemon", lambda *_, **__: {"freed_bytes": 0})
    assert run("models", "remove", "tiny", "--json").json["freed_bytes"] == 0
    assert folder.exists(), "the command itself deletes nothing"
