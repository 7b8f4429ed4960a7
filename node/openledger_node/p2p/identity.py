"""A node's identity among peers: an Ed25519 key, generated once."""

import fcntl
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ..errors import ConfigError, KeyFileError, explain_disk
from ..home import write_private

SEED_BYTES = 32
FILE = "peer.key"
LOCK_FILE = "peer.lock"


def ensure_identity(folder: Path) -> bytes:
    """Read the private seed in `folder`; the first call generates it.

    It has no password: it holds no money, and a node must be able to restart alone after a power cut.

    Raises:
        KeyFileError: the file can't be read, is damaged, or is readable by others.
    """
    file = folder / FILE
    if not file.exists():
        with suppress(FileExistsError):  # another process was first; its key is used
            write_private(file, secrets.token_bytes(SEED_BYTES).hex() + "\n", is_new=True)
    try:
        mode, text = file.stat().st_mode, file.read_text(encoding="ascii")
        seed = bytes.fromhex(text)
    except (OSError, ValueError) as error:
        raise KeyFileError(
            f"{file} can't be read as a peer's key: restore it, or move it away for a new one"
        ) from error
    if len(seed) != SEED_BYTES:
        raise KeyFileError(f"{file} is damaged: restore it, or move it away for a new identity")
    if mode & 0o077:
        raise KeyFileError(f"{file} can be read by others: chmod 600 {file}")
    return seed


@contextmanager
def hold_identity(folder: Path) -> Iterator[None]:
    """Hold the identity in `folder` for this process, because two peers with one id would share their connections.

    The operating system releases it when the process ends, in whatever way.

    Raises:
        ConfigError: another process holds it.
        DiskError: the folder can't be written.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = (folder / LOCK_FILE).open("a")
    except OSError as error:
        raise explain_disk(error, folder) from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ConfigError(
                f"another bootstrap node uses the identity in {folder}: stop it, or choose another one with --folder"
            ) from error
        yield
