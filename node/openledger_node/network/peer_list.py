"""The list of peers for a command and the page: who is connected, who sells, who is called, who wins, and why not."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

import trio

from openledger_protocol.primitives import AdapterId, Digest
from openledger_protocol.wire.ads import OfferedBase

from ..datanets.withdrawn import WithdrawnRows, withdrawn_from, withdrawn_of_registered, withdrawn_to_plain
from ..home import Home
from ..ledger.events import EventRows
from ..ledger.sellers import Sellers
from ..market.bidder import Bidder
from ..market.board import AdTable
from ..market.overview import SellerStanding, adapter_to_plain, peer_to_plain, with_sellers
from ..market.requester import Requester
from ..models.adapters import Adapter
from ..models.bases import Base, list_bases
from ..models.library import list_adapters
from ..p2p.connections import Connections
from ..p2p.transport import PeerId, Transport
from .catalogue import AdapterCatalogue
from .catalogue_filter import Chosen

UNOFFERED_MAX: Final = 256
"""Registered adapters that nobody offers are listed up to this number, those that earned most first."""


async def peers_to_plain(
    *,
    transport: Transport,
    connections: Connections,
    table: AdTable,
    requester: Requester,
    sellers: Sellers,
    bidder: Bidder,
    base: Digest,
) -> dict[str, Any]:
    """The known peers, their offers and standing, and the bids that this node lost, for JSON."""
    known = {peer.peer_id: peer for peer in connections.known()}
    ads = {ad.peer_id: ad for ad in table.live()}
    records = await trio.to_thread.run_sync(sellers.of, [ad.wallet for ad in ads.values()])
    standings = {
        peer_id: SellerStanding(
            record=records[ad.wallet], worth=requester.worth_of(ad), asked=requester.asked.find(PeerId(peer_id))
        )
        for peer_id, ad in ads.items()
    }
    return {
        "peer_id": transport.peer_id,
        "addresses": list(transport.addresses),
        "peers": [
            peer_to_plain(
                peer,
                ads.get(peer.peer_id),
                base=base,
                standing=standings.get(peer.peer_id),
                path=transport.path_to(peer.peer_id),
            )
            for peer in with_sellers(list(known.values()), list(ads.values()))
        ],
        "lost_bids": [
            {"request_id": lost.request_id, "peer_id": lost.peer_id, "reason": lost.reason} for lost in bidder.lost
        ],
    }


async def offered_to_plain(
    home: Home,
    table: AdTable,
    own: Base,
    known: Sequence[OfferedBase],
    events: EventRows,
    catalogue: AdapterCatalogue,
    *,
    chosen: Chosen = lambda _: True,
) -> dict[str, Any]:
    """The adapters that other nodes offer now, those that nobody offers, and the network's bases, for JSON.

    `chosen` chooses among those that nobody offers.
    """
    here = {adapter.id: adapter for adapter in await trio.to_thread.run_sync(list_adapters, home)}
    await trio.to_thread.run_sync(catalogue.update)
    bases = {base.digest: base.name for base in await trio.to_thread.run_sync(list_bases, home)}
    bases[own.digest] = own.name
    listed = table.adapters()
    withdrawn = await trio.to_thread.run_sync(
        _withdrawn_rows, home, events, [each.adapter.id for each in listed], here
    )
    return {
        "base": own.name,
        "bases": [
            {"name": bases.get(each.base), "digest": each.base, "num_sellers": each.num_sellers} for each in known
        ],
        "adapters": [
            {
                **adapter_to_plain(
                    each,
                    table.offers(each.base, each.adapter.id),
                    base_name=bases.get(each.base),
                    is_our_base=each.base == own.digest,
                    is_here=each.adapter.id in here,
                ),
                "withdrawn": withdrawn_to_plain(withdrawn[each.adapter.id]),
                **catalogue.to_plain(each.adapter.id),
            }
            for each in listed
        ],
        **_unoffered(catalogue, {each.adapter.id for each in listed}, here, bases, own, chosen),
    }


def _unoffered(
    catalogue: AdapterCatalogue,
    offered: Collection[AdapterId],
    here: Mapping[AdapterId, Adapter],
    bases: Mapping[Digest, str],
    own: Base,
    chosen: Chosen,
) -> dict[str, Any]:
    """Registered adapters that no other node offers now; the chain has their ids and no names."""
    found = (
        {
            "id": each.id,
            "full_name": here[each.id].full_name if each.id in here else None,
            "base": bases.get(each.base),
            "base_digest": each.base,
            "is_our_base": each.base == own.digest,
            "is_here": each.id in here,
            **catalogue.to_plain(each.id),
        }
        for each in catalogue.newest()
        if each.id not in offered
    )
    left = [each for each in found if chosen(each)]
    return {"num_unoffered": len(left), "unoffered": left[:UNOFFERED_MAX]}


def _withdrawn_rows(
    home: Home, events: EventRows, adapter_ids: Sequence[AdapterId], here: Mapping[AdapterId, Adapter]
) -> dict[AdapterId, WithdrawnRows | None]:
    """The flags of adapters on offer: counted for those that are here, by the chain alone for others."""
    return {
        adapter_id: withdrawn_from(home, events, here[adapter_id].manifest)
        if adapter_id in here
        else withdrawn_of_registered(events, adapter_id)
        for adapter_id in adapter_ids
    }
