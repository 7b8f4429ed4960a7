"""`models`, and `setup` of a base: real commands over the stores of other programs."""

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.commands import run_command
from support.file_site import serve_site
from support.gguf_stores import publish, put_in_ollama, write_gguf
from support.processes.nodes import node_environment
from support.verbs import type_on_terminal

from openledger_node.config import load_config
from openledger_node.home import Home
from openledger_node.models.bases import file_digest, list_bases

Command = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def command(home: Home, tmp_path: Path) -> Command:
    """Run a command as a user whose programs keep their models in `tmp_path`."""
    mine = {"HOME": str(tmp_path), "OLLAMA_MODELS": str(tmp_path / "ollama"), "COLUMNS": "300"}
    return lambda *words: run_command(*words, env=node_environment(home, **mine))


@pytest.fixture
def blob(tmp_path: Path) -> Path:
    return put_in_ollama(tmp_path / "ollama", "tiny/latest", write_gguf(tmp_path / "made.gguf"), "params")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return write_gguf(tmp_path / ".lmstudio" / "models" / "Owner" / "Some Name" / "Tiny-Q8_0.gguf", seed=1)


def listed(command: Command) -> Any:
    ran = command("models", "list", "--json")
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout)


def test_the_models_of_other_programs_are_listed(command: Command, blob: Path, file: Path) -> None:
    found = [each for each in listed(command)["found"] if str(each["file"]) in (str(blob), str(file))]
    assert found == [
        {
            "source": "ollama:tiny:latest",
            "store": "Ollama",
            "file": str(blob),
            "size_bytes": blob.stat().st_size,
            "family": "llama",
            "format": "Q4_K_M",
            "backends": ["torch_lora", "llamacpp"],
        },
        {
            "source": "lmstudio:Owner/Some Name/Tiny-Q8_0.gguf",
            "store": "LM Studio",
            "file": str(file),
            "size_bytes": file.stat().st_size,
            "family": "llama",
            "format": "Q8_0",
            "backends": ["torch_lora", "llamacpp"],
        },
    ]
    table = command("models", "list").stdout
    assert "ollama:tiny:latest" in table
    assert "lmstudio:Owner/Some Name/Tiny-Q8_0.gguf" in table


def test_a_model_that_cannot_be_used_is_listed_with_the_reason(command: Command, blob: Path) -> None:
    blob.unlink()
    assert "run `ollama pull tiny:latest` again" in listed(command)["refused"]["ollama:tiny:latest"]
    assert "not usable ollama:tiny:latest: the weights of" in command("models", "list").stderr


@pytest.mark.parametrize("words", [["ollama:tiny"], ["ollama:tiny:latest"]])
def test_a_model_of_another_program_is_pulled_by_its_name(
    command: Command, home: Home, blob: Path, words: list[str]
) -> None:
    ran = command("models", "pull", *words, "--json")
    assert ran.returncode == 0, ran.stderr
    base = json.loads(ran.stdout)
    assert (base["name"], base["source"], base["gguf"]) == ("tiny", "ollama:tiny:latest", str(blob))
    assert base["digest"] == file_digest(blob)
    assert [base.name for base in list_bases(home)] == ["tiny"]


def test_a_model_that_only_another_backend_serves_is_pulled_with_a_word_on_it(
    command: Command, tmp_path: Path, file: Path
) -> None:
    foreign = write_gguf(tmp_path / "phi2-Q8_0.gguf", architecture="phi2")
    assert 'set `[inference] backend` to "llamacpp"' in command("models", "pull", str(foreign)).stderr
    assert "backend" not in command("models", "pull", str(file)).stderr


