"""Bases on disk: what names them, what their digests hang on, and what is said where one is missing."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from openledger_node.errors import ModelError
from openledger_node.home import Home
from openledger_node.models.bases import (
    base_to_json,
    chat_template,
    describe_folder,
    find_base,
    folder_digest,
    list_bases,
    read_base,
    tokenizer_digest,
    write_base_json,
)
from openledger_node.models.download import pull_base
from openledger_protocol.constants import DEMO_BASE_NAME

VOCABULARY = {"a": 0, "b": 1, "ab": 2, "abb": 3}
MERGES = [["a", "b"], ["ab", "b"]]
ADDED = [{"id": 4, "content": "<end>", "special": True}]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_base(tmp_path / "mine")


def write_base(folder: Path, *, weight: float = 1.0) -> Path:
    folder.mkdir()
    (folder / "config.json").write_text('{"model_type": "llama", "rms_norm_eps": 1e-05}')
    save_file({"w": np.full(4, weight, dtype=np.float32)}, folder / "model.safetensors")
    write_tokenizer(folder)
    return folder


def write_tokenizer(folder: Path, *, indent: int | None = None, **changes: Any) -> Path:
    model = {"type": "BPE", "vocab": VOCABULARY, "merges": MERGES, **changes.pop("model", {})}
    content = {"version": "1.0", "added_tokens": ADDED, "model": model, **changes}
    (folder / "tokenizer.json").write_text(json.dumps(content, indent=indent))
    return folder


def quiet(_: object) -> None:
    pass


def test_a_base_is_found_by_its_path_and_by_its_name(home: Home, tmp_path: Path) -> None:
    home.models.mkdir()
    base = describe_folder(write_base(home.models / "mine"))
    assert find_base(home, "mine") == base
    assert find_base(home, str(home.models / "mine")) == base
    assert list_bases(home) == [base]
    assert base_to_json(base)["folder"] == str(base.folder)


@pytest.mark.parametrize(
    "change",
    [
        lambda folder: save_file({"w": np.zeros(4, dtype=np.float32)}, folder / "model.safetensors"),
        lambda folder: save_file({"v": np.ones(4, dtype=np.float32)}, folder / "more.safetensors"),
        lambda folder: (folder / "model.safetensors").rename(folder / "renamed.safetensors"),
        lambda folder: (folder / "config.json").write_text('{"model_type": "llama", "rms_norm_eps": 1e-06}'),
    ],
    ids=["other weights", "a second file", "another file name", "another config"],
)
def test_a_digest_changes_with_weights_and_config(folder: Path, change: Callable[[Path], Any]) -> None:
    before = folder_digest(folder)
    change(folder)
    assert folder_digest(folder) != before


def test_a_digest_does_not_change_with_anything_else(folder: Path) -> None:
    before = folder_digest(folder)
    for name in ("README.md", "tokenizer.json", "generation_config.json", "pytorch_model.bin"):
        (folder / name).write_text("{}")
    (folder / "config.json").write_text('{ "rms_norm_eps":0.00001,\n"model_type":"llama"}')
    assert folder_digest(folder) == before


def test_a_folder_whose_weights_were_changed_is_another_base(folder: Path) -> None:
    # Else adapters of the old weights would go on being served on the new ones.
    before = describe_folder(folder).digest
    weights = folder / "model.safetensors"
    save_file({"w": np.zeros(8, dtype=np.float32)}, weights)
    later_s = (folder / "base.json").stat().st_mtime + 60  # by more than any disk's clock is coarse
    os.utime(weights, (later_s, later_s))
    assert describe_folder(folder).digest != before


@pytest.mark.parametrize("missing", ["config.json", "model.safetensors"])
def test_a_folder_without_config_or_weights_is_no_base(folder: Path, missing: str) -> None:
    (folder / missing).unlink()
    with pytest.raises(ModelError, match=r"is not a base model: it needs config\.json and \*\.safetensors"):
        describe_folder(folder)


def test_a_pull_that_was_cut_off_is_no_base(home: Home) -> None:
    home.models.mkdir()
    write_base(home.models / f".{DEMO_BASE_NAME}.partial")
    write_base(home.models / DEMO_BASE_NAME)  # without a base.json
    assert list_bases(home) == []
    with pytest.raises(ModelError, match="is not on this machine"):
        find_base(home, DEMO_BASE_NAME)


@pytest.mark.parametrize(
    "content",
    [*("", "[]", '{"schema": "openledger.base/2"}', '{"schema": "openledger.base/1"}', '{"a":' + "[" * 100_000)],
    ids=lambda content: repr(content[:32]),
)
def test_a_torn_base_json_is_refused_with_what_to_do(folder: Path, content: str) -> None:
    describe_folder(folder)
    (folder / "base.json").write_text(content)
    with pytest.raises(ModelError, match=r"base\.json .*delete"):
        read_base(folder)


def test_the_layout_of_a_tokenizer_changes_no_digest(folder: Path) -> None:
    before = tokenizer_digest(folder)
    again = {"vocab": dict(reversed(VOCABULARY.items()))}
    added = [{**ADDED[0], "normalized": False}]
    changed = write_tokenizer(folder, indent=2, truncation={"max_length": 512}, model=again, added_tokens=added)
    assert tokenizer_digest(changed) == before


@pytest.mark.parametrize(
    "changes",
    [
        {"model": {"vocab": {**VOCABULARY, "ab": 3, "abb": 2}}},
        {"model": {"vocab": {**VOCABULARY, "ba": 5}}},
        {"model": {"merges": list(reversed(MERGES))}},
        {"model": {"merges": MERGES[:1]}},
        {"added_tokens": [{"id": 5, "content": "<end>"}]},
        {"added_tokens": []},
    ],
    ids=str,
)
def test_what_changes_token_ids_changes_the_digest(folder: Path, changes: dict[str, Any]) -> None:
    before = tokenizer_digest(folder)
    assert tokenizer_digest(write_tokenizer(folder, **changes)) != before


def test_a_chat_template_is_read_from_its_own_file_before_the_settings(folder: Path) -> None:
    assert chat_template(folder) is None
    (folder / "tokenizer_config.json").write_text('{"chat_template": "old"}')
    assert chat_template(folder) == "old"
    (folder / "chat_template.jinja").write_text("new")
    assert chat_template(folder) == "new"


def test_pulling_what_is_here_fetches_nothing(home: Home) -> None:
    home.models.mkdir()
    folder = write_base(home.models / "owner--mine")
    write_base_json(folder, name="owner--mine", digest=folder_digest(folder), source="owner/mine@main")
    base = read_base(folder)
    assert pull_base(home, "owner/mine@main", source=None, report=quiet) == base
    with pytest.raises(ModelError, match="is here from owner/mine@main: delete"):
        pull_base(home, "owner/mine@v2", source=None, report=quiet)


def test_a_demo_file_that_is_another_one_is_refused_and_kept(home: Home, tmp_path: Path) -> None:
    other = tmp_path / "other.gguf"
    other.write_bytes(b"GGUF, but another")
    with pytest.raises(ModelError, match="has SHA-256 0x"):
        pull_base(home, DEMO_BASE_NAME, source=other, report=quiet)
    assert other.exists()
    assert list_bases(home) == []
