"""`models remove`: it frees space, spares files of other programs, and keeps the base that the node serves."""

import json
from pathlib import Path

import pytest
from support.verbs import Run

from openledger_node.cli import models
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


def test_only_the_base_that_the_node_serves_is_kept(run: Run, home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    served, other = put_base(home, "served"), put_base(home, "other")
    monkeypatch.setattr(models, "ask_daemon", lambda *_: {"base": "served"})
    refused = run("models", "remove", "served")
    assert refused.status == 3
    assert (
        "the running node serves served: serve another one first, by `openledger-node models use BASE`"
        in refused.stderr
    )
    assert run("models", "remove", "other").status == 0
    assert (served.exists(), other.exists()) == (True, False)
