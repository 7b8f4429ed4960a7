"""A payer's own questions and answers, sealed and kept for a while: audits and challenges need them.

A seller keeps no text once an answer has ended. The cipher protects a copied ledger, not a copied home.
"""

import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from cryptography.fernet import Fernet, InvalidToken

from openledger_protocol.opening import Opening, opening_from_json, opening_to_json
from openledger_protocol.primitives import Digest

from ..errors import KeyFileError
from ..home import Home, write_private
from ..ledger.ledger import Ledger, open_ledger

KEY_FILE = "texts.key"
DAY_S = 86_400
NS = 10**9


class Seal:
    """Encrypts and decrypts texts with a key file beside the ledger that only its owner can read."""

    def __init__(self, key: bytes) -> None:
        self._cipher = Fernet(key)

    def seal(self, content: bytes) -> bytes:
        """Encrypt a text."""
        return self._cipher.encrypt(content)

    def open(self, sealed: bytes) -> bytes:
        """Decrypt a text that was encrypted with the same key.

        Raises:
            KeyFileError: it was encrypted with another key.
        """
        try:
            return self._cipher.decrypt(sealed)
        except InvalidToken as error:
            raise KeyFileError(
                f"this text was sealed with another {KEY_FILE}: restore that file from a backup"
            ) from error


class KeptTexts:
    """Keeps the texts of bought answers, by receipt, for as long as the operator wants."""

    def __init__(self, ledger: Ledger, seal: Seal, *, keep_s: float, now_ns: Callable[[], int]) -> None:
        self._rows = ledger.texts
        self._seal = seal
        self._keep_s = keep_s
        self._now_ns = now_ns

    def keep(self, digest: Digest, opening: Opening) -> None:
        """Keep the exchange of a receipt, unless the operator keeps none."""
        self.forget()
        if self._keep_s:
            sealed = self._seal.seal(opening_to_json(opening))
            self._rows.add(digest, sealed, until_ns=self._now_ns() + int(self._keep_s * NS))

    def hold(self, digest: Digest, opening: Opening, *, until_s: int) -> None:
        """Keep an exchange until `until_s`, even if the operator keeps none: an audit or a case needs it.

        `digest` is its receipt's, or its prompt commitment while the receipt has not come.
        """
        self._rows.hold(digest, self._seal.seal(opening_to_json(opening)), until_ns=until_s * NS)

    def release(self, digest: Digest) -> None:
        """Keep an exchange no longer than the operator wants."""
        self._rows.limit(digest, until_ns=self._now_ns() + int(self._keep_s * NS))
        self.forget()

    def find(self, digest: Digest) -> Opening | None:
        """The exchange stored under a digest; None if it is not kept.

        Raises:
            KeyFileError: it was sealed with another key.
        """
        sealed = self._rows.find(digest, now_ns=self._now_ns())
        return opening_from_json(self._seal.open(sealed)) if sealed else None

    def forget(self) -> None:
        """Delete the texts whose time is over."""
        self._rows.delete_until(self._now_ns())


def open_texts(folder: Path, ledger: Ledger, *, setting_s: float, is_development: bool) -> KeptTexts:
    """Open the kept texts of the ledger in a network's folder.

    `setting_s` is `[payer] keep_texts_s`, whose -1 is a day on a development network and no time elsewhere.

    Raises:
        KeyFileError: the key that seals them is damaged.
    """
    usual_s = DAY_S if is_development else 0
    keep_s = usual_s if setting_s < 0 else setting_s
    texts = KeptTexts(ledger, open_seal(folder), keep_s=keep_s, now_ns=time.time_ns)
    texts.forget()
    return texts


def find_bought_text(home: Home, network: str, ledger: Ledger, digest: Digest) -> Opening | None:
    """Find the exchange of a receipt that this node or its guest has bought; None if it is not kept.

    Raises:
        KeyFileError: it was sealed with another key.
    """
    if found := find_text(home.network(network), ledger, digest):
        return found
    file = home.guest_ledger(network)
    if not file.exists():
        return None
    with closing(open_ledger(file, is_writer=False)) as of_guest:
        return find_text(file.parent, of_guest, digest)


def find_text(folder: Path, ledger: Ledger, digest: Digest) -> Opening | None:
    """Find the exchange of a receipt in the ledger of a network's folder; None if it is not kept.

    Raises:
        KeyFileError: it was sealed with another key.
    """
    sealed = ledger.texts.find(digest, now_ns=time.time_ns())
    return opening_from_json(open_seal(folder).open(sealed)) if sealed else None


def open_seal(folder: Path) -> Seal:
    """The seal of a network's folder; the first call generates its key.

    Raises:
        KeyFileError: the key is damaged.
    """
    file = folder / KEY_FILE
    if not file.exists():
        write_private(file, Fernet.generate_key().decode() + "\n", is_new=True)
    try:
        return Seal(file.read_bytes().strip())
    except (OSError, ValueError) as error:
        raise KeyFileError(
            f"{file} is not a valid key: restore it from a backup, or delete it and lose the texts sealed with it"
        ) from error
