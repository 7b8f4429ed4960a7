"""The rows that this node serves: the newest versions of its own Datanets, and versions that it has pulled.

A version with a withdrawn row is not passed on: its root is over the texts of all its rows, so the others could not
be checked without that text.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence, Set
from dataclasses import dataclass, field
from typing import Final

from openledger_protocol.datanet import datanet_id
from openledger_protocol.errors import UnavailableError, UnknownModelError
from openledger_protocol.primitives import Address, DatanetId, Digest
from openledger_protocol.wire.rows import rows_topic

from ..datanets.held import pulled_versions, rows_file, write_canonical
from ..datanets.own import Datanet
from ..datanets.store import OwnDatanets
from ..datanets.version import published_file, read_published_rows
from ..datanets.withdrawn import find_withdrawn, read_withdrawn
from ..errors import NodeError
from ..home import Home
from ..keystore import list_accounts
from ..ledger.events import EventRows
from ..p2p.rows_fetch import ROWS_BYTES_MAX, VERSION_BYTES_MAX
from ..p2p.rows_server import HeldRows

OWN_VERSIONS_MAX: Final = 3
"""Versions of an own Datanet that are served: each has all rows of the one before, and takes that room again."""

LAY_OUT_AGAIN_S: Final = 3_600.0
"""The pause after a version could not be written: to try reads all its rows."""

MIB: Final = 1024**2
HELD_MAX: Final = 256
"""Versions that are announced, so that adapters keep most of a node's provider records."""

log = logging.getLogger(__name__)

VersionKey = tuple[DatanetId, Digest]


@dataclass(slots=True, kw_only=True)
class NodeShelf:
    """Finds what may be served. Any thread may call."""

    home: Home
    network: str
    events: EventRows
    is_sharing: bool
    now_s: Callable[[], float] = time.monotonic
    _found: dict[VersionKey, HeldRows] = field(init=False, default_factory=dict)
    _whole: dict[VersionKey, tuple[Set[tuple[Address, Digest]], bool]] = field(init=False, default_factory=dict)
    _looking: threading.Lock = field(init=False, default_factory=threading.Lock)
    _failed_s: dict[VersionKey, float] = field(init=False, default_factory=dict)  # when a version was not written
    _too_large: set[VersionKey] = field(init=False, default_factory=set)
    _told: set[str] = field(init=False, default_factory=set)

    @property
    def topics(self) -> list[Digest]:
        """The ids under which holders of these versions are found."""
        return [rows_topic(*key) for key in self._found][:HELD_MAX]

    def refresh(self) -> None:
        """Look through the data directory, and write the rows of own versions as they travel.

        A file that can't be read or deleted stops the sharing of rows, and never the node.
        """
        if not self.is_sharing:
            return
        with self._looking:
            try:
                self._found = {(each.datanet, each.rows_root): each for each in self._look()}
            except (NodeError, OSError) as error:
                self._warn(f"rows can't be served: {error}")

    def find(self, datanet: DatanetId, rows_root: Digest) -> HeldRows:
        """Find a version, as `FindRows` says."""
        found = self._found.get((datanet, rows_root))
        if found is None:
            raise UnknownModelError(f"no rows of Datanet {datanet} with root {rows_root} are served here")
        if not self._is_whole(found):
            raise UnavailableError(
                "rows of this version were withdrawn, so it is no longer passed on: ask for a newer version"
            )
        return found

    def _is_whole(self, held: HeldRows) -> bool:
        """Return True if no row of a version was withdrawn. The version is read again once other rows are withdrawn.

        Withdrawals count at once here, and no more if a reorganisation takes them back.
        """
        withdrawn = read_withdrawn(self.events, held.datanet)
        if not withdrawn:
            return True
        key = held.datanet, held.rows_root
        known = self._whole.get(key)
        if known is None or known[0] != withdrawn.keys():
            try:
                rows = read_published_rows(self.home, *key)
            except NodeError as error:
                raise UnknownModelError("these rows can't be served just now") from error
            known = self._whole[key] = withdrawn.keys(), not find_withdrawn(rows, withdrawn)
        return known[1]

    def _look(self) -> Iterator[HeldRows]:
        own = OwnDatanets(self.home)
        try:
            accounts = [each.address for each in list_accounts(self.home.network_keys(self.network))]
            datanets = own.all()
        except NodeError as error:
            self._warn(f"own Datanets can't be served: {error}")
            accounts, datanets = [], []
        for datanet in datanets:
            # A stranger may publish a Datanet with the same roots, so only the ids of own wallets count.
            ids = [datanet_id(account, datanet.name) for account in accounts]
            newest = datanet.versions[-OWN_VERSIONS_MAX:]
            self._clear_away(datanet, ids, {each.rows_root for each in newest})
            for version in newest:
                for id in ids:
                    key = id, version.rows_root
                    if not self._is_published(key) or not self._lay_out(own, datanet.name, version.version, key):
                        continue
                    if self._is_readable(key, f"version {version.version} of {datanet.name}"):
                        yield self._held(key)
        for pulled in pulled_versions(self.home):
            key = pulled.id, pulled.rows_root
            if self._is_published(key) and rows_file(self.home, *key).exists():
                yield self._held(key)

    def _lay_out(self, own: OwnDatanets, name: str, version: str, key: VersionKey) -> bool:
        """Write the rows of an own version once; False if they are damaged, or its file is missing."""
        file = rows_file(self.home, *key)
        if not published_file(self.home, *key).exists():
            return False
        if file.exists():
            return True
        if key in self._too_large:
            return False
        if self.now_s() < self._failed_s.get(key, -LAY_OUT_AGAIN_S) + LAY_OUT_AGAIN_S:
            return False
        try:
            _, rows = own.version_rows(name, version)
            write_canonical(file, rows)
        except (NodeError, OSError) as error:
            self._warn(f"version {version} of {name} can't be served: {error}")
            self._failed_s[key] = self.now_s()
            return False
        return True

    def _is_readable(self, key: VersionKey, what: str) -> bool:
        """Return True if readers accept files of this size. The rows of another version are deleted again."""
        file = rows_file(self.home, *key)
        sizes = {ROWS_BYTES_MAX: file, VERSION_BYTES_MAX: published_file(self.home, *key)}
        if all(each.stat().st_size <= most for most, each in sizes.items()):
            return True
        self._warn(
            f"{what} is too large to be pulled: its rows may have {ROWS_BYTES_MAX // MIB} MiB and its list of them "
            f"{VERSION_BYTES_MAX // MIB} MiB, so make several Datanets of it"
        )
        self._too_large.add(key)
        file.unlink(missing_ok=True)
        return False

    def _clear_away(self, datanet: Datanet, ids: Sequence[DatanetId], newest: Set[Digest]) -> None:
        """Delete the rows of earlier versions as they travel; their batches stay."""
        for id in ids:
            for root in {each.rows_root for each in datanet.versions} - newest:
                rows_file(self.home, id, root).unlink(missing_ok=True)

    def _warn(self, text: str) -> None:
        """Log a warning once: the data directory is looked through all the time, and peers ask again."""
        if text not in self._told:
            self._told.add(text)
            log.warning("%s", text)

    def _is_published(self, key: VersionKey) -> bool:
        return bool(self.events.find("DatanetVersion", {"id": key[0], "rowsRoot": key[1]}))

    def _held(self, key: VersionKey) -> HeldRows:
        datanet, rows_root = key
        return HeldRows(
            datanet=datanet,
            rows_root=rows_root,
            version=published_file(self.home, *key),
            rows=rows_file(self.home, *key),
        )
