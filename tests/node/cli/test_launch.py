"""`launch`: what it prints starts the program with the right address, model and key."""

import json
import os
import stat
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from support.verbs import Run

from openledger_node.cli import launch
from openledger_node.cli.launch import PROGRAMS

URL = "http://127.0.0.1:8420"
SPY = f"""#!{sys.executable}
import json, os, sys
print(json.dumps({{"words": sys.argv[1:], "environment": dict(os.environ)}}))
"""


@pytest.fixture
def key_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A node that answers, with its key in a folder whose name a shell must quote."""
    file = tmp_path / "a folder" / "api.key"
    file.parent.mkdir()
    file.write_text("olk-secret\n")
    paths = {
        "/connect": {"base_url": f"{URL}/v1", "key_file": str(file), "models": ["lake", "lake:harbour"]},
        "/status": {"engine": {"context_max": 8192}},
    }
    monkeypatch.setattr(launch, "ask_daemon", lambda _home, _method, path: paths[path])
    return file


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All programs, as scripts that print how they were called."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for make, _ in PROGRAMS.values():
        program = folder / make(URL, "lake").command[0]
        program.write_text(SPY)
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")


def call(line: str) -> Any:
    return json.loads(subprocess.check_output(["sh", "-c", line], text=True))


@pytest.mark.usefixtures("installed", "key_file")
@pytest.mark.parametrize("program", PROGRAMS)
def test_the_printed_line_starts_the_program_with_the_key(run: Run, program: str) -> None:
    ran = run("launch", program, "--model", "lake:harbour")
    assert "olk-secret" not in ran.stdout + ran.stderr
    called = call(ran.stdout)
    assert "olk-secret" in called["environment"].values()
    assert not any("olk-secret" in word for word in called["words"])
    seen = json.dumps(called)
    assert URL in seen
    assert "lake:harbour" in seen


@pytest.mark.usefixtures("installed", "key_file")
def test_programs_read_what_they_are_given(run: Run) -> None:
    claude = call(run("launch", "claude").stdout)["environment"]
    assert (claude["ANTHROPIC_BASE_URL"], claude["ANTHROPIC_AUTH_TOKEN"]) == (URL, "olk-secret")
    assert claude["ANTHROPIC_API_KEY"] == ""  # a key there would go before the token
    codex = call(run("launch", "codex").stdout)["words"]
    settings = tomllib.loads("\n".join(codex[index + 1] for index, word in enumerate(codex) if word == "-c"))
    provider = settings["model_providers"][settings["model_provider"]]
    assert (provider["base_url"], provider["wire_api"]) == (f"{URL}/v1", "responses")
    assert call(run("launch", "codex").stdout)["environment"][provider["env_key"]] == "olk-secret"
    assert settings["web_search"] == "disabled"
    content = call(run("launch", "opencode").stdout)["environment"]["OPENCODE_CONFIG_CONTENT"]
    assert json.loads(content)["model"] == "openledger/lake"


@pytest.mark.usefixtures("installed")
def test_run_replaces_the_process_and_keeps_the_key_out_of_its_arguments(
    run: Run, key_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[Any] = []

    def replace(name: str, words: list[str], environment: dict[str, str]) -> None:
        started.append((name, words, environment["OPENLEDGER_API_KEY"]))
        raise SystemExit(0)

    monkeypatch.setattr(os, "execvpe", replace)
    assert run("launch", "codex", "--run").status == 0
    ((name, words, key),) = started
    assert (name, key) == ("codex", key_file.read_text().strip())
    assert not any(key in word for word in words)


@pytest.mark.usefixtures("key_file")
def test_what_is_missing_is_named_with_its_remedy(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    assert "npm install --global @openai/codex" in run("launch", "codex").stderr
    ran = run("launch", "codex", "--run")
    assert (ran.status, "is not installed" in ran.stderr) == (1, True)
    assert "It offers lake, lake:harbour." in run("launch", "codex", "--model", "sea").stderr
    assert run("launch", "emacs").status == 2
    assert "room for 8,192" in run("launch", "claude").stderr
    assert "room for" not in run("launch", "open-webui").stderr
    assert run("launch", "claude", "--json").json["key_variable"] == "ANTHROPIC_AUTH_TOKEN"


def test_launch_without_a_node_says_how_to_start_one(run: Run) -> None:
    ran = run("launch", "claude")
    assert (ran.status, "openledger-node start" in ran.stderr) == (1, True)
