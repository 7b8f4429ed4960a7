"""Verbs run as the installed command does: in this process, or on a terminal of their own."""

import json
import os
import pty
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from support.processes.nodes import node_environment

from openledger_node.cli.main import main
from openledger_node.home import Home


class FixedMoney:
    """Answers every query alike."""

    def __init__(self, found: dict[str, Any]) -> None:
        self.found, self.asked = found, []

    def __enter__(self) -> "FixedMoney":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def ask(self, question: str, **arguments: Any) -> Any:
        self.asked.append((question, arguments))
        return self.found


@dataclass
class Ran:
    """What one verb did."""

    status: int
    stdout: str
    stderr: str

    @property
    def json(self) -> Any:
        return json.loads(self.stdout)


Run = Callable[..., Ran]


def verbs_here(home: Home, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a verb in this process, exactly as the installed command does."""
    for name in [name for name in os.environ if name.startswith("OPENLEDGER_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("OPENLEDGER_HOME", str(home.root))

    def run_verb(*words: str) -> Ran:
        monkeypatch.setattr(sys, "argv", ["openledger-node", *words])
        with pytest.raises(SystemExit) as ended:
            main()
        output = capsys.readouterr()
        return Ran(int(ended.value.code or 0), output.out, output.err)

    return run_verb


def type_on_terminal(home: Home, *words: str, answers: list[tuple[str, str]], **environment: str) -> Ran:
    """Run a verb on a terminal; each answer is typed once its question is on the screen, whole.

    A question ends in `: `. The space comes after the terminal was told to show nothing, which throws away what was
    typed before.
    """
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "openledger_node", *words]
    ambient = node_environment(home, **{"NO_COLOR": "1", "COLUMNS": "200", **environment})
    # NOTE: in a session of its own it can't ask at the terminal that the tests were started from.
    with subprocess.Popen(
        command, env=ambient, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True
    ) as process:
        os.close(theirs)
        screen, looked_at = b"", 0
        while piece := read_terminal(ours):
            screen += piece
            if answers and answers[0][0].encode() in screen[looked_at:] and screen.endswith(b": "):
                looked_at = len(screen)
                os.write(ours, answers.pop(0)[1].encode() + b"\n")
    os.close(ours)
    return Ran(process.returncode, screen.decode().replace("\r\n", "\n"), "")


def read_terminal(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 65536)
    except OSError:  # Linux says EIO when the other side is closed
        return b""
