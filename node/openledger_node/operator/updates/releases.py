"""The environments of a node's releases, and the file that says which one runs: `releases/current.json`.

The program that was installed first stays. Each command hands over to the environment that the file names. After a
switch the new release is on trial: if it ends, or is not ready in time, the former one runs again. The file is
replaced as a whole, so that a crash at any moment leaves one release or the other.
"""

import contextlib
import fcntl
import json
import shutil
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

from ...errors import ConfigError, NodeError
from ...home import Home, write_private
from ...upkeep_tables import READY_S_MAX, UpdateConfig

SCHEMA: Final = "openledger.releases/1"
PROGRAM: Final = "openledger-node"


@dataclass(frozen=True, slots=True, kw_only=True)
class InstalledRelease:
    """One environment with the program."""

    version: str
    program: str  # path of bin/openledger-node
    ledger: int  # schema of the ledgers that it writes; it reads none above

    @property
    def folder(self) -> Path:
        """The environment."""
        return Path(self.program).parent.parent


@dataclass(frozen=True, slots=True, kw_only=True)
class FallenBack:
    """The last return to a former release."""

    version: str  # the release that was left
    why: str
    at_s: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseChoice:
    """The contents of `current.json`."""

    first: InstalledRelease  # installed by hand; it hands over to the others
    current: InstalledRelease
    former: InstalledRelease | None  # None: there is no way back
    tries: int | None  # starts of a release on trial; None once it has been ready
    highest: str  # the highest version that was installed; no lower one is offered again
    fallen_back: FallenBack | None = None


def releases_folder(home: Home) -> Path:
    """The folder of the environments that updates have installed."""
    return home.root / "releases"


def read_choice(home: Home) -> ReleaseChoice | None:
    """The chosen release; None if there was no update.

    Raises:
        ConfigError: the file is damaged.
    """
    file = _choice_file(home)
    try:
        kept = json.loads(file.read_text(encoding="utf-8"))
        if kept.pop("schema") != SCHEMA:
            raise ValueError("of another schema")
        return ReleaseChoice(
            first=InstalledRelease(**kept.pop("first")),
            current=InstalledRelease(**kept.pop("current")),
            former=_or_none(InstalledRelease, kept.pop("former")),
            fallen_back=_or_none(FallenBack, kept.pop("fallen_back")),
            **kept,
        )
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(
            f"{file} can't be read ({type(error).__name__}): delete it to run the program that was installed first"
        ) from error


def write_choice(home: Home, choice: ReleaseChoice) -> None:
    """Replace the file.

    Raises:
        DiskError: the disk is full or read-only; the former choice stays.
    """
    write_private(_choice_file(home), json.dumps({"schema": SCHEMA, **asdict(choice)}) + "\n", is_new=False)


def switch_to(home: Home, new: InstalledRelease, running: InstalledRelease) -> ReleaseChoice:
    """Choose a new release, on trial; `running` is the one to return to."""
    from packaging.version import Version

    before = read_choice(home)
    first = before.first if before and before.first.folder.exists() else running
    highest = max(new.version, before.highest if before else new.version, key=Version)
    choice = ReleaseChoice(first=first, current=new, former=running, tries=0, highest=highest)
    write_choice(home, choice)
    return choice


def begin_try(home: Home, choice: ReleaseChoice, *, now_s: float) -> ReleaseChoice:
    """Count a start of a release on trial. If it was started before and never got ready, return to the former one."""
    if choice.tries is None:
        return choice
    if choice.tries:
        returned = fall_back(home, "it ended before it was ready", now_s=now_s)
        return returned or choice
    choice = replace(choice, tries=1)
    write_choice(home, choice)
    return choice


def end_try(home: Home, *, was_ready: bool) -> None:
    """End the trial of a release that was ready; one that the owner stopped before may try again."""
    choice = read_choice(home)
    if choice and choice.tries is not None:
        write_choice(home, replace(choice, tries=None if was_ready else 0))


def lasting_program(home: Home) -> str | None:
    """The program that a service of an updated node starts: a later update deletes the environment of this process.

    None for a process that no update has installed.
    """
    choice = read_choice(home)
    if choice is None or Path(sys.prefix).parent != releases_folder(home) or not Path(choice.first.program).exists():
        return None
    return choice.first.program


