"""A payer's own questions and answers, sealed and kept for a while: for audits, and as evidence for votes.

A seller keeps no text once an answer has ended. The cipher protects a copied ledger, not a copied home.
"""

import logging
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import trio
from cryptography.fernet import Fernet, InvalidToken

from openledger_protocol.opening import Opening, opening_from_json, opening_to_json
from openledger_protocol.primitives import Digest

from ..errors import KeyFileError, LedgerError
from ..home import Home, write_private
from ..ledger.ledger import Ledger, open_ledger
from ..network_file import Network

KEY_FILE = "texts.key"
DAY_S = 86_400
NS = 10**9
FORGET_EACH_S = 60
BYTES_MAX = 64 * 10**6
"""Of all sealed texts of a ledger; the oldest go first."""

log = logging.getLogger(__name__)


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
        self._keep_ns = int(keep_s * NS)
        self._now_ns = now_ns

    def keep(self, digest: Digest, opening: Opening) -> None:
        """Keep the exchange of a receipt, unless the operator keeps none."""
        self.forget()
        if self._keep_ns:
            sealed, now_ns = self._seal.seal(opening_to_json(opening)), self._now_ns()
            self._rows.add(digest, sealed, now_ns=now_ns, until_ns=now_ns + self._keep_ns)
            self._rows.make_room(BYTES_MAX, now_ns=now_ns)

    def hold(self, digest: Digest, opening: Opening, *, until_s: int) -> None:
        """Keep an exchange until `until_s`, even if the operator keeps none: an audit needs it.

        `digest` is its receipt's, or its prompt commitment while the receipt has not come.
        """
        sealed = self._seal.seal(opening_to_json(opening))
        self._rows.hold(digest, sealed, now_ns=self._now_ns(), until_ns=until_s * NS)

    def release(self, digest: Digest) -> None:
        """Keep an exchange no longer than the operator wants."""
        self._rows.release(digest, keep_ns=self._keep_ns)
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
        now_ns = self._now_ns()
        self._rows.mend_times(now_ns)
        self._rows.delete_until(now_ns)

    def shorten(self) -> None:
        """Keep no text for longer than the operator wants now, however long it was to be kept when it came."""
        self._rows.shorten(now_ns=self._now_ns(), keep_ns=self._keep_ns)
        self.forget()

    async def forget_in_time(self) -> None:
        """Delete each text when its time is over, also if nothing is bought; runs until cancelled."""
        while True:
            await trio.sleep(FORGET_EACH_S)
            try:
                await trio.to_thread.run_sync(self.forget)
            except LedgerError as error:
                log.warning("texts whose time is over could not be deleted: %s", error)


def open_texts(folder: Path, ledger: Ledger, *, setting_s: float, is_development: bool) -> KeptTexts:
    """Open the kept texts of the ledger in a network's folder.

    `setting_s` is `[payer] keep_texts_s`, whose -1 is a day on a development network and no time elsewhere.

    Raises:
        KeyFileError: the key that seals them is damaged.
    """
    keep_s = time_kept_s(setting_s, is_development=is_development)
    texts = KeptTexts(ledger, open_seal(folder), keep_s=keep_s, now_ns=time.time_ns)
    texts.shorten()
    return texts


def time_kept_s(setting_s: float, *, is_development: bool) -> float:
    """Seconds for which texts are kept by `[payer] keep_texts_s`."""
    if setting_s < 0:
        return DAY_S if is_development else 0
    return setting_s


def forget_texts_of_guest(home: Home, network: Network, *, setting_s: float) -> int | None:
    """Delete the guest's texts whose time is over, while the guest is not open.

    Returns the time at which the next one is due; None if there is none.

    Raises:
        KeyFileError: the key that seals them is damaged.
        ConfigError, LedgerError: its ledger is damaged, or can't be written.
    """
    file = home.guest_ledger(network.network)
    if not file.exists():
        return None
    with closing(open_ledger(file)) as ledger:
        open_texts(file.parent, ledger, setting_s=setting_s, is_development=network.is_development)
        return ledger.texts.next_end_ns() if ledger.texts.is_folded else 0


def find_text_at(folder: Path, ledger: Ledger, digest: Digest, *, now_ns: int) -> Opening | None:
    """Find the exchange of a receipt in the ledger of a network's folder; None if it is not kept at that time.

    Raises:
        KeyFileError: it was sealed with another key.
    """
    sealed = ledger.texts.find(digest, now_ns=now_ns)
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
