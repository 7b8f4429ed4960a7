"""Help and completion: from the tree of commands, without importing them; the scripts run in the real shells."""

import json
import os
import shutil
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest
from node.cli.verbs import Run

from openledger_node.cli.command_tree import as_in_tree, load_tree, read_line
from openledger_node.cli.completion import COMPLETION, SCRIPTS, completions, install_completion
from openledger_node.cli.help_text import render_help
from openledger_node.home import Home

HEAVY = ["torch", "numpy", "trio", "fastapi", "httpx", "pydantic", "typer", "click", "rich", "sqlite3", "eth_abi"]
HEAVY += ["Crypto", "libp2p", "eth_account"]
ANY_COMMAND = {"pydantic", "typer", "rich"}
"""Packages that each command needs: typer checks values with pydantic."""
RUN = f"""
import atexit, sys
atexit.register(lambda: print(*[name for name in {HEAVY} if name in sys.modules], file=sys.stderr))
from openledger_node.cli.main import main
main()
"""


def loaded_by(*words: str, home: Home, **environment: str) -> tuple[set[str], str]:
    """Run a line in a process of its own; return the heavy packages that it imported, and its output."""
    ran = subprocess.run(
        [sys.executable, "-c", RUN, *words],
        env={**os.environ, "OPENLEDGER_HOME": str(home.root), **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    return set(ran.stderr.split()) & set(HEAVY), ran.stdout


@pytest.mark.process
@pytest.mark.parametrize(
    ("words", "environment", "shown", "needed"),
    [
        (["--help"], {}, "Usage", set()),
        (["help", "wallet", "create"], {}, "openledger-node wallet create [ACCOUNT] [OPTIONS]", set()),
        (["openledger-node chat --model ", ""], {COMPLETION: "bash"}, "harbour", set()),
        (["status", "--json"], {}, '"stopped"', {"typer", "rich"}),
        (["chat", "hello"], {}, "", ANY_COMMAND | {"click", "httpx"}),
        (["doctor", "--json"], {}, '"checks"', {"typer", "rich", "numpy", "sqlite3", "Crypto"}),
        (["jobs", "--json"], {}, '"jobs"', ANY_COMMAND | {"Crypto", "sqlite3"}),
    ],
    ids=["--help", "help", "values", "status", "chat", "doctor", "jobs"],
)
def test_a_command_imports_nothing_heavy_that_it_does_not_need(
    home: Home, words: list[str], environment: dict[str, str], shown: str, needed: set[str]
) -> None:
    add_adapter(home, "harbour@00000001")
    loaded, output = loaded_by(*words, home=home, **environment)
    assert shown in output
    assert loaded <= needed


# ---- help


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("--home folder datanets list", "--home folder datanet list"),
        ("--home=folder channels topup 0x1 2", "--home=folder channels top-up 0x1 2"),
        ("chat datanets", "chat datanets"),
        ("channels close topup", "channels close topup"),
        ("--home", "--home"),
    ],
)
def test_another_spelling_of_a_command_is_taken_where_a_command_is_meant(typed: str, meant: str) -> None:
    assert as_in_tree(typed.split()) == meant.split()


def test_no_line_of_the_help_is_wider_than_the_screen_or_breaks_a_sentence() -> None:
    for command in load_tree().walk():
        text = render_help(command, width=80)
        assert max(map(len, text.splitlines())) <= 80, command.path
        about = text.partition("\n\nUsage")[0].split("\n\n")
        assert [" ".join(part.split()) for part in about] == command.help.split("\n\n")
        for part in about:
            for line, following in pairwise(part.split("\n")):
                assert len(f"{line} {following.split()[0]}") > 80, line


def test_help_can_be_asked_for_in_three_ways_and_a_group_alone_shows_its_own(run: Run) -> None:
    for words in (["wallet", "create", "-h"], ["wallet", "create", "--help"], ["help", "wallet", "create"]):
        ran = run(*words)
        assert (ran.status, ran.stderr) == (0, "")
        assert ran.stdout.startswith("Create a key")
    group = run("wallet")
    assert (group.status, group.stdout) == (2, run("wallet", "--help").stdout)
    assert not read_line(["gov", "vote", "1", "for", "--reason", "--help"]).is_help, "a value is meant"
    assert not read_line(["chat", "--", "--help"]).is_help


