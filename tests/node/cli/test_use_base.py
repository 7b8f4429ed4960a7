"""`models use`: what the running node is asked for, by a name that means the same in its own directory."""

import json
from pathlib import Path
from typing import Any

import pytest
from support.verbs import Run

from openledger_node.cli import models
from openledger_node.home import Home
from openledger_node.models.bases import describe_folder

DONE = {"stage": "done", "from": "old", "to": "new", "why": None, "ended_s": 1.0}


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What the node is asked for; it changes the base at once."""
    bodies: list[Any] = []

    def answer(_home: Home, _method: str, _path: str, body: Any, **_: Any) -> Any:
        bodies.append(body)
        return {"switch": DONE}

    monkeypatch.setattr(models, "ask_daemon", answer)
    return bodies


def put_folder(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({"model_type": "qwen3"}))
    (folder / "model.safetensors").write_bytes(b"weights")
    return folder


def test_a_folder_is_hashed_by_the_command_and_named_by_its_whole_path(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: list[Any]
) -> None:
    folder = put_folder(tmp_path / "mine")
    monkeypatch.chdir(tmp_path)
    ran = run("models", "use", "./mine", "--json")
    assert (ran.status, asked) == (0, [{"base": str(folder.resolve())}]), ran.stderr
    assert (folder / "base.json").exists(), "the node needs not hash it again"


def test_a_base_of_the_data_directory_keeps_its_name(run: Run, home: Home, asked: list[Any]) -> None:
    describe_folder(put_folder(home.models / "tiny"))
    assert run("models", "use", "tiny", "--json").status == 0
    assert asked == [{"base": "tiny"}]


def test_a_base_that_is_not_here_is_refused_before_the_node_is_asked(run: Run, asked: list[Any]) -> None:
    refused = run("models", "use", "./nowhere")
    assert (refused.status, "nowhere" in refused.stderr, asked) == (7, True, [])
