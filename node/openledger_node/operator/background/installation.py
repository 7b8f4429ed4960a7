"""Install and remove the node's service; nothing in the data directory changes."""

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ...errors import ConfigError, explain_disk
from ...home import CommandRunningError, Home, find_holder
from .definition import BackgroundManager, ServiceDefinition, is_ours
from .launchd import Launchd
from .systemd import Systemd

KNOWN_VARIABLES: Final = ("OPENLEDGER_HOME",)


@dataclass(frozen=True, slots=True, kw_only=True)
class Installation:
    """A file that `install` writes, and the state in which it finds the service."""

    definition: ServiceDefinition
    file: Path
    text: str
    before: str | None  # the file's content now; None: there is none
    is_running: bool  # the service runs, so that it must be restarted to change

    @property
    def is_change(self) -> bool:
        """True unless the file is already as it should be."""
        return self.text != self.before


def service_manager_here() -> BackgroundManager:
    """The service manager of this operating system."""
    return Launchd() if sys.platform == "darwin" else Systemd()


def plan_installation(home: Home, manager: BackgroundManager, definition: ServiceDefinition) -> Installation:
    """Check that the service can be installed, and say what that writes.

    Raises:
        ConfigError: the manager does not run here, the node runs outside its service, or the file is not ours.
    """
    _check_user(os.environ)
    manager.check()
    state = manager.state(definition.name)
    holder = find_holder(home)
    if holder and not holder.is_daemon:
        raise CommandRunningError(holder)
    if holder and holder.process != state.process:
        raise ConfigError(
            f"the node runs here without the service (process {holder.process or 'unknown'}): stop it with "
            "`openledger-node stop`, and install the service again"
        )
    file = manager.file(definition.name)
    before = _read(file)
    if before is not None and not is_ours(before):
        raise ConfigError(f"{file} is not from `openledger-node service install`: move it away, and try again")
    return Installation(
        definition=definition,
        file=file,
        text=manager.text(definition),
        before=before,
        is_running=state.process is not None,
    )


def install(manager: BackgroundManager, planned: Installation) -> None:
    """Write the file, and have the manager start the service, or restart it if the file has changed.

    Raises:
        NodeError: the disk or the manager refuses.
    """
    try:
        planned.file.parent.mkdir(parents=True, exist_ok=True)
        partial = planned.file.with_name(f".{planned.file.name}.partial")
        partial.write_text(planned.text, encoding="utf-8")
        partial.replace(planned.file)
    except OSError as error:
        raise explain_disk(error, planned.file.parent) from error
    manager.load(planned.definition, restarts=planned.is_running and planned.is_change)


def remove(manager: BackgroundManager, name: str) -> None:
    """Stop the service and remove its file.

    Raises:
        ConfigError: the file is not ours.
        NodeError: the manager refuses.
    """
    file = manager.file(name)
    if (text := _read(file)) is not None and not is_ours(text):
        raise ConfigError(f"{file} is not from `openledger-node service install`: remove it yourself")
    manager.unload(name)
    file.unlink(missing_ok=True)
    manager.forget(name)


def unseen_variables(environment: Mapping[str, str]) -> list[str]:
    """Settings in this shell's environment, which the service does not have."""
    return sorted(name for name in environment if name.startswith("OPENLEDGER_") and name not in KNOWN_VARIABLES)


def _check_user(environment: Mapping[str, str]) -> None:
    if os.geteuid() == 0 and environment.get("SUDO_USER"):
        raise ConfigError(f"this would install a service of root: run it without sudo, as {environment['SUDO_USER']}")


def _read(file: Path) -> str | None:
    try:
        return file.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return None
