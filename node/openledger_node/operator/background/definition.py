"""Definition of the node's service: its name, its command and the file that a service manager reads."""

import hashlib
import os
import re
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from ...errors import ConfigError, InputError, KeyFileError
from ...home import HOME_VARIABLE, Home, usual_folder
from ...service_manager import stop_timeout_s
from .commands_run import Ran

PROGRAM: Final = "openledger-node"
START_WORDS: Final = ("start", "--quiet", "--no-hello")
"""The arguments of a start as a service: nobody reads its greeting, whose link opens the page."""

MARK: Final = "Written by `openledger-node service install`, which replaces this file."
DIGEST_CHARS: Final = 8

FINAL_STATUS: Final = (InputError.exit_code, ConfigError.exit_code, KeyFileError.exit_code)
"""Exit codes after which the operator must change something, so that another start can't help."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceDefinition:
    """The service of one data directory."""

    name: str  # without the suffix of a manager
    home: Path
    command: tuple[str, ...]  # absolute program first
    stop_s: int  # time for running answers, receipts and the chain when it stops


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceState:
    """The service as its manager sees it."""

    name: str
    file: Path
    is_installed: bool
    is_enabled: bool = False  # starts with the session, or with the machine if it lingers
    state: str = "stopped"  # running, starting, stopping, stopped or failed
    process: int | None = None
    num_restarts: int = 0
    says: str = ""  # the node's own line
    why: str = ""  # why it failed
    lingers: bool | None = None  # runs without a login; None: this manager knows no such thing


class BackgroundManager(Protocol):
    """A service manager of the owner's account."""

    title: str

    def check(self) -> None:
        """Check that the manager runs here.

        Raises:
            ConfigError: it does not; the message says what to do instead.
        """
        ...

    def file(self, name: str) -> Path:
        """The file that defines a service."""
        ...

    def text(self, definition: ServiceDefinition) -> str:
        """The content of that file."""
        ...

    def load(self, definition: ServiceDefinition, *, restarts: bool) -> None:
        """Read the file that was written, enable the service and start it; `restarts` also a running one.

        Raises:
            NodeError: the manager refuses.
        """
        ...

    def unload(self, name: str) -> None:
        """Stop the service, wait for its end, and disable it.

        Raises:
            NodeError: the manager refuses.
        """
        ...

    def forget(self, name: str) -> None:
        """Forget the service after its file is gone."""
        ...

    def state(self, name: str) -> ServiceState:
        """The service as the manager sees it now."""
        ...

    def start_command(self, name: str) -> str:
        """The command that starts an installed service."""
        ...

    def log_command(self, name: str, lines: int, *, follow: bool) -> Sequence[str]:
        """The command that prints the manager's log of the service."""
        ...


RunCommand = Callable[[Sequence[str], float], Ran]


def define(home: Home, *, drain_grace_s: float, program: Sequence[str]) -> ServiceDefinition:
    """Define the service of a data directory.

    Raises:
        ConfigError: a path holds a character that no service file can hold.
    """
    command = (*program, "--home", str(home.root), *START_WORDS)
    if any(re.search(r"[\x00-\x1f\x7f]", word) for word in command):
        raise ConfigError(
            f"the path {str(home.root)!r} or that of the program holds a control character, which a service's "
            f"definition can't hold: rename the folder, or set {HOME_VARIABLE} to another"
        )
    return ServiceDefinition(
        name=service_name(home),
        home=home.root,
        command=command,
        stop_s=round(stop_timeout_s(drain_grace_s)),
    )


def service_name(home: Home) -> str:
    """The name of a data directory's service; each directory but the usual one has a digest of its path in it."""
    if home.root == usual_folder().resolve():
        return PROGRAM
    digest = hashlib.sha256(os.fsencode(home.root)).hexdigest()[:DIGEST_CHARS]
    return f"{PROGRAM}-{digest}"


def program_words(argv0: str = sys.argv[0]) -> tuple[str, ...]:
    """The absolute command of this program; a link to it stays a link, so that an update can change its target."""
    found = shutil.which(argv0)
    if found and Path(found).name == PROGRAM:
        return (os.path.abspath(found),)  # resolve() would follow the link
    return (sys.executable, "-m", "openledger_node")


def is_ours(text: str) -> bool:
    """Return True for a file that `service install` wrote."""
    return MARK in text
