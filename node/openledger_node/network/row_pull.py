"""Rows of Datanets between this node and its peers: serving them, and pulling those of other operators."""

import json
import os
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import SystemRandom
from typing import Any, Final

import trio

from openledger_protocol.adapter import DatanetReference
from openledger_protocol.constants import PPM
from openledger_protocol.datanet import datanet_id
from openledger_protocol.errors import AdapterRefusedError, MalformedError
from openledger_protocol.primitives import AdapterId, DatanetId, Digest, check_name
from openledger_protocol.wire.frames import wire_name
from openledger_protocol.wire.rows import GetRows, rows_topic

from ..attribution.registry import is_published
from ..datanets.held import (
    PulledVersion,
    check_rows,
    file_digest,
    keep_pulled,
    pulled_versions,
    rows_file,
)
from ..datanets.store import OwnDatanets
from ..datanets.version import DatanetVersion, check_signed, read_published, version_from_json, write_published
from ..datanets.withdrawn import find_withdrawn, read_withdrawn
from ..errors import NodeError
from ..home import Home
from ..keystore import list_accounts
from ..market.names import is_id
from ..market.reachable import Reachable, directness, open_directly_to
from ..p2p.partial import Partial
from ..p2p.provider_client import Points, ProviderLookup
from ..p2p.rows_fetch import FetchedRows, RowsLimits, RowsTransfer, ShowBytes
from ..p2p.rows_server import RowsServer
from ..p2p.transport import PeerId, Transport
from ..p2p.upload import Uplink
from ..settlement.session import NetworkSession
from ..text import counted
from .row_shelf import NodeShelf

PULL_ROWS: Final = "pull_rows"

LOOK_S: Final = 10.0
"""The pause between looks at the data directory for versions that were published or pulled meanwhile."""

PULL_S_MAX: Final = 3_600.0
"""The longest that one pull takes. What has arrived is kept, and the next pull goes on from there."""

NEIGHBOURS_MAX: Final = 16
"""Connected peers that are asked when too few holders are found at bootstrap nodes."""

ENOUGH: Final = 3

IDS_SHOWN: Final = 4
"""Datanets of one name that an error lists: anybody can register any number."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WantedRows:
    """A version on the chain, of another operator's Datanet."""

    id: DatanetId
    name: str
    licence: str
    version: int
    rows_root: Digest
    contributors_root: Digest  # of the newest version with these rows: an owner may correct the contributors

    @property
    def reference(self) -> DatanetReference:
        """The version as an adapter names it."""
        return DatanetReference(id=self.id, version=str(self.version), rows_root=self.rows_root, weight_ppm=PPM)

    @property
    def says(self) -> str:
        """The version in a sentence."""
        return f"version {self.version} of Datanet {self.name} ({self.id})"


@dataclass(frozen=True, slots=True, kw_only=True)
class NearPeer:
    """A connected peer, which may have rows without saying so anywhere."""

    peer_id: str
    addresses: tuple[str, ...] = ()
    circuits: tuple[str, ...] = ()


FindRecords = Callable[[AdapterId], Awaitable[Sequence[Reachable]]]
"""Finds the records of peers at bootstrap nodes, by the id of an adapter or of a version's rows."""


