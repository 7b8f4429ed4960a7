"""Last known addresses of a network's peers, on disk: the first to be dialled after a restart."""

import json
import logging
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from ..home import write_private

if TYPE_CHECKING:
    from .transport import PeerId

SCHEMA = "openledger.address_book/1"
FILE = "peers.json"
ADDRESSES_MAX = 256
ADDRESS_LENGTH_MAX = 256
FILE_BYTES_MAX = 128 * 1024

log = logging.getLogger(__name__)


class AddressBook:
    """One address per peer, most recently met first."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / FILE
        self._addresses: dict[PeerId, str] = {}
        for address in reversed(_read(self._file)):
            self.note(address)
        self._is_written = True

    @property
    def addresses(self) -> tuple[str, ...]:
        """Addresses, most recently met first."""
        return tuple(reversed(self._addresses.values()))

    def has(self, peer_id: "PeerId") -> bool:
        """True if a peer was met at an address of its own."""
        return peer_id in self._addresses

    def note(self, address: str) -> None:
        """Note that a peer was met at an address."""
        from .transport import peer_id_from_address  # loads trio, which `doctor` does without if nobody was met

        peer_id = peer_id_from_address(address)
        self._is_written = next(reversed(self._addresses.items()), None) == (peer_id, address)
        self._addresses.pop(peer_id, None)
        self._addresses[peer_id] = address
        while len(self._addresses) > ADDRESSES_MAX:
            del self._addresses[next(iter(self._addresses))]

    def write(self) -> None:
        """Write the book atomically. A failed write is only logged: the node can run without a book."""
        if self._is_written:
            return
        text = json.dumps({"schema": SCHEMA, "addresses": self.addresses}, indent=1)
        try:
            write_private(self._file, text + "\n", is_new=False)
            self._is_written = True
        except OSError as error:
            log.warning("%s can't be written: %s", self._file, error)


def _read(file: Path) -> list[str]:
    """Read the addresses; none if the file is not a valid book, because the network can be found without it."""
    try:
        with file.open("rb") as stream:
            content = json.loads(stream.read(FILE_BYTES_MAX))
    except FileNotFoundError:
        return []
    except (OSError, ValueError, RecursionError) as error:
        log.warning("%s can't be read, so a new one is started: %s", file, error)
        return []
    found = content.get("addresses") if isinstance(content, dict) and content.get("schema") == SCHEMA else None
    return list(_sound(found)) if isinstance(found, list) else []


def _sound(found: Iterable[object]) -> Iterable[str]:
    for address in found:
        if isinstance(address, str) and len(address) <= ADDRESS_LENGTH_MAX and "/p2p/" in address[:-1]:
            yield address
