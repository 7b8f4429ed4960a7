"""`models use` and `models remove`: what the running node is asked for, and what the command does itself."""

import json
from pathlib import Path
from typing import Any

import pytest
from node.cli.verbs import Run

from openledger_node.cli import models
from openledger_node.cli.daemon_client import RefusedError, SilentError
from openledger_node.cli.node import words_to_start_again
from openledger_node.home import Holder, Home
from openledger_node.models.bases import describe_folder

IDLE = {"state": "idle", "engine": {"why_failed": None}}  # of a node that serves what was ordered
OLD = {**IDLE, "state": "draining", "base": "old"}


class Daemon:
    """A node that takes an order and then answers with the given statuses, the last one again and again."""

    def __init__(self) -> None:
        self.orders: list[Any] = []
        self.statuses: list[Any] = [IDLE]

    def __call__(self, _home: Home, method: str, _path: str, body: Any = None, **_: Any) -> Any:
        if method == "POST":
            self.orders.append(body)
            return {"from": "old", "to": body["base"]}
        status = self.statuses.pop(0) if len(self.statuses) > 1 else self.statuses[0]
        if isinstance(status, Exception):
            raise status
        return status and {"base": Path(self.orders[-1]["base"]).name, **status}


@pytest.fixture
def daemon(monkeypatch: pytest.MonkeyPatch) -> Daemon:
    found = Daemon()
    monkeypatch.setattr(models, "ask_daemon", found)
    monkeypatch.setattr(models, "POLL_S", 0.0)
    return found


def put_folder(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({"model_type": "qwen3"}))
    (folder / "model.safetensors").write_bytes(b"weights")
    return folder


def test_a_folder_is_hashed_by_the_command_and_named_by_its_whole_path(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, daemon: Daemon
) -> None:
    folder = put_folder(tmp_path / "mine")
    monkeypatch.chdir(tmp_path)
    ran = run("models", "use", "./mine", "--json")
    assert (ran.status, daemon.orders) == (0, [{"base": str(folder.resolve())}]), ran.stderr
    assert (folder / "base.json").exists(), "the node needs not hash it again"
    refused = run("models", "use", "./nowhere")
    assert (refused.status, "nowhere" in refused.stderr, len(daemon.orders)) == (7, True, 1)


def test_the_command_follows_the_node_until_it_has_started_again(run: Run, home: Home, daemon: Daemon) -> None:
    describe_folder(put_folder(home.models / "tiny"))
    loading = {**IDLE, "state": "starting"}
    silent = SilentError(home, Holder(name="daemon", process=1), OSError("no answer"))
    daemon.statuses = [OLD, None, silent, loading, IDLE]
    ran = run("models", "use", "tiny")
    assert ran.status == 0
    assert "running answers finish …" in ran.stderr
    assert "loading the base …" in ran.stderr
    assert "tiny was old before; the node serves it now" in ran.stderr


@pytest.mark.parametrize(
    ("words", "again"),
    [
        (["start"], ["start"]),
        (["--home", "x", "start", "--base", "old", "--quiet"], ["--home", "x", "start", "--quiet"]),
        (["start", "--base=old", "--port", "0", "--no-hello"], ["start", "--no-hello"]),
    ],
)
def test_the_node_starts_again_with_its_flags_but_for_the_base(words: list[str], again: list[str]) -> None:
    assert words_to_start_again(words, 8420) == [*again, "--port", "8420"]


def test_a_base_that_fails_is_reported(run: Run, home: Home, daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    describe_folder(put_folder(home.models / "tiny"))
    daemon.statuses = [OLD, {**IDLE, "engine": {"why_failed": "its weights are damaged"}}]
    refused = run("models", "use", "tiny")
    assert (refused.status, "the node can't load tiny: its weights are damaged" in refused.stderr) == (7, True)
    assert daemon.orders == [{"base": "tiny"}]
    monkeypatch.setattr(models, "BETWEEN_S", 0.05)
    daemon.statuses = [OLD, None]
    gone = run("models", "use", "tiny")
    assert (gone.status, "run `openledger-node start` to serve tiny" in gone.stderr) == (7, True)


def test_a_base_is_removed_and_the_space_that_it_frees_is_said(run: Run, home: Home, tmp_path: Path) -> None:
    describe_folder(folder := put_folder(home.models / "tiny"))
    theirs = tmp_path / "theirs.bin"
    theirs.write_bytes(b"x" * 9_000)
    (folder / "link.bin").symlink_to(theirs)
    found = run("models", "remove", "tiny", "--json").json
    assert 0 < found["freed_bytes"] < 6_000
    assert not folder.exists()
    assert theirs.exists()


def test_a_running_node_removes_the_base_itself(run: Run, home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    describe_folder(folder := put_folder(home.models / "tiny"))
    asked = []

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
