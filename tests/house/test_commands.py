"""Every command of the README and of the tutorial runs, in order, in an empty home, against a real daemon.

The model is the fake one, and the fake trainer teaches it: `scripts/first_start.py` and tests/real run the real ones.
"""

import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from support.commands import write_shell_command
from support.processes.nodes import ROOT, Node, command_json, node_environment, running_node

from openledger_node.home import Home

pytestmark = pytest.mark.process

PAGES = ["README.md", "docs/tutorial/first-hour.md"]
RUN_IN = {"", "sh", "console", "python"}
"""Languages of blocks that are typed; `text` is what a program prints, `toml` and `json` are files."""

NOT_HERE = {
    "git clone <this repository's URL> openledger-node && cd openledger-node": "the tests run in a checkout already",
    "make start": "it installs packages: CI runs it (scripts/first_start.py); here the node runs already",
    "make demo": "a minute and more on the real model: CI runs it",
    "source .venv/bin/activate": "the commands here are found by PATH",
    "openledger-node setup": "it asks three questions at a terminal: tests/node/cli/test_owner_verbs.py does that",
    "openledger-node open": "it would open the desktop's browser: run with --no-browser",
}

PATIENT = ("openledger-node rewards withdraw",)
"""The page says to wait before these."""

MAY_END_WITH = {"openledger-node doctor": 8}
"""It found something: a machine on which tests run may be busy, or its disk nearly full."""

PATIENCE_S = 60.0
POLL_S = 0.2
COMMAND_TIMEOUT_S = 90.0
ENVIRONMENT = {
    "OPENLEDGER_NODE_NETWORK": "auto",
    "OPENLEDGER_INFERENCE_BACKEND": "fake",
    "OPENLEDGER_INFERENCE_BASE": "fake",
    "OPENLEDGER_FACTORY_TRAINER": "fake",
}


@dataclass
class Typist:
    """Types what a page says, with the paths, the port and the names of this machine."""

    node: Node
    folder: Path
    programs: Path  # a folder with the program, before all others on the path

    def type(self, language: str, command: str) -> None:
        command = self._as_here(command)
        words = [sys.executable, "-c", command] if language == "python" else ["bash", "-c", command]
        deadline_s = time.monotonic() + (PATIENCE_S if command in PATIENT else 0)
        while (ran := self._run(words)).returncode not in (0, MAY_END_WITH.get(command)):
            assert time.monotonic() < deadline_s, f"{command}\n{ran.stdout}"
            time.sleep(POLL_S)

    def _run(self, words: list[str]) -> "subprocess.CompletedProcess[str]":
        environment = node_environment(self.node.home, **ENVIRONMENT)
        environment["PATH"] = f"{self.programs}:{Path(sys.executable).parent}:{environment['PATH']}"
        return subprocess.run(
            words,
            cwd=self.folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=COMMAND_TIMEOUT_S,
        )

    def _as_here(self, command: str) -> str:
        command = command.replace("http://127.0.0.1:8420", self.node.url)
        command = command.replace("~/.local/share/openledger-node", str(self.node.home.root))
        command = command.replace("smollm2-135m-instruct", "fake")
        if re.search(r"datanet approve \w+ 0x", command):
            batches = command_json(self.node.home, "datanet", "show", "harbour", **ENVIRONMENT)["batches"]
            command = re.sub(r"0x[0-9a-f]{8}\b", batches[-1]["digest"], command)
        if "attribution" in command:
            receipts = command_json(self.node.home, "attribution", "show", **ENVIRONMENT)["receipts"]
            command = re.sub(r"0x[0-9a-f]{10}\b", receipts[0]["digest"], command)
        return command


def commands(page: str) -> Iterator[tuple[str, str]]:
    """Language and text of each command: a line of a shell, joined where a backslash ends it, or a whole program."""
    text = (ROOT / page).read_text(encoding="utf-8")
    for language, block in re.findall(r"^```(\w*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        if language == "python":
            yield language, block
        elif language in RUN_IN:
            for line in block.replace("\\\n", " ").splitlines():
                if command := " ".join(line.partition(" # ")[0].split()):
                    yield language, command


def test_every_command_of_the_pages_runs(tmp_path: Path) -> None:
    """One node follows the README and then the tutorial; what is on both is typed once."""
    (tmp_path / "home").mkdir(mode=0o700)
    (tmp_path / "work").mkdir()
    (tmp_path / "programs").mkdir()
    write_shell_command(tmp_path / "programs")
    with running_node(Home(tmp_path / "home"), **ENVIRONMENT) as node:
        typist = Typist(node, tmp_path / "work", tmp_path / "programs")
        typed: set[str] = set()
        for language, command in (each for page in PAGES for each in commands(page)):
            if command in typed:
                continue
            typed.add(command)
            if command not in NOT_HERE:
                typist.type(language, command)
            elif command == "openledger-node open":
                typist.type(language, f"{command} --no-browser")
    assert all(len(list(commands(page))) > 5 for page in PAGES)


def test_what_is_not_typed_is_on_a_page() -> None:
    on_pages = {command for page in PAGES for _, command in commands(page)}
    assert set(NOT_HERE) <= on_pages
    assert {*PATIENT, *MAY_END_WITH} <= on_pages


def test_curl_is_here() -> None:
    assert shutil.which("curl"), "the README calls it: install it, or these tests can't type the page"
