"""A node's home: the one folder that holds all it keeps, and who may use it."""

import contextlib
import fcntl
import os
import secrets
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import platformdirs

from .errors import ConfigError

HOME_VARIABLE = "OPENLEDGER_HOME"
SOCKET_PATH_BYTES_MAX = 103 if sys.platform == "darwin" else 107  # sun_path less its closing zero

CLAIM_ATTEMPTS, CLAIM_PAUSE_S = 20, 0.01

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
        """Held by the one daemon of this home while it runs."""
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


def claim_home(home: Home) -> IO[str]:
    """Take the daemon's lock; it goes with the returned file, or with the process, however that ends.

    Raises:
        ConfigError: another daemon holds it, or the home's path is too long for its control socket.
    """
    if len(os.fsencode(home.socket)) > SOCKET_PATH_BYTES_MAX:
        raise ConfigError(f"{home.socket} is too long for a socket: set {HOME_VARIABLE} to a shorter path")
    lock = home.lock.open("a+")
    try:
        take_lock(lock)
    except BlockingIOError as error:
        lock.seek(0)
        owner = lock.read().strip() or "unknown"
        lock.close()
        raise ConfigError(
            f"a daemon already runs on {home.root} (process {owner}): "
            f"`openledger-node stop` ends it, or set {HOME_VARIABLE} to run a second node"
        ) from error
    lock.truncate(0)
    lock.write(f"{os.getpid()}\n")
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


def is_claimed(home: Home) -> bool:
    """Whether a daemon holds the home's lock just now."""
    return _is_held(home.lock)


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
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        return False
