"""`models`, and `setup` of a base: real commands over the stores of other programs."""

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.commands import run_command
from support.gguf_stores import put_in_ollama, write_gguf
from support.processes.nodes import node_environment

from openledger_node.config import load_config
from openledger_node.home import Home
from openledger_node.models.bases import file_digest, list_bases

pytestmark = pytest.mark.process
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
    found = {each["source"]: each for each in listed(command)["found"]}
    ollama, lmstudio = found["ollama:tiny:latest"], found["lmstudio:Owner/Some Name/Tiny-Q8_0.gguf"]
    assert (ollama["store"], ollama["file"], ollama["format"]) == ("Ollama", str(blob), "Q4_K_M")
    assert (lmstudio["store"], lmstudio["file"], lmstudio["format"]) == ("LM Studio", str(file), "Q8_0")
    assert lmstudio["backends"] == ["torch_lora", "llamacpp"]
    assert "lmstudio:Owner/Some Name/Tiny-Q8_0.gguf" in command("models", "list").stdout
    blob.unlink()
    assert "run `ollama pull tiny:latest` again" in listed(command)["refused"]["ollama:tiny:latest"]
    assert "not usable ollama:tiny:latest: the weights of" in command("models", "list").stderr


def test_the_file_of_another_program_is_used_and_never_removed(command: Command, home: Home, blob: Path) -> None:
    home.config_file.write_text("[limits]\nram_bytes = 1000\nvram_bytes = 1000\n")
    ran = command("models", "pull", "ollama:tiny", "--json")
    assert ran.returncode == 0, "nothing is downloaded, so nothing is refused"
    assert "ollama:tiny does not fit" in ran.stderr
    base = json.loads(ran.stdout)
    assert (base["name"], base["source"], base["gguf"]) == ("tiny", "ollama:tiny:latest", str(blob))
    assert base["digest"] == file_digest(blob)
    removed = command("models", "remove", "tiny")
    assert re.search(rf"removed tiny, which frees [\d.]+ k?B; {blob} stays", removed.stderr)
    assert (blob.exists(), list_bases(home)) == (True, [])
    assert command("models", "pull", "ollama:tiny:latest").returncode == 0
    blob.unlink()
    (gone,) = listed(command)["models"]
    assert "run `openledger-node models pull ollama:tiny:latest`" in gone["problem"]


def test_setup_takes_every_name_of_a_base(command: Command, home: Home, blob: Path, file: Path) -> None:
    for name, base in (("ollama:tiny", "tiny"), ("lmstudio:Owner/Some Name", "Tiny-Q8_0"), (str(file), "Tiny-Q8_0")):
        ran = command("setup", "--no-input", "--base", name)
        assert ran.returncode == 0, ran.stderr
        assert load_config(home.config_file)[0].inference.base == name
        models = listed(command)["models"]
        assert [each["name"] for each in models if each["is_served"]] == [base]
    assert command("setup", "--no-input", "--base", "ollama:../../etc/passwd").returncode != 0
    assert load_config(home.config_file)[0].inference.base == str(file)
