"""A node's home: the one folder that holds all it keeps, and who may use it."""

import contextlib
import fcntl
import os
import secrets
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

import platformdirs

from .errors import ConfigError

HOME_VARIABLE = "OPENLEDGER_HOME"
SOCKET_PATH_BYTES_MAX = 103 if sys.platform == "darwin" else 107  # sun_path less its closing zero

CLAIM_ATTEMPTS, CLAIM_PAUSE_S = 20, 0.01

DAEMON: Final = "daemon"
"""What the daemon calls itself in the lock; a verb that works without one gives its own name."""

HOLDER_CHARS_MAX: Final = 200

DEVELOPMENT_PREFIX = "development-"
"""How the id of a development network begins: its chain, its coins and its keys are thrown away."""


@dataclass(frozen=True, slots=True)
class Home:
    """The paths below one home folder; each is made by whoever writes there first."""

    root: Path

    @property
    def config_file(self) -> Path:
        """The operator's settings."""
        return self.root / "node.toml"

    @property
    def keys(self) -> Path:
        """Secrets: readable by their owner alone."""
        return self.root / "keys"

    @property
    def models(self) -> Path:
        """Bases, a folder each."""
        return self.root / "models"

    @property
    def adapters(self) -> Path:
        """Adapters, a folder each."""
        return self.root / "adapters"

    @property
    def datanets(self) -> Path:
        """Datanets' versions: who gave each row; a folder a Datanet."""
        return self.root / "datanets"

    @property
    def training(self) -> Path:
        """Where a training works, and the lock that the one training of this home holds."""
        return self.root / "training"

    @property
    def pins(self) -> Path:
        """Which adapters are to stay in memory."""
        return self.root / "pins.json"

    @property
    def paused(self) -> Path:
        """Since when its owner has the node paused; there while it is."""
        return self.root / "paused.json"

    @property
    def cache(self) -> Path:
        """What the engine has packed for its next start; all of it can be made again, so it may be deleted."""
        return self.root / "cache"

    @property
    def logs(self) -> Path:
        """What the daemon and its engine say."""
        return self.root / "logs"

    @property
    def devnet(self) -> Path:
        """The development chain that the daemon runs inside itself."""
        return self.root / "devnet"

    @property
    def socket(self) -> Path:
        """The daemon's control socket; its mode is its guard."""
        return self.root / "node.sock"

    @property
    def lock(self) -> Path:
        """Held by the one daemon of this home while it runs, or by the verb that works in its place."""
        return self.root / "node.lock"

    @property
    def joined_network(self) -> Path:
        """The id of the network that was joined last."""
        return self.root / "networks" / "current"

    @property
    def embedded_network(self) -> Path:
        """The id of the network on the development chain that the daemon last ran inside itself."""
        return self.root / "networks" / "embedded"

    def network(self, network: str) -> Path:
        """All that is kept of one network."""
        return self.root / "networks" / network

    def network_file(self, network: str) -> Path:
        """What describes one network: its chain, its contracts, whom to ask first."""
        return self.network(network) / "network.json"

    def network_keys(self, network: str) -> Path:
        """Where the accounts used on one network lie.

        A development network has its own: fresh development chains share chain id and contract addresses, so that
        a signature of an old one would count on the new one if the key were the same.
        """
        return self.network(network) / "keys" if is_development(network) else self.keys

    def ledger(self, network: str) -> Path:
        """The ledger of one network: a fresh chain never meets old rows."""
        return self.network(network) / "ledger.db"


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """Who holds a home: its daemon, or a verb that works there while none runs and ends by itself."""

    name: str
    process: int | None  # None: it has not written it yet, or not whole

    @property
    def is_daemon(self) -> bool:
        """Whether it is the daemon, running, starting or ending."""
        return self.name == DAEMON

    def __str__(self) -> str:
        called = "the daemon" if self.is_daemon else f"`{self.name}`"
        return f"{called} (process {self.process or 'unknown'})"


class CommandRunningError(ConfigError):
    """A verb holds the home for as long as it works."""

    def __init__(self, holder: Holder) -> None:
        super().__init__(f"{holder} is at work in this home: wait until it has ended")
        self.holder = holder


def is_development(network: str) -> bool:
    """Whether the network of this id is for trying things out."""
    return network.startswith(DEVELOPMENT_PREFIX)


def open_home(override: Path | None = None) -> Home:
    """Find the home and make its folder: flag, then `$OPENLEDGER_HOME`, then the platform's data folder."""
    chosen = override or os.environ.get(HOME_VARIABLE) or platformdirs.user_data_path("openledger-node")
    root = Path(chosen).expanduser().resolve()
    try:
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"cannot make the home folder {root}: {error.strerror}; set {HOME_VARIABLE}") from error
    return Home(root)


def claim_home(home: Home, name: str = DAEMON) -> IO[str]:
    """Take the home's lock and write down who has it; it goes with the returned file, or with the process.

    Raises:
        CommandRunningError: a verb holds it.
        ConfigError: another daemon holds it, or the home's path is too long for its control socket.
    """
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
            f"`openledger-node stop` ends it, or set {HOME_VARIABLE} to run a second node"
        ) from error
    lock.truncate(0)
    lock.write(f"{os.getpid()} {name}\n")
    lock.flush()
    return lock


def take_lock(lock: IO[str]) -> None:
    """Take a lock; who only asks whether it is held has it for an instant, so one refusal is no answer.

    Raises:
        BlockingIOError: another process holds it.
    """
    for _ in range(CLAIM_ATTEMPTS - 1):
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        time.sleep(CLAIM_PAUSE_S)
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)


def find_holder(home: Home) -> Holder | None:
    """Who holds the home's lock just now; None: nobody."""
    return _read_holder(home.lock) if _is_held(home.lock) else None


def is_claimed(home: Home) -> bool:
    """Whether a daemon holds the home's lock just now."""
    holder = find_holder(home)
    return holder is not None and holder.is_daemon


def is_training(home: Home) -> bool:
    """Whether a training runs on this home just now."""
    return _is_held(home.training / "lock")


def write_private(file: Path, text: str, *, is_new: bool) -> None:
    """Write a file that its owner alone can read, whole or not at all, also after a power cut.

    Raises:
        FileExistsError: it `is_new`, and somebody wrote it first; what is there stays.
    """
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    partial = file.with_name(f".{file.name}.{secrets.token_hex(4)}.partial")
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        if is_new:
            os.link(partial, file)  # unlike a rename, it never takes the place of a file
        else:
            partial.replace(file)
    finally:
        partial.unlink(missing_ok=True)
    _sync_folder(file.parent)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _is_held(file: Path) -> bool:
    if not file.exists():
        return False
    with file.open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)  # shared: two who ask are no holder to each other
        except BlockingIOError:
            return True
        return False


def _read_holder(file: Path) -> Holder:
    """Who has written itself into a lock: `12 rewards withdraw`; a number alone is an older version's daemon.

    A line that is not whole is just being written; it counts as the daemon's, for which whoever asks waits.
    """
    with file.open(encoding="utf-8", errors="replace") as lock:
        line = lock.readline(HOLDER_CHARS_MAX)
    process, _, name = line.strip().partition(" ")
    if not line.endswith("\n") or not (process.isascii() and process.isdecimal()):
        return Holder(name=DAEMON, process=None)
    return Holder(name=name.strip() or DAEMON, process=int(process))
