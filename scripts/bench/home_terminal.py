"""The terminal of one home's owner: commands through a shell on the home's machine, printed with their seconds."""

import os
import re
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from namespaces import Machine

from openledger_node.demo.processes import CHILD, DemoError, OperatorHome, wait_for
from openledger_node.demo.scratch import life_line

COMMAND_TIMEOUT_S, STOP_TIMEOUT_S = 300.0, 30.0
DATA = Path(".local/share/openledger-node")
PROGRAM = "openledger-node"
READY = re.compile(r"^  API ", re.MULTILINE)


@dataclass(kw_only=True)
class Terminal:
    """A user's shell in their own folder; times count from `began_s`, by the monotonic clock."""

    name: str
    machine: Machine
    seen_as: str  # the address that the internet sees
    folder: Path
    variables: dict[str, str]
    began_s: float
    node: OperatorHome = field(init=False)  # answers questions over the control socket, and prints nothing
    _daemon: "subprocess.Popen[str] | None" = None
    _said: list[str] = field(default_factory=list)  # the lines of the daemon so far

    def __post_init__(self) -> None:
        self.node = OperatorHome(self.name, self.folder / DATA, {})
        (self.folder / "bin").mkdir()
        program = self.folder / "bin" / PROGRAM  # a command ends with this process
        program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m {CHILD} "$@"\n')
        program.chmod(0o755)

    def type(self, line: str, *, shown: str = "") -> str:
        """Type a command, print it with its seconds and its output, and return the output.

        `shown` is the line as it is printed, if that is another one.

        Raises:
            DemoError: the command failed.
        """
        typed_s = time.monotonic()
        with self._run(line) as process:
            output, _ = process.communicate(timeout=COMMAND_TIMEOUT_S)
        self._print(shown or line, typed_s, f"took {time.monotonic() - typed_s:.1f} s")
        self.print_output(output)
        if process.returncode:
            raise DemoError(f"{self.name}: `{line}` ended with status {process.returncode}")
        return output

    def ask(self, line: str, *, first: str) -> tuple[float, str]:
        """Type a command whose output is streamed; return the seconds until text matches `first`, and the output.

        Raises:
            DemoError: it failed, or printed nothing that matches.
        """
        typed_s, found_s, output = time.monotonic(), None, ""
        with self._run(line) as process:
            assert process.stdout is not None
            for each in process.stdout:
                output += each
                if found_s is None and re.search(first, output):
                    found_s = time.monotonic() - typed_s
        whole_s = time.monotonic() - typed_s
        if process.returncode or found_s is None:
            raise DemoError(f"{self.name}: `{line}` ended with status {process.returncode}: {output[-300:]}")
        self._print(line, typed_s, f"first text after {found_s:.1f} s, all after {whole_s:.1f} s")
        return found_s, output

    def start(self, line: str, *, timeout_s: float) -> None:
        """Type the command that starts the node, and wait until it takes requests.

        Raises:
            DemoError: it ended, or takes too long.
        """
        typed_s = time.monotonic()
        self._daemon = self._run(line).__enter__()
        threading.Thread(target=self._read, args=(self._daemon.stdout,), daemon=True).start()
        wait_for(f"{self.name} is up", self._is_up, timeout_s=timeout_s)
        self._print(line, typed_s, f"up after {time.monotonic() - typed_s:.1f} s")
        self.print_output("".join(self._said))

    def is_path(self, path: str, wallet: str) -> bool:
        """True while the node reaches the peer with this wallet in this way."""
        try:
            peers = self.node.ask("/money/peers")["peers"]
        except DemoError:
            return False
        return any(peer["wallet"] == wallet and peer["path"] == path for peer in peers)

    def print_output(self, output: str) -> None:
        """Print what a command printed."""
        print("".join(f"    {each}\n" for each in output.splitlines()), flush=True)

    def close(self) -> None:
        """End the daemon."""
        if self._daemon and self._daemon.poll() is None:
            self._daemon.send_signal(2)
            try:
                self._daemon.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                self._daemon.kill()

    def _run(self, line: str) -> "subprocess.Popen[str]":
        ours = {name: value for name, value in os.environ.items() if not name.startswith(("OPENLEDGER_", "XDG_"))}
        path = f"{self.folder / 'bin'}:{os.environ.get('PATH', '')}"
        with self.machine.entered():
            return subprocess.Popen(
                ["sh", "-c", line],
                cwd=self.folder,
                env={**ours, "HOME": str(self.folder), "PATH": path, "NO_COLOR": "1", **self.variables},
                stdin=life_line(),
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                start_new_session=True,
            )

    def _read(self, out: IO[str]) -> None:
        self._said.extend(out)

    def _is_up(self) -> bool:
        if self._daemon and self._daemon.poll() is not None:
            raise DemoError(f"{self.name} ended: {''.join(self._said)[-500:]}")
        return self.node.is_up() and self.node.status()["peer_id"] is not None

    def _print(self, line: str, typed_s: float, note: str) -> None:
        print(f"[{typed_s - self.began_s:6.1f} s] {self.name}$ {line}   ({note})", flush=True)