def test_wrong_words_name_the_nearest_right_ones(run: Run) -> None:
    for words, nearest in [
        (["walet"], "did you mean `wallet`?"),
        (["wallet", "creat"], "did you mean `create`?"),
        (["help", "wallet", "creat"], "did you mean `create`?"),
        (["jobs", "--limt", "3"], "did you mean `--limit`?"),
        (["--install-completion", "tcsh"], "give bash, zsh or fish"),
    ]:
        ran = run(*words)
        assert (ran.status, nearest in ran.stderr) == (2, True), words


# ---- completion


def add_adapter(home: Home, full_name: str) -> None:
    folder = home.adapters / full_name
    folder.mkdir(parents=True)
    (folder / "adapter.json").write_text("{}")


def offered(*words: str) -> list[str]:
    return [value for value, _ in completions(words)]


def test_completion_offers_commands_options_and_choices() -> None:
    assert offered("wal") == ["wallet"]
    assert {"create", "import", "show"} <= set(offered("wallet", ""))
    assert "--sample" in offered("factory", "train", "--sa")
    assert "--sample" not in offered("factory", "train", "--sample", "--")
    assert offered("jobs", "--state", "f") == ["failed"]
    assert offered("jobs", "--state=f") == ["--state=failed"]
    assert offered("help", "wallet", "cr") == ["create"]
    assert "status" in offered("")


def test_completion_offers_what_is_in_the_data_directory(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENLEDGER_HOME", "/nowhere")
    for name in ("harbour@00000001", "ferry@00000002", "ferry@00000003"):
        add_adapter(home, name)
    (home.models / "tiny").mkdir(parents=True)
    (home.models / "tiny" / "base.json").write_text("{}")
    datanet = home.datanets / "harbour" / "own" / "datanet.json"
    datanet.parent.mkdir(parents=True)
    datanet.write_text(json.dumps({"batches": [{"digest": "0x" + "ab" * 32}]}))
    home.network("sea-1").mkdir(parents=True)
    home.network_file("sea-1").write_text("{}")
    here = ("--home", str(home.root))
    assert offered(*here, "chat", "--model", "") == ["tiny", "ferry@00000002", "ferry@00000003", "harbour"]
    assert offered(*here, "adapters", "pin", "f") == ["ferry@00000002", "ferry@00000003"]
    assert offered(*here, "models", "remove", "") == ["tiny"]
    assert offered(*here, "datanet", "approve", "harbour", "") == ["0xabababab"]
    assert offered(*here, "wallet", "create", "--network", "s") == ["sea-1"]
    datanet.write_text("{")
    assert offered(*here, "datanet", "approve", "harbour", "") == []


DRIVERS = {
    "bash": 'source "$1"; COMP_LINE="$2"; COMP_POINT=${#2}; _openledger_node openledger-node "$3"; '
    "printf '%s\\n' \"${COMPREPLY[@]}\"",
    "zsh": "compdef() { }; _describe() { print -l -- ${(P)2} }; _files() { print FILES }; "
    'source "$1"; words=("${(@s: :)2}"); CURRENT=$#words; _openledger_node',
    "fish": 'source $argv[1]; complete -C "$argv[2]"',
}
"""Programs that complete a line with the installed script, from its file, the line and the end of the line."""


@pytest.mark.process
@pytest.mark.parametrize("shell", SCRIPTS)
def test_the_installed_script_completes_in_the_shell_itself(
    shell: str, home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not shutil.which(shell):
        pytest.skip(f"{shell} is not installed")
    add_adapter(home, "ferry@00000002")
    add_adapter(home, "ferry@00000003")
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    script = install_completion(shell)
    program = tmp_path / "openledger-node"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m openledger_node "$@"\n')
    program.chmod(0o755)
    environment = {**os.environ, "OPENLEDGER_HOME": str(home.root), "PATH": f"{tmp_path}:{os.environ['PATH']}"}

    def complete(line: str, last: str) -> list[str]:
        command = [shell, "-c", DRIVERS[shell], *([] if shell == "fish" else [shell]), str(script), line, last]
        ran = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        return [each.partition("\t")[0].partition(":")[0] for each in ran.stdout.split("\n") if each]

    assert complete("openledger-node wallet crea", "crea") == ["create"]
    assert complete("openledger-node adapters pin fer", "fer") == ["ferry@00000002", "ferry@00000003"]


def test_installing_twice_changes_the_start_file_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    (tmp_path / ".bashrc").write_text("alias l=ls")
    install_completion("bash")
    once = (tmp_path / ".bashrc").read_text()
    install_completion("bash")
    assert (tmp_path / ".bashrc").read_text() == once
    assert once.startswith("alias l=ls\nsource '")
