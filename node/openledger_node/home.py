"""A node's data directory: its paths, and the lock that lets one process at a time use it."""

import contextlib
import fcntl
import os
import secrets
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

from .errors import WHY_NOT_WRITTEN, ConfigError, explain_disk

HOME_VARIABLE = "OPENLEDGER_HOME"
SOCKET_PATH_BYTES_MAX = 103 if sys.platform == "darwin" else 107  # sun_path less its closing zero

CLAIM_S, CLAIM_PAUSE_S = 0.2, 0.01

DAEMON: Final = "daemon"
"""Name of the daemon in the lock file. A command that works without a daemon writes its own name."""

RESTORE: Final = "restore"
"""Name of the command that restores a backup. Nothing else may run until it has ended."""

HOLDER_CHARS_MAX: Final = 200

DEVELOPMENT_PREFIX = "development-"
"""Prefix of the ids of development networks; their chain, coins and keys are throwaway."""


@dataclass(frozen=True, slots=True)
class Home:
    """The paths in one data directory; the first writer of a folder creates it."""

    root: Path

    @property
    def config_file(self) -> Path:
        """The operator's settings."""
        return self.root / "node.toml"

    @property
    def keys(self) -> Path:
        """Secrets, readable by their owner only."""
        return self.root / "keys"

    @property
    def models(self) -> Path:
        """Bases, one folder each."""
        return self.root / "models"

    @property
    def adapters(self) -> Path:
        """Adapters, one folder each."""
        return self.root / "adapters"

    @property
    def datanets(self) -> Path:
        """Versions of Datanets with the contributor of each row, one folder per Datanet."""
        return self.root / "datanets"

    @property
    def training(self) -> Path:
        """Working files of trainings, and the lock that the one running training holds."""
        return self.root / "training"

    @property
    def pins(self) -> Path:
        """The list of adapters that stay in memory."""
        return self.root / "pins.json"

    @property
    def page_sessions(self) -> Path:
        """The page's open sessions; the file exists for the moment in which the node starts again."""
        return self.keys / "page-sessions.json"

    @property
    def paused(self) -> Path:
        """The owner's pause; the file exists while the node is paused."""
        return self.root / "paused.json"

    @property
    def cache(self) -> Path:
        """Files that speed up the engine's next start; they may be deleted, because the engine makes them again."""
        return self.root / "cache"

    @property
    def devnet(self) -> Path:
        """The development chain that the daemon runs inside itself."""
        return self.root / "devnet"

    @property
    def socket(self) -> Path:
        """The daemon's control socket; its file mode protects it."""
        return self.root / "node.sock"

    @property
    def restoring(self) -> Path:
        """The manifest of a backup whose restore has not ended."""
        return self.root / "restoring"

    @property
    def lock(self) -> Path:
        """The lock of this directory; the running daemon holds it, or a command that works in its place."""
        return self.root / "node.lock"

    @property
    def joined_network(self) -> Path:
        """File with the id of the network that was joined last."""
        return self.root / "networks" / "current"

    @property
    def embedded_network(self) -> Path:
        """File with the id of the network on the embedded development chain."""
        return self.root / "networks" / "embedded"

    def network(self, network: str) -> Path:
        """Folder of one network."""
        return self.root / "networks" / network

    def guest_ledger(self, network: str) -> Path:
        """The ledger of the guest, the requester inside the daemon; its keys are beside it."""
        return self.network(network) / "guest" / "ledger.db"

    def network_file(self, network: str) -> Path:
        """Description of one network: its chain, its contracts and its bootstrap nodes."""
        return self.network(network) / "network.json"

    def network_keys(self, network: str) -> Path:
        """Folder of the accounts used on one network.

        Each development network has its own accounts. Fresh development chains share chain id and contract addresses,
        so with the same key a signature for an old chain would be valid on a new one.
        """
        return self.network(network) / "keys" if is_development(network) else self.keys

    def ledger(self, network: str) -> Path:
        """The ledger of one network, so that a fresh chain never meets old rows."""
        return self.network(network) / "ledger.db"


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """The process that holds a data directory: the daemon, or a command that works while no daemon runs."""

    name: str
    process: int | None  # None: the process has not written its line yet, or not all of it
    doing: str = ""  # while a daemon starts and does not listen yet

    @property
    def is_daemon(self) -> bool:
        """True for the daemon, whether it is running, starting or ending."""
        return self.name == DAEMON

    def __str__(self) -> str:
        called = "the daemon" if self.is_daemon else f"`{self.name}`"
        return f"{called} (process {self.process or 'unknown'})"


class CommandRunningError(ConfigError):
    """A command holds the data directory while it works."""

    exit_code = 75  # a temporary failure, as sysexits.h has it: a service manager starts the node again

    def __init__(self, holder: Holder) -> None:
        super().__init__(f"{holder} is at work in this home: wait until it has ended")
        self.holder = holder


def is_development(network: str) -> bool:
    """Return True for the id of a development network."""
    return network.startswith(DEVELOPMENT_PREFIX)


