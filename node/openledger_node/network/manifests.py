"""Manifests of adapters that this node buys: from its own library, or from the peer that sells the adapter.

A payer compares the manifest with the adapter's entry on the chain before it pays.
"""

from contextlib import suppress

import trio

from openledger_protocol.adapter import AdapterManifest, adapter_id
from openledger_protocol.codec import DATA_FRAME_BYTES_MAX
from openledger_protocol.errors import AdapterRefusedError, UnavailableError
from openledger_protocol.primitives import AdapterId
from openledger_protocol.wire.frames import wire_name
from openledger_protocol.wire.inference import ErrorMessage, error_from_message
from openledger_protocol.wire.transfer import ChunkMessage, GetChunk, decode, encode

from ..errors import NetworkError
from ..home import Home
from ..models.adapters import SHORT_ID_DIGITS, read_manifest
from ..p2p.adapter_listing import MANIFEST_PATH
from ..p2p.adapter_listing import read_manifest as read_sent_manifest
from ..p2p.streams import MessageStream
from ..p2p.transport import PeerId, Transport

MANIFESTS_MAX = 64
"""Manifests that are kept, so that only the first purchase of an adapter waits for one; the oldest is dropped."""

ANSWER_S = 5.0
"""A peer that has just won an award is expected to show a manifest at once."""


class Manifests:
    """Finds manifests by the adapter's id, which fixes every byte of them."""

    def __init__(self, home: Home, network: str, transport: Transport) -> None:
        self._home = home
        self._protocol = wire_name(network, "adapter")
        self._transport = transport
        self._kept: dict[AdapterId, AdapterManifest] = {}

    async def find(self, id: AdapterId, peer_id: PeerId) -> AdapterManifest:
        """Find the manifest of an adapter; a peer that sells it is asked if it is not here.

        Raises:
            UnavailableError: the peer can't be reached, or is too slow.
            ProtocolError: the peer does not show the manifest, or shows another.
        """
        found = self._kept.get(id)
        if found is None:
            here = await trio.to_thread.run_sync(_find_here, self._home, id)
            found = self._kept[id] = here or await self._ask(id, peer_id)
            if len(self._kept) > MANIFESTS_MAX:
                self._kept.pop(next(iter(self._kept)))
        return found

    async def _ask(self, id: AdapterId, peer_id: PeerId) -> AdapterManifest:
        try:
            return await fetch_manifest(await self._transport.open_stream(peer_id, self._protocol), id)
        except NetworkError as error:
            raise UnavailableError(f"it does not show the manifest of adapter {id}: {error}") from error


def _find_here(home: Home, id: AdapterId) -> AdapterManifest | None:
    for folder in home.adapters.glob(f"[!.]*@{id[2 : 2 + SHORT_ID_DIGITS]}"):
        with suppress(AdapterRefusedError):
            manifest = read_manifest(folder)
            if adapter_id(manifest) == id:
                return manifest
    return None


async def fetch_manifest(stream: trio.abc.Stream, id: AdapterId) -> AdapterManifest:
    """Ask a peer for the manifest of an adapter over an `adapter` stream, which is closed afterwards.

    Raises:
        NetworkError: the peer has gone, or is too slow.
        ProtocolError: it does not have the adapter, or sends another manifest.
    """
    messages = MessageStream(stream, frame_bytes_max=DATA_FRAME_BYTES_MAX)
    try:
        with trio.fail_after(ANSWER_S):
            await messages.send(encode(GetChunk(id=id, path=MANIFEST_PATH, index=0)))
            answer = decode(await messages.receive())
    except trio.TooSlowError as error:
        raise NetworkError(f"it took longer than {ANSWER_S:g} s to send a manifest") from error
    finally:
        await messages.aclose_shielded()
    if isinstance(answer, ErrorMessage):
        raise error_from_message(answer)
    if not isinstance(answer, ChunkMessage) or (answer.id, answer.path, answer.index) != (id, MANIFEST_PATH, 0):
        raise AdapterRefusedError("it sent something else in place of a manifest")
    return await trio.to_thread.run_sync(read_sent_manifest, answer.data, id)