def fall_back(home: Home, why: str, *, now_s: float) -> ReleaseChoice | None:
    """Return to the former release; None if there is none, or if it can't read the ledgers any more."""
    choice = read_choice(home)
    if choice is None or choice.former is None or why_no_way_back(home, choice.former):
        return None
    returned = replace(
        choice,
        current=choice.former,
        former=None,
        tries=None,
        fallen_back=FallenBack(version=choice.current.version, why=why, at_s=int(now_s)),
    )
    write_choice(home, returned)
    return returned


def why_no_way_back(home: Home, former: InstalledRelease) -> str | None:
    """Why a former release can't run any more; None if it can."""
    if not Path(former.program).exists():
        return f"its environment {former.folder} is gone"
    from ...ledger.store import written_schema  # loads SQLite, which no usual start of a command needs

    for file in sorted((home.root / "networks").glob("*/ledger.db")):
        if (schema := written_schema(file)) > former.ledger:
            return (
                f"{file} has schema {schema}, and version {former.version} reads up to {former.ledger}: restore a "
                "backup from before the update, or stay"
            )
    return None


@contextlib.contextmanager
def one_update(home: Home) -> Iterator[Path]:
    """Let one update run at a time, and give it an empty folder for its downloads.

    Raises:
        ConfigError: another update runs.
    """
    folder = releases_folder(home)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (folder / "lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ConfigError("another update runs on this data directory: wait until it has ended") from error
        downloads = folder / "downloads"
        shutil.rmtree(downloads, ignore_errors=True)
        downloads.mkdir(mode=0o700)
        try:
            yield downloads
        finally:
            shutil.rmtree(downloads, ignore_errors=True)


def remove_unused(home: Home) -> None:
    """Delete the environments that no choice names, such as one that a crash has left half made."""
    choice = read_choice(home)
    kept = {each.folder for each in (choice.first, choice.current, choice.former) if each} if choice else set()
    kept.add(Path(sys.prefix))
    for folder in releases_folder(home).glob("[0-9]*"):
        if folder not in kept:
            shutil.rmtree(folder, ignore_errors=True)


# ---- The time that a release on trial gets.

READY_FACTOR: Final = 3.0
"""A new release may compile kernels and migrate a ledger, so it gets a multiple of the running one's last start."""


def note_start_s(home: Home, seconds: float) -> None:
    """Keep how long this start took until the node accepted requests; on a full disk the former time stays."""
    with contextlib.suppress(NodeError, OSError):
        write_private(_start_file(home), f"{seconds:.1f}\n", is_new=False)


def ready_within_s(home: Home, config: UpdateConfig) -> float:
    """The seconds in which a new release must be ready: the setting, or more on a machine that starts slowly."""
    try:
        took_s = float(_start_file(home).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        took_s = 0.0
    return min(max(config.ready_within_s, READY_FACTOR * took_s), READY_S_MAX)


# ---- A restart that the update orders; the daemon obeys it when it has ended.

RESTART_WITHIN_S: Final = 86_400.0


def order_restart(home: Home) -> None:
    """Let the daemon start again under the chosen release once it has stopped."""
    write_private(_restart_file(home), f"{time.time():.0f}\n", is_new=False)


def take_restart(home: Home) -> bool:
    """Return True once if a restart was ordered; an old order, from before a crash, counts for nothing."""
    file = _restart_file(home)
    try:
        ordered_s = float(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return False
    except (OSError, ValueError):
        ordered_s = 0.0
    file.unlink(missing_ok=True)
    return abs(time.time() - ordered_s) < RESTART_WITHIN_S


def _restart_file(home: Home) -> Path:
    return releases_folder(home) / "restart"


def _start_file(home: Home) -> Path:
    return home.cache / "start_seconds"


def _choice_file(home: Home) -> Path:
    return releases_folder(home) / "current.json"


def _or_none(kind: Any, kept: dict[str, Any] | None) -> Any:
    return None if kept is None else kind(**kept)