def home_folder(override: Path | None = None) -> Path:
    """Return the path of the data directory: the flag, `$OPENLEDGER_HOME`, or the platform's data folder."""
    chosen = override or os.environ.get(HOME_VARIABLE) or usual_folder()
    return Path(chosen).expanduser().resolve()


def usual_folder() -> Path:
    """The platform's data folder for this program."""
    import platformdirs  # a completion is twice as fast without it

    return platformdirs.user_data_path("openledger-node")


def open_home(override: Path | None = None) -> Home:
    """Find or create the data directory."""
    root = home_folder(override)
    try:
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            f"cannot create the data directory {root}: {error.strerror}; set {HOME_VARIABLE} to another folder"
        ) from error
    return Home(root)


def claim_home(home: Home, name: str = DAEMON) -> IO[str]:
    """Take the lock of a data directory, and write the holder into it. Closing the returned file releases the lock.

    Raises:
        CommandRunningError: a command holds the lock.
        ConfigError: another daemon holds the lock, a restore was interrupted, or the path is too long for the
            control socket.
    """
    if home.restoring.exists() and name != RESTORE:
        raise ConfigError(
            f"a restore into {home.root} was interrupted: repeat `openledger-node restore FILE` to finish it"
        )
    if len(os.fsencode(home.socket)) > SOCKET_PATH_BYTES_MAX:
        raise ConfigError(f"{home.socket} is too long for a socket: set {HOME_VARIABLE} to a shorter path")
    lock = home.lock.open("a+")
    try:
        take_lock(lock)
    except BlockingIOError as error:
        lock.close()
        holder = _read_holder(home.lock)
        if not holder.is_daemon:
            raise CommandRunningError(holder) from error
        raise ConfigError(
            f"a daemon already runs on {home.root} (process {holder.process or 'unknown'}): "
            f"stop it with `openledger-node stop`, or set {HOME_VARIABLE} to run a second node"
        ) from error
    note_doing(lock, "", name)
    return lock


def note_doing(lock: IO[str], doing: str, name: str = DAEMON) -> None:
    """Write what the holder of the lock is doing, for a `status` that finds nobody listening."""
    lock.truncate(0)
    lock.write(f"{os.getpid()} {name}\n{doing}\n" if doing else f"{os.getpid()} {name}\n")
    lock.flush()


def take_lock(lock: IO[str], wait_s: float = CLAIM_S) -> None:
    """Take a lock. It retries, because a process that checks whether a lock is held takes it for an instant.

    Raises:
        BlockingIOError: another process has held the lock for `wait_s`.
    """
    for _ in range(round(wait_s / CLAIM_PAUSE_S) - 1):
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        time.sleep(CLAIM_PAUSE_S)
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)


def find_holder(home: Home) -> Holder | None:
    """Return the holder of the data directory, or None if it is free."""
    return _read_holder(home.lock) if is_locked(home.lock) else None


def is_claimed(home: Home) -> bool:
    """Return True if a daemon holds the data directory."""
    holder = find_holder(home)
    return holder is not None and holder.is_daemon


def is_training(home: Home) -> bool:
    """Return True if a training is running."""
    return is_locked(home.training / "lock")


def write_private(file: Path, text: str, *, is_new: bool) -> None:
    """Write a file that only its owner can read. The write is atomic, even in a power cut.

    Raises:
        FileExistsError: `is_new` is set and the file exists; it stays as it is.
        DiskError: the disk is full or read-only; an earlier file stays as it is.
    """
    with open_private(file, is_new=is_new) as stream:
        stream.write(text.encode())


@contextlib.contextmanager
def open_private(file: Path, *, is_new: bool) -> Iterator[IO[bytes]]:
    """Open a file beside `file` that takes its place once it is whole and on the disk; errors as `write_private`."""
    partial = file.with_name(f".{file.name}.{secrets.token_hex(4)}.partial")
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        if is_new:
            os.link(partial, file)  # unlike a rename, a link never replaces a file
        else:
            partial.replace(file)
        sync_folder(file.parent)
    except OSError as error:
        if error.errno in WHY_NOT_WRITTEN:
            raise explain_disk(error, file.parent) from error
        raise
    finally:
        partial.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Wait until a folder's names are on the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def is_locked(file: Path) -> bool:
    """Return True while a process holds the lock of a file."""
    if not file.exists():
        return False
    with file.open("a+") as lock:
        try:
            fcntl.flock(
                lock, fcntl.LOCK_SH | fcntl.LOCK_NB
            )  # a shared lock, so that two processes that check do not see each other as the holder
        except BlockingIOError:
            return True
        return False


def _read_holder(file: Path) -> Holder:
    """Parse the holder in a lock file, such as `12 rewards withdraw`; a number alone is a daemon of an old version.

    An incomplete line is being written. It counts as the daemon's, because callers wait for a daemon.
    """
    with file.open(encoding="utf-8", errors="replace") as lock:
        line, doing = lock.readline(HOLDER_CHARS_MAX), lock.readline(HOLDER_CHARS_MAX)
    process, _, name = line.strip().partition(" ")
    if not line.endswith("\n") or not (process.isascii() and process.isdecimal()):
        return Holder(name=DAEMON, process=None)
    return Holder(name=name.strip() or DAEMON, process=int(process), doing=doing.strip())
