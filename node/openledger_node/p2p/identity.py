"""A node's identity among peers: an Ed25519 key, generated once."""

import secrets
from contextlib import suppress
from pathlib import Path

from ..errors import KeyFileError
from ..home import write_private

SEED_BYTES = 32
FILE = "peer.key"


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
