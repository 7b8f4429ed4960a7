"""`scripts/release_manifest.py` makes what a node accepts, and nothing else."""

import json
import sys
import time
from pathlib import Path

import pytest
from support.scripts import load_script

from openledger_node.operator.updates.manifest import read_manifest

script = load_script("release_manifest")


def run(monkeypatch: pytest.MonkeyPatch, *words: object) -> None:
    monkeypatch.setattr(sys, "argv", ["release_manifest.py", *map(str, words)])
    script.main()


def draw(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], file: Path) -> str:
    run(monkeypatch, "new-key", file)
    return capsys.readouterr().out.strip()


def make(monkeypatch: pytest.MonkeyPatch, folder: Path, **changes: object) -> Path:
    wheel, lock, out = (
        folder / "openledger_node-0.2.0-py3-none-any.whl",
        folder / "run.lock",
        folder / "manifest.json",
    )
    wheel.write_bytes(b"wheel")
    lock.write_bytes(b"lock")
    given = {
        "url": "https://example.org/openledger/",
        "notes": "Faster.",
        "key": folder / "key",
        "out": out,
        **changes,
    }
    run(monkeypatch, "make", wheel, lock, *(word for name, value in given.items() for word in (f"--{name}", value)))
    return out


def test_a_made_manifest_is_accepted_by_a_node(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    public = draw(monkeypatch, capsys, tmp_path / "key")
    assert (tmp_path / "key").stat().st_mode & 0o777 == 0o600
    content = make(monkeypatch, tmp_path).read_bytes()
    manifest = read_manifest(content, keys=[public], signatures_min=1, now_s=time.time())
    assert manifest.wheel.url == "https://example.org/openledger/openledger_node-0.2.0-py3-none-any.whl"
    assert 29 * 86_400 < manifest.expires_s - time.time() <= 30 * 86_400


def test_a_second_key_signs_the_same_manifest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    keys = [draw(monkeypatch, capsys, tmp_path / name) for name in ("key", "next")]
    out = make(monkeypatch, tmp_path)
    run(monkeypatch, "sign", out, "--key", tmp_path / "next")
    run(monkeypatch, "sign", out, "--key", tmp_path / "next")
    assert len(json.loads(out.read_text())["signatures"]) == 2
    read_manifest(out.read_bytes(), keys=keys, signatures_min=2, now_s=time.time())


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"notes": "two\nlines"}, "nodes would refuse this manifest"),
        ({"url": "http://example.org"}, "not encrypted"),
        ({"days": -1}, "expired"),
        ({"minimum": "old"}, "nodes would refuse"),
    ],
)
def test_what_nodes_would_refuse_is_not_written(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    changes: dict[str, object],
    words: str,
) -> None:
    draw(monkeypatch, capsys, tmp_path / "key")
    with pytest.raises(SystemExit, match=words):
        make(monkeypatch, tmp_path, **changes)
    assert not (tmp_path / "manifest.json").exists()


def test_a_key_is_never_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    draw(monkeypatch, capsys, tmp_path / "key")
    with pytest.raises(FileExistsError):
        run(monkeypatch, "new-key", tmp_path / "key")
