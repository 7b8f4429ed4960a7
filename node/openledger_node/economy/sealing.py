"""Texts of auditable answers, locked until their claim is final: the database alone shows nobody a prompt."""

from pathlib import Path

from cryptography.fernet import Fernet, InvalidToken

from ..errors import KeyFileError
from ..home import write_private

KEY_FILE = "openings.key"


class Seal:
    """Locks and opens texts under a key that lies beside the ledger, readable by its owner alone."""

    def __init__(self, key: bytes) -> None:
        self._cipher = Fernet(key)

    def seal(self, content: bytes) -> bytes:
        """Lock a text."""
        return self._cipher.encrypt(content)

    def open(self, sealed: bytes) -> bytes:
        """Open what was locked here.

        Raises:
            KeyFileError: it was locked under another key.
        """
        try:
            return self._cipher.decrypt(sealed)
        except InvalidToken as error:
            raise KeyFileError(
                f"this text was sealed under another {KEY_FILE}: restore that from a backup"
            ) from error


def open_seal(folder: Path) -> Seal:
    """The seal of a network's folder, its key drawn on the first call.

    Raises:
        KeyFileError: the key is damaged.
    """
    file = folder / KEY_FILE
    if not file.exists():
        write_private(file, Fernet.generate_key().decode() + "\n", is_new=True)
    try:
        return Seal(file.read_bytes().strip())
    except (OSError, ValueError) as error:
        raise KeyFileError(f"{file} is no key: restore it from a backup, or delete it and lose the texts") from error
