"""The neighbourhood: this node's place among peers, with all that speaks to them hung on it."""

import time
from collections.abc import Iterator
from typing import Any, Final

import trio

from openledger_protocol.advertisement import OfferedAdapter, sign_binding
from openledger_protocol.constants import AD_WARM_MAX
from openledger_protocol.errors import ProtocolError, UnknownModelError
from openledger_protocol.payments import Terms
from openledger_protocol.primitives import BASE_ONLY, ZERO_DIGEST, AdapterId, RequestId
from openledger_protocol.wire.frames import wire_name

from ..accounting.publishing import find_published
from ..attribution.registry import AdapterRegistry
from ..config import Config, MarketConfig
from ..engine.engine import Engine
from ..engine.tokenizer import Tokenizer
from ..errors import NodeError
from ..home import Home
from ..market.advertiser import Advertiser, Snapshot
from ..market.bidder import Bidder
from ..market.board import AdTable
from ..market.offer import NEWEST, PricePolicy, Sellable, SellerState, Speeds, speeds_of
from ..market.overview import MarketView, Priced, peer_to_plain, priced
from ..market.reachable import open_to
from ..models.adapters import Adapter
from ..p2p.adapter_server import AdapterServer
from ..p2p.connections import INBOUND
from ..p2p.identity import ensure_identity
from ..p2p.transport import Handler, PeerId
from ..serving.service import Serving
from ..settlement.session import NetworkSession
from .adapter_pull import fetch_adapter, fetched_to_plain
from .buying import Buying, open_keeper, open_requester, open_transport
from .selling import Offer

LOOK_EVERY_S: Final = 3.0

PRICED_MAX: Final = 64
"""Adapters whose place among others' is worked out."""


