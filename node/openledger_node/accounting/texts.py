"""Texts of bought answers that are kept in this home: the node's own purchases, and those of its guest."""

from contextlib import closing

from openledger_protocol.opening import Opening
from openledger_protocol.primitives import Digest

from ..home import Home
from ..ledger.ledger import Ledger, open_ledger
from ..payments.kept_texts import find_text


class BoughtTexts:
    """Finds the exchange of a receipt in the ledgers of a network's payers."""

    def __init__(self, home: Home, network: str, ledger: Ledger) -> None:
        self._home = home
        self._network = network
        self._ledger = ledger

    def find(self, digest: Digest) -> Opening | None:
        """The exchange of a receipt; None if it is not kept.

        Raises:
            KeyFileError: it was sealed with another key.
        """
        own = find_text(self._home.network(self._network), self._ledger, digest)
        return own or self._of_guest(digest)

    def _of_guest(self, digest: Digest) -> Opening | None:
        file = self._home.guest_ledger(self._network)
        if not file.exists():
            return None
        with closing(open_ledger(file, is_writer=False)) as ledger:
            return find_text(file.parent, ledger, digest)