def test_setup_takes_every_name_of_a_base_and_the_list_marks_it(
    command: Command, home: Home, blob: Path, file: Path
) -> None:
    for name, base in (("ollama:tiny", "tiny"), ("lmstudio:Owner/Some Name", "Tiny-Q8_0"), (str(file), "Tiny-Q8_0")):
        ran = command("setup", "--no-input", "--base", name)
        assert ran.returncode == 0, ran.stderr
        assert load_config(home.config_file)[0].inference.base == name
        models = listed(command)["models"]
        assert [each["name"] for each in models if each["is_served"]] == [base]


def test_setup_shows_the_models_of_other_programs_and_asks_again_for_one_that_is_not_there(
    home: Home, blob: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OLLAMA_MODELS", str(tmp_path / "ollama"))
    home.config_file.write_text("[inference]\nbase = 'fake'\n")
    answers = [
        ("1 of 3  base [fake]", "ollama:tini"),
        ("1 of 3  base [fake]", "ollama:tiny"),
        ("2 of 3  network [local]", ""),
        ("3 of 3  price [0.005]", ""),
    ]
    ran = type_on_terminal(home, "setup", answers=answers)
    assert ran.status == 0, ran.stdout
    assert "ollama:tiny:latest" in ran.stdout.partition("1 of 3")[0]
    assert "Ollama has no model tini on this machine: run `ollama pull tini` first" in ran.stdout
    assert load_config(home.config_file)[0].inference.base == "ollama:tiny"
    assert [base.gguf for base in list_bases(home)] == [blob]


@pytest.mark.parametrize("name", ["ollama:gone", "lmstudio:a/b", "/nowhere/x.gguf", "ollama:../../etc/passwd"])
def test_setup_refuses_a_model_that_is_not_there_and_changes_nothing(command: Command, home: Home, name: str) -> None:
    ran = command("setup", "--no-input", "--base", name)
    assert ran.returncode != 0
    assert not home.config_file.exists()


def test_a_model_of_another_program_that_does_not_fit_is_pulled_with_a_word_on_it(
    command: Command, home: Home, blob: Path
) -> None:
    home.config_file.write_text("[limits]\nram_bytes = 1000\nvram_bytes = 1000\n")
    ran = command("models", "pull", "ollama:tiny")
    assert ran.returncode == 0, "nothing is downloaded, so nothing is refused"
    assert "ollama:tiny does not fit" in ran.stderr


def test_one_gguf_file_of_the_hub_is_pulled_if_it_fits(
    command: Command, home: Home, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serve_site() as hub:
        publish(hub, file.read_bytes(), ["Tiny-Q8_0.gguf", "Tiny-Q4_0.gguf"])
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        home.config_file.write_text("[limits]\nram_bytes = 1000\nvram_bytes = 1000\n")
        refused = command("models", "pull", "owner/name:Q8_0")
        assert refused.returncode != 0
        assert "owner/name:Q8_0 does not fit" in refused.stderr
        ran = command("models", "pull", "owner/name:Q8_0", "--anyway", "--json")
    assert ran.returncode == 0, ran.stderr
    base = json.loads(ran.stdout)
    assert (base["name"], base["source"]) == ("Tiny-Q8_0", "owner/name/Tiny-Q8_0.gguf")
    assert base["gguf"] == str(home.models / "Tiny-Q8_0" / "Tiny-Q8_0.gguf")
    assert base["digest"] == file_digest(file)


def test_a_base_whose_file_is_gone_is_listed_with_what_to_do(command: Command, blob: Path) -> None:
    assert command("models", "pull", "ollama:tiny").returncode == 0
    blob.unlink()
    (base,) = listed(command)["models"]
    assert "run `openledger-node models pull ollama:tiny:latest`" in base["problem"]


def test_removing_a_base_says_that_the_file_stays(command: Command, home: Home, blob: Path) -> None:
    assert command("models", "pull", "ollama:tiny").returncode == 0
    ran = command("models", "remove", "tiny")
    assert ran.returncode == 0, ran.stderr
    assert re.search(rf"removed tiny, which frees [\d.]+ k?B; {blob} stays", ran.stderr)
    assert blob.exists()
    assert list_bases(home) == []