class DatanetRows:
    """Serves and pulls rows; `run` keeps the shelf up to date."""

    def __init__(
        self,
        home: Home,
        session: NetworkSession,
        transport: Transport,
        find_records: FindRecords,
        *,
        uplink: Uplink,
        is_sharing: bool,
        limits: RowsLimits | None = None,
    ) -> None:
        network = session.network
        self._home = home
        self._session = session
        self._transport = transport
        self._limits = limits
        self._protocol = wire_name(network.network, "rows")
        self._find_records = find_records
        self.shelf = NodeShelf(
            home=home,
            network=network.network,
            events=session.ledger.events,
            is_sharing=is_sharing,
        )
        self.server = RowsServer(self.shelf.find, path_to=transport.path_to, uplink=uplink)

    def topics(self) -> Sequence[Digest]:
        """The ids under which this node's versions are found at bootstrap nodes."""
        return self.shelf.topics

    async def run(self) -> None:
        """Serve rows until cancelled."""
        self._transport.handle(self._protocol, self.server.serve)
        while True:
            await trio.to_thread.run_sync(self.shelf.refresh)
            await trio.sleep(LOOK_S)

    async def pull(self, words: str, show: ShowBytes) -> dict[str, Any]:
        """Fetch the rows of `ID` or `ID@VERSION` from peers; `show` gets the bytes that are here, and of all.

        Raises:
            NodeError: there is no such version, it is this node's own, rows of it were withdrawn, or no peer could
                send it; the message gives each one's error.
        """
        wanted = await trio.to_thread.run_sync(self._resolve, words)
        if here := await trio.to_thread.run_sync(self._find_here, wanted):
            return _to_plain(here, None)
        topic = rows_topic(wanted.id, wanted.rows_root)
        copies = await self._holders(topic)
        try:
            with (
                Partial.opened_below(self._home.datanets, topic, what=wanted.says) as place,
                trio.fail_after(PULL_S_MAX),
            ):
                fetched = await self._transfer(wanted, copies, place, show).run()
                pulled = await trio.to_thread.run_sync(self._keep, wanted, fetched)
                place.remove()
        except trio.TooSlowError as error:
            raise NodeError(
                f"{wanted.says} took more than {PULL_S_MAX / 60:.0f} minutes. What has arrived is kept: run the "
                "command again, and it goes on from there"
            ) from error
        await trio.to_thread.run_sync(self.shelf.refresh)
        return _to_plain(pulled, fetched)

    def _transfer(
        self, wanted: WantedRows, copies: dict[PeerId, Reachable], place: Partial, show: ShowBytes
    ) -> RowsTransfer[DatanetVersion]:
        return RowsTransfer(
            lambda peer_id: open_directly_to(self._transport, copies[peer_id], self._protocol),
            sorted(copies, key=lambda peer_id: directness(self._transport, copies[peer_id])),
            GetRows(datanet=wanted.id, rows_root=wanted.rows_root),
            place,
            check_version=partial(self._check_version, wanted),
            check_rows=_check_rows,
            limits=self._limits,
            show=show,
        )

    async def _holders(self, topic: Digest) -> dict[PeerId, Reachable]:
        """Peers that say at bootstrap nodes that they have the rows, and if they are few, connected ones."""
        found: dict[PeerId, Reachable] = {
            PeerId(each.peer_id): each for each in await self._find_records(AdapterId(topic))
        }
        if len(found) < ENOUGH:
            for peer_id in self._transport.connected()[:NEIGHBOURS_MAX]:
                found.setdefault(peer_id, NearPeer(peer_id=peer_id))
        return found

    # ---- in threads

    def _resolve(self, words: str) -> WantedRows:
        """Find a version on the chain by the Datanet's id, or by its name if only one has it."""
        text, _, number = words.partition("@")
        events = self._session.ledger.events
        created = events.find("DatanetCreated", {"id": text} if is_id(text) else {"name": text})
        ids = {str(event.arguments["id"]) for event in created}
        if not ids:
            raise NodeError(
                f"there is no Datanet {text} on this network, as far as this node has read the chain: give its id, "
                "which its owner reads with `openledger-node datanet show NAME`"
            )
        if len(ids) > 1:
            few = ", ".join(sorted(ids)[:IDS_SHOWN]) + (", …" if len(ids) > IDS_SHOWN else "")
            raise NodeError(f"{len(ids)} Datanets are called {text}: give the id of the one you want, such as {few}")
        terms: Any = created[-1].arguments
        id = DatanetId(ids.pop())
        self._check_not_own(id, str(terms["name"]))
        published = events.find("DatanetVersion", {"id": id})
        chosen = [each for each in published if number in ("", str(each.arguments["version"]))]
        if not chosen:
            what = f"version {number} of it" if number and published else "a version of it"
            raise NodeError(f"Datanet {text} has not published {what}: ask its owner")
        entry: Any = chosen[-1].arguments
        newest: Any = [each for each in published if each.arguments["rowsRoot"] == entry["rowsRoot"]][-1].arguments
        return WantedRows(
            id=id,
            name=_name_of(str(terms["name"]), id),
            licence=str(terms["licence"]),
            version=int(entry["version"]),
            rows_root=Digest(entry["rowsRoot"]),
            contributors_root=Digest(newest["contributorsRoot"]),
        )

    def _check_not_own(self, id: DatanetId, name: str) -> None:
        accounts = list_accounts(self._home.network_keys(self._session.network.network))
        is_own = any(datanet_id(each.address, name) == id for each in accounts)
        if is_own and OwnDatanets(self._home).find(name):
            raise NodeError(f"Datanet {name} is yours, so its rows are here: `openledger-node datanet show {name}`")

    def _find_here(self, wanted: WantedRows) -> PulledVersion | None:
        """The version if it was pulled before, is whole, and has no withdrawn row.

        Raises:
            NodeError: some of its rows were withdrawn.
        """
        noted = [each for each in pulled_versions(self._home, wanted.id) if each.rows_root == wanted.rows_root]
        if not noted:
            return None
        try:
            found = read_published(self._home, wanted.reference)
            is_whole = file_digest(rows_file(self._home, wanted.id, wanted.rows_root)) == wanted.rows_root
        except (NodeError, OSError):
            return None
        if not is_whole or found.contributors_root != wanted.contributors_root:
            return None
        self._check_not_withdrawn(wanted, found)
        return noted[-1]

    def _check_version(self, wanted: WantedRows, content: bytes) -> DatanetVersion:
        """Read a version that a peer has sent.

        Raises:
            ProtocolError: it is not the one on the chain.
            NodeError: some of its rows were withdrawn, so that nobody passes it on.
        """
        try:
            version = version_from_json(json.loads(content), is_signed=True)  # its signatures come last
        except (ValueError, RecursionError) as error:
            raise MalformedError("its version is not valid JSON") from error
        if version.rows_root != wanted.rows_root:
            raise AdapterRefusedError("its version is of other rows")
        is_newest = version.contributors_root == wanted.contributors_root
        if not is_newest or not is_published(self._session.ledger.events, wanted.id, version):
            raise AdapterRefusedError(
                "its version names other contributors than the chain, or shows commitments that it does not have"
            )
        self._check_not_withdrawn(wanted, version)
        return check_signed(version)

    def _check_not_withdrawn(self, wanted: WantedRows, version: DatanetVersion) -> None:
        gone = find_withdrawn(version.rows, read_withdrawn(self._session.ledger.events, wanted.id))
        if gone:
            raise NodeError(
                f"{counted(len(gone), 'row')} of {wanted.says} were withdrawn, so nobody passes it on and no adapter "
                "is trained on it: pull a newer version as soon as its owner has published one without them"
            )

    def _keep(self, wanted: WantedRows, fetched: FetchedRows[DatanetVersion]) -> PulledVersion:
        pulled = PulledVersion(
            id=wanted.id,
            name=wanted.name,
            version=wanted.version,
            rows_root=wanted.rows_root,
            num_rows=len(fetched.version.rows),
            licence=wanted.licence,
        )
        write_published(self._home, wanted.id, fetched.version)
        file = rows_file(self._home, wanted.id, wanted.rows_root)
        try:
            os.replace(fetched.file, file)
        except OSError as error:
            raise NodeError(f"cannot write {file}: {error.strerror}") from error
        keep_pulled(self._home, pulled)  # last, because the note says that all is there
        return pulled