class PeerService:
    """All that this node is to its peers."""

    def __init__(
        self,
        home: Home,
        config: Config,
        session: NetworkSession,
        *,
        serving: Serving,
        engine: Engine,
        tokenizer: Tokenizer,
        registry: AdapterRegistry,
    ) -> None:
        self._home = home
        self._config = config
        self._market = config.market
        self._session = session
        self._serving = serving
        self._engine = engine
        self._registry = registry
        self._speeds = Speeds()
        self._sellable: tuple[Adapter, ...] = ()
        self._offer: Offer | None = None  # what is sold here, if anything is
        network, ledger = session.network, session.ledger
        self._transport = open_transport(home, network, config.p2p)
        self._keeper = open_keeper(home, network, self._transport)
        self._board = AdTable(
            network.network,
            time.time,
            ledger.peers,
            own=self._transport.peer_id,
            base_names={serving.base.digest: serving.base.name},
        )
        self._bidder = Bidder(state=self._state, find=self._find_sellable)
        requester = open_requester(
            session, config, transport=self._transport, board=self._board, serving=serving, tokenizer=tokenizer
        )
        self.market = Buying(requester, self._board, serving, auditable=config.payer.auditable)
        self._advertiser = self._open_advertiser()
        self._adapters = AdapterServer(home)

    @property
    def peer_id(self) -> PeerId:
        """Our own."""
        return self._transport.peer_id

    @property
    def num_peers(self) -> int:
        """Peers that we are connected with."""
        return len(self._transport.connected())

    def terms_of(self, request_id: RequestId) -> Terms | None:
        """The terms of a bid of ours that is still good."""
        return self._bidder.terms_of(request_id)

    def sell(self, offer: Offer, serve: Handler) -> None:
        """Bid for calls, and serve those who come with an award."""
        self._offer = offer
        network = self._session.network.network
        self._transport.handle(wire_name(network, "call"), self._bidder.serve)
        self._transport.handle(wire_name(network, "infer"), serve)

    def reprice(self, offer: Offer | None, market: MarketConfig) -> None:
        """Bid and advertise at other prices from now on; bids that stand are kept."""
        self._offer, self._market = offer, market

    def view(self) -> MarketView:
        """What is known of the market."""
        serving = [ad for ad in self._board.live() if ad.serves]
        return MarketView(
            num_peers=self.num_peers,
            num_serving=len(serving),
            was_dialled=any(peer.learned_from == INBOUND for peer in self._keeper.known()),
            addresses=tuple(self._transport.addresses),
            calls=self._bidder.book.last_hour(),
            now_s=trio.current_time(),
            priced=tuple(self._priced()),
        )

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Be among peers until cancelled."""
        network = self._session.network.network
        self._transport.handle(wire_name(network, "adapter"), self._adapters.serve)
        async with trio.open_nursery() as nursery:
            await nursery.start(self._transport.run)
            nursery.start_soon(self._keeper.run)
            nursery.start_soon(self._advertiser.run)
            nursery.start_soon(self._look)
            task_status.started()

    def peers(self) -> dict[str, Any]:
        """Whom we have heard of, and what they offer."""
        known = {peer.peer_id: peer for peer in self._keeper.known()}
        return {
            "peer_id": self.peer_id,
            "addresses": list(self._transport.addresses),
            "peers": [
                peer_to_plain(peer, self._board.find(peer.peer_id), base=self._serving.base.digest)
                for peer in known.values()
            ],
            "lost_bids": [
                {"request_id": lost.request_id, "peer_id": lost.peer_id, "reason": lost.reason}
                for lost in self._bidder.lost
            ],
        }

    async def pull(self, name: str) -> dict[str, Any]:
        """Fetch an adapter from whoever offers it.

        Raises:
            UnknownModelError: nobody offers it.
            NodeError: nobody's copy could be fetched, or put on the shelf.
        """
        found = self._board.resolve(name)
        if found.adapter == BASE_ONLY:
            raise UnknownModelError(f"{name!r} is a base: `openledger-node models pull` fetches those")
        offers = {PeerId(ad.peer_id): ad for ad in self._board.offers(found.base, found.adapter)}
        protocol = wire_name(self._session.network.network, "adapter")
        events = self._session.ledger.events
        fetched = await fetch_adapter(
            lambda peer_id: open_to(self._transport, offers[peer_id], protocol),
            list(offers),
            found.adapter,
            self._home,
            self._serving.base,
            is_published=lambda version: bool(find_published(events, version)),
        )
        return fetched_to_plain(fetched)

    # ---- what we say of ourselves

    def _priced(self) -> Iterator[Priced]:
        """Each model that is sold here, the base first."""
        if self._offer is None:
            return
        base, terms = self._serving.base, self._offer.terms
        named = [(base.name, BASE_ONLY), *((each.name, each.id) for each in self._sellable[:PRICED_MAX])]
        for name, adapter in named:
            yield priced(name, adapter, terms, self._board.offers(base.digest, adapter))

    def _state(self) -> SellerState:
        offer, profile, inference = self._offer, self._engine.profile, self._config.inference
        assert offer is not None, "nobody hears a call where nothing is sold"
        market = self._market
        return SellerState(
            wallet=offer.node,
            signer=offer.signer,
            base=offer.base,
            profile_hash=offer.profile_hash,
            algo_id=offer.algo_id,
            chunk_tokens=offer.chunk_tokens,
            context_max=profile.context_max if profile else 0,
            policy=PricePolicy(
                floor=offer.terms,
                load_percent=market.load_surcharge_percent,
                cold_percent=market.cold_surcharge_percent,
            ),
            is_ready=self._serving.is_ready,
            num_live=self._serving.num_live,
            queue_max=inference.queue_max,
            slots=inference.batch_max,
            tokens_per_s=self._speeds.tokens_per_s,
            prefill_tokens_per_s=self._speeds.prefill_tokens_per_s,
            answer_ms=self._speeds.answer_ms,
            load_ms=self._speeds.load_ms,
        )

    async def _find_sellable(self, adapter_id: AdapterId) -> Sellable:
        if adapter_id == BASE_ONLY:
            return Sellable(index_root=ZERO_DIGEST, is_warm=True)
        adapter = await trio.to_thread.run_sync(self._find_adapter, adapter_id)
        is_warm = adapter_id in self._engine.beat.resident
        return Sellable(index_root=adapter.manifest.index_root or ZERO_DIGEST, is_warm=is_warm)

    def _find_adapter(self, adapter_id: AdapterId) -> Adapter:
        for adapter in self._serving.adapters():
            if adapter.id == adapter_id:
                self._registry.find(adapter)
                return adapter
        raise UnknownModelError(f"adapter {adapter_id} is not here")

    def _open_advertiser(self) -> Advertiser:
        session = self._session
        network, accounts = session.network.network, session.accounts
        signer = session.ring.keys[accounts.signer]
        binding = sign_binding(signer.private_key, network, self.peer_id, accounts.wallet)
        return Advertiser(
            network=network,
            transport=self._transport,
            table=self._board,
            peers=session.ledger.peers,
            seed=ensure_identity(self._home.network_keys(network)),
            snapshot=lambda: self._snapshot(binding),
            now_ns=time.time_ns,
        )

    def _snapshot(self, binding: bytes) -> Snapshot | None:
        """What is sold here just now; who sells nothing has nothing to advertise."""
        if self._offer is None:
            return None
        state, resident = self._state(), self._engine.beat.resident
        # Names travel with these alone, so that those on the disk follow those in memory: a bid says which it is.
        known = sorted(self._sellable, key=lambda adapter: adapter.id not in resident)
        return Snapshot(
            wallet=state.wallet,
            signer=state.signer,
            base=state.base,
            profile_hash=state.profile_hash,
            algo_id=state.algo_id,
            context_max=state.context_max,
            chunk_tokens=state.chunk_tokens,
            terms=state.policy.floor,
            warm=tuple(OfferedAdapter(id=adapter.id, name=adapter.name) for adapter in known[:AD_WARM_MAX]),
            cold=tuple(adapter.id for adapter in known),
            slots=state.slots,
            slots_free=max(0, state.slots - state.num_live),
            tokens_per_s=state.tokens_per_s,
            serves=state.is_ready,
            binding=binding,
        )

    async def _look(self) -> None:
        """Look now and then how fast we are, and what of the shelf may be sold."""
        while True:
            self._speeds = speeds_of(await self._serving.jobs(NEWEST))
            self._sellable = await trio.to_thread.run_sync(self._find_all_sellable)
            await trio.sleep(LOOK_EVERY_S)

    def _find_all_sellable(self) -> tuple[Adapter, ...]:
        return tuple(adapter for adapter in self._serving.adapters() if self._is_sellable(adapter))

    def _is_sellable(self, adapter: Adapter) -> bool:
        try:
            self._registry.find(adapter)
        except (ProtocolError, NodeError):
            return False  # not registered, or not yet; asked anew at the next look
        return True
