"""A bootstrap node in a process of its own, by the command that operators use."""

import os
import re
import signal
from pathlib import Path
from typing import Any, Self

from openledger_node.demo.processes import DemoError, Process


class BootstrapNode:
    """`openledger-node network bootstrap` while a test runs; it ends with the test's process."""

    def __init__(self, folder: Path, words: list[str]) -> None:
        self.log_file = folder.parent / f"{folder.name}.log"
        environment = {**os.environ, "OPENLEDGER_HOME": str(folder.parent / "nobodys-home")}
        words = ["network", "bootstrap", "--folder", str(folder), "--json", *words]
        self.process = Process("the bootstrap node", words, environment, self.log_file)
        try:
            self.told: dict[str, Any] = self.process.read_object()
        except DemoError:
            self.process.close()
            raise

    @property
    def peer_id(self) -> str:
        return str(self.told["peer_id"])

    @property
    def addresses(self) -> tuple[str, ...]:
        return tuple(self.told["addresses"])

    @property
    def process_id(self) -> int:
        return self.process.process_id

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.close()

    def signal(self, number: signal.Signals) -> int:
        """Send a signal, and return the exit code."""
        os.kill(self.process_id, number)
        return self.process._process.wait(20)

    def log(self) -> list[str]:
        """The lines of its log without their times."""
        return [re.sub(r"^[-0-9 :,]{23} ", "", line) for line in self.log_file.read_text().splitlines()]


def start_bootstrap(folder: Path, *, network: str, listen: tuple[str, ...], metrics: str = "none") -> BootstrapNode:
    """Start a bootstrap node with the identity in `folder`, and return when it listens."""
    words = ["--network", network, "--metrics", metrics]
    words += [word for address in listen for word in ("--listen", address)]
    return BootstrapNode(folder, words)