def open_rows(
    home: Home, session: NetworkSession, transport: Transport, points: Points, *, uplink: Uplink, is_sharing: bool
) -> DatanetRows:
    """Open the exchange of rows, whose holders are found at bootstrap nodes."""
    lookup = ProviderLookup(
        points, transport, network=session.network.network, now_s=time.time, random=SystemRandom()
    )
    return DatanetRows(home, session, transport, lookup.find, uplink=uplink, is_sharing=is_sharing)


def _check_rows(file: Path, version: DatanetVersion) -> None:
    try:
        check_rows(file, version)
    except OSError as error:
        raise NodeError(f"cannot read {file}: {error.strerror}") from error


def _name_of(name: str, id: DatanetId) -> str:
    """The name on the chain if it can be one here, or else the beginning of the id."""
    try:
        return check_name(name)
    except MalformedError:
        return id[2:12]


def _to_plain(pulled: PulledVersion, fetched: FetchedRows[DatanetVersion] | None) -> dict[str, Any]:
    """The result for JSON; None if the rows were here already."""
    return {
        "id": pulled.id,
        "name": pulled.name,
        "version": pulled.version,
        "rows_root": pulled.rows_root,
        "rows": pulled.num_rows,
        "licence": pulled.licence,
        "from_peer": fetched.from_peer if fetched else None,
        "bytes": fetched.size_bytes if fetched else 0,
        "dropped": dict(fetched.dropped) if fetched else {},
    }
