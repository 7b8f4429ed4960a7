"""Manifests of adapters that this node buys: from its own library, or from the peer that sells the adapter."""

from functools import partial

import trio

from openledger_protocol.adapter import AdapterManifest
from openledger_protocol.errors import UnavailableError
from openledger_protocol.primitives import AdapterId
from openledger_protocol.wire.frames import wire_name

from ..errors import NetworkError
from ..home import Home
from ..models.adapters import list_adapters
from ..p2p.manifest_fetch import fetch_manifest
from ..p2p.transport import PeerId, Transport

MANIFESTS_MAX = 64
"""Manifests that are kept, so that only the first purchase of an adapter waits for one; the oldest is dropped."""


class Manifests:
    """Finds manifests by the adapter's id, which fixes every byte of them."""

    def __init__(self, home: Home, network: str, transport: Transport) -> None:
        self._home = home
        self._protocol = wire_name(network, "adapter")
        self._transport = transport
        self._kept: dict[AdapterId, AdapterManifest] = {}

    async def find(self, adapter_id: AdapterId, peer_id: PeerId) -> AdapterManifest:
        """Find the manifest of an adapter; a peer that sells it is asked if it is not here.

        Raises:
            UnavailableError: the peer can't be reached, or is too slow.
            ProtocolError: the peer does not show the manifest, or shows another.
        """
        if adapter_id not in self._kept:
            here = await trio.to_thread.run_sync(partial(_find_here, self._home, adapter_id))
            self._kept[adapter_id] = here or await self._ask(adapter_id, peer_id)
            if len(self._kept) > MANIFESTS_MAX:
                self._kept.pop(next(iter(self._kept)))
        return self._kept[adapter_id]

    async def _ask(self, adapter_id: AdapterId, peer_id: PeerId) -> AdapterManifest:
        try:
            return await fetch_manifest(await self._transport.open_stream(peer_id, self._protocol), adapter_id)
        except NetworkError as error:
            raise UnavailableError(f"it does not show the manifest of adapter {adapter_id}: {error}") from error


def _find_here(home: Home, adapter_id: AdapterId) -> AdapterManifest | None:
    return next((each.manifest for each in list_adapters(home) if each.id == adapter_id), None)
