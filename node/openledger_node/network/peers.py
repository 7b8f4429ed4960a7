"""Everything this node runs to take part in the peer network: connections, advertisements, bids and adapters."""

import logging
import time
from collections.abc import Mapping
from functools import partial
from random import SystemRandom
from typing import Any, Final

import trio

from openledger_protocol.advertisement import OfferedAdapter, sign_binding
from openledger_protocol.constants import AD_WARM_MAX
from openledger_protocol.errors import AdapterRefusedError, ProtocolError, UnavailableError
from openledger_protocol.payments import Terms
from openledger_protocol.primitives import BASE_ONLY, ZERO_DIGEST, AdapterId, Address, Generation, RequestId
from openledger_protocol.rules import SIGNALS_RULE
from openledger_protocol.wire.ads import BASES_MAX
from openledger_protocol.wire.frames import wire_name

from ..attribution.registry import AdapterRegistry
from ..beats import sleep_to_beat
from ..config import Config, MarketConfig
from ..contained import why_failed
from ..engine.engine import Engine
from ..engine.tokenizer import Tokenizer
from ..errors import LedgerError, NodeError
from ..home import Home
from ..market.advertiser import Advertiser, Snapshot
from ..market.bidder import Bidder
from ..market.board import AdTable
from ..market.offer import BID_VALID_S, NEWEST, PricePolicy, Sellable, SellerState, Speeds, speeds_of, terms_asked_max
from ..market.overview import MarketView, Priced, offered_names, priced
from ..market.second_copy import CopyWatch
from ..market.worth import WorthOf
from ..models.adapters import Adapter
from ..p2p.adapter_server import AdapterServer
from ..p2p.connections import INBOUND
from ..p2p.identity import ensure_identity
from ..p2p.mdns import LanDiscovery
from ..p2p.provider_client import Points
from ..p2p.provider_records import serve_providers
from ..p2p.roaming import listen_where_this_machine_is
from ..p2p.streams import MessageStream
from ..p2p.transport import Handler, PeerId, peer_id_from_address
from ..payments.seller import StreamSeller
from ..serving.admission import abilities_of
from ..serving.service import Serving
from ..settlement.session import NetworkSession
from .adapter_pull import ShowProgress, fetched_to_plain, pull_named
from .buying import (
    AUTO,
    Buying,
    open_audits,
    open_connections,
    open_kept_texts,
    open_reach_watch,
    open_requester,
    open_transport,
)
from .catalogue import AdapterCatalogue
from .catalogue_filter import Chosen, chosen_by
from .far_sellers import open_far_sellers, open_publisher
from .peer_list import offered_to_plain, peers_to_plain
from .row_pull import PULL_ROWS, open_rows
from .selling import Offer

PULL: Final = "pull"
PEERS: Final = "peers"
SEARCH: Final = "search"
PEER_QUESTIONS: Final = (PEERS, PULL, PULL_ROWS, SEARCH)
"""The questions of commands that only a node with peers can answer, `PEERS` aside."""

DISK_QUESTIONS: Final = (PULL, PULL_ROWS)
"""Those of them that take room on the disk."""

NO_PEERS: Final[Mapping[str, Any]] = {"peer_id": None, "addresses": [], "peers": [], "lost_bids": []}
"""The answer to `PEERS` of a node that is on no network of others."""

REFUSE_TIMEOUT_S: Final = 5.0

REFRESH_EVERY_S: Final = 3.0

PRICED_MAX: Final = 64
"""The most adapters whose price is compared with other nodes'."""

log = logging.getLogger(__name__)


class PeerService:
    """The node's services for its peers."""

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
        self._catalogue = AdapterCatalogue(session.ledger.events)
        self._models = OwnModels(serving=serving, engine=engine, registry=registry)
        self._offer: Offer | None = None  # None: this node sells nothing
        network, ledger = session.network, session.ledger
        self._transport = open_transport(home, network, config.p2p)
        self._copies = CopyWatch(peer_id=self._transport.peer_id, signer=session.accounts.signer, now_s=time.time)
        self._ads = AdTable(
            network.network,
            time.time,
            ledger.peers,
            own=self._transport.peer_id,
            base_names={serving.base.digest: serving.base.name},
            copies=self._copies,
        )
        self._paid: StreamSeller | None = None  # None: this node sells nothing
        self._connections = open_connections(
            home,
            network,
            self._transport,
            self._ads,
            lambda peer_id: bool(self._paid and self._paid.is_paying(peer_id)),
        )
        self._reach = open_reach_watch(home, network, config.p2p, self._transport, self._connections)
        self._lan = LanDiscovery(
            self._transport, network=network.network, found=self._connections.learn_on_lan, random=SystemRandom()
        )
        self._bidder = Bidder(state=self._state, find=self._models.find, proof_of=self._proof_of)
        texts = open_kept_texts(home, session, config)
        self._audits = open_audits(home, session, config, texts=texts, registry=registry, serving=serving)
        requester = open_requester(
            home,
            session,
            config,
            transport=self._transport,
            ads=self._ads,
            serving=serving,
            tokenizer=tokenizer,
            texts=texts,
            audits=self._audits,
            source=registry.source,
        )
        self._requester = requester
        points = Points(self._transport, network=network.network, bootstrap=network.bootstrap)
        self._far = open_far_sellers(
            network, self._transport, points, self._ads, base=lambda: serving.base.digest, events=ledger.events
        )
        self._publisher = open_publisher(home, network, self._transport, points, shelf=self._shelf)
        self.market = Buying(requester, self._ads, serving, self._far)
        self._advertiser = self._open_advertiser()
        self._adapters = AdapterServer(
            home,
            path_to=self._transport.path_to,
            upload_bytes_per_s=config.p2p.adapter_upload_bytes_per_s,
        )
        self._rows = open_rows(
            home, session, self._transport, points, uplink=self._adapters.uplink, is_sharing=config.p2p.share_rows
        )

    @property
    def peer_id(self) -> PeerId:
        """This node's peer id."""
        return self._transport.peer_id

    @property
    def num_peers(self) -> int:
        """The number of connected peers."""
        return len(self._transport.connected())

    def terms_of(self, peer_id: PeerId, request_id: RequestId) -> Terms | None:
        """The terms of this node's bid on a peer's request, if the bid is still valid."""
        return self._bidder.terms_of(peer_id, request_id)

    def generation_of(self, wallet: Address) -> Generation | None:
        """The generation that a wallet's node advertises; None if no such node is heard. Called from other threads.

        Anyone may advertise with another's wallet, so the chain is asked for the signer.
        """
        is_signer = self._session.deployment.is_signer
        ads = [ad for ad in trio.from_thread.run_sync(self._ads.live) if ad.wallet == wallet]
        return next((ad.generation for ad in ads if is_signer(wallet, ad.signer)), None)

    def sell(self, offer: Offer, serve: Handler, *, paid: StreamSeller) -> None:
        """Bid on calls, and serve requesters that come with an award; those that pay keep their connections."""
        self._offer, self._paid = offer, paid
        network = self._session.network.network
        self._transport.handle(wire_name(network, "call"), self._bidder.serve)
        self._transport.handle(wire_name(network, "infer"), partial(self._serve_alone, serve))

    async def _serve_alone(self, serve: Handler, peer_id: PeerId, stream: trio.abc.Stream) -> None:
        """Serve a requester, unless a second copy of this node sells as well."""
        if why := self._copies.why_not:
            await MessageStream(stream).refuse(UnavailableError(why), timeout_s=REFUSE_TIMEOUT_S)
        else:
            await serve(peer_id, stream)

    def reprice(self, offer: Offer | None, market: MarketConfig) -> None:
        """Bid and advertise at other prices from now on; bids that were already made keep theirs."""
        self._offer, self._market = offer, market

    def view(self) -> MarketView:
        """An overview of the market as this node knows it."""
        serving = [ad for ad in self._ads.live() if ad.serves]
        return MarketView(
            num_peers=self.num_peers,
            num_serving=len(serving),
            was_dialled=any(peer.learned_from == INBOUND for peer in self._connections.known()),
            addresses=tuple(self._transport.addresses),
            calls=self._bidder.book.last_hour(),
            demand=self._bidder.demand.day(),
            lacking=self._bidder.lacking.day(),
            wanted=self.market.wanted.day(),
            now_s=trio.current_time(),
            priced=self._models.priced(self._offer.terms, self._ads, self._requester.worth_of) if self._offer else (),
            unserved=self._bidder.unserved.day(),
            offered=offered_names(self._ads, self._bidder.unserved),
            second_copy=self._copies.why_not,
            reach=self._reach.reach,
            not_sold=self._models.not_sold,
        )

    async def say_goodbye(self) -> None:
        """Tell the peers at once that this node no longer serves, so that none of them calls it in vain."""
        await self._advertiser.say_goodbye()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Take part in the peer network until cancelled."""
        network = self._session.network.network
        self._transport.handle(wire_name(network, "adapter"), self._adapters.serve)
        if self.peer_id in map(peer_id_from_address, self._session.network.bootstrap):
            serve_providers(self._transport, network)
        async with trio.open_nursery() as nursery:
            await nursery.start(self._audits.run)
            await nursery.start(self._transport.run)
            nursery.start_soon(self._connections.run)
            nursery.start_soon(self._reach.run)
            if self._config.p2p.listen == AUTO:
                nursery.start_soon(partial(listen_where_this_machine_is, self._transport, port=self._config.p2p.port))
            if self._config.p2p.mdns:
                nursery.start_soon(self._lan.run)
            nursery.start_soon(self._advertiser.run)
            nursery.start_soon(self._publisher.run)
            nursery.start_soon(self._models.run)
            nursery.start_soon(self._rows.run)
            nursery.start_soon(self._requester.run)
            task_status.started()

    async def peers(self) -> dict[str, Any]:
        """The known peers, their offers and standing, and the bids that this node lost, for JSON."""
        return await peers_to_plain(
            transport=self._transport,
            connections=self._connections,
            table=self._ads,
            requester=self._requester,
            sellers=self._session.ledger.sellers,
            bidder=self._bidder,
            base=self._serving.base.digest,
        )

    async def answer(self, question: str, arguments: Mapping[str, Any], show: ShowProgress) -> dict[str, Any]:
        """Answer one of `PEER_QUESTIONS`; `show` gets the progress of a pull.

        Raises:
            NodeError: the operator must act.
            ProtocolError: the question is refused.
        """
        if question == PULL:
            return await self.pull(str(arguments.get("adapter")), show)
        if question == PULL_ROWS:
            return await self._rows.pull(str(arguments.get("datanet")), show)
        return await (self.search(chosen_by(arguments)) if question == SEARCH else self.peers())

    async def search(self, chosen: Chosen) -> dict[str, Any]:
        """The adapters that other nodes offer now, those that nobody offers, and the network's bases, for JSON."""
        await self._advertiser.greeter.look_around()
        bases = self._advertiser.offered.list_bases(BASES_MAX)
        events = self._session.ledger.events
        return await offered_to_plain(
            self._home, self._ads, self._serving.base, bases, events, self._catalogue, chosen=chosen
        )

    async def pull(self, name: str, show: ShowProgress) -> dict[str, Any]:
        """Fetch an adapter from the peers that offer it; `show` gets the bytes that are here, and of all.

        Raises:
            UnknownModelError: no peer offers it.
            NodeError: no copy could be fetched, or added to the library.
        """
        adapter, copies = await self._far.copies(name)
        base, session = self._serving.base, self._session
        return fetched_to_plain(
            await pull_named(self._home, session, self._transport, adapter, copies, base=base, show=show)
        )

    def _proof_of(self, peer_id: PeerId) -> str | None:
        """Name the one behind a caller: its bonded wallet, or itself if it has paid here; None: nobody."""
        ad = self._ads.find(peer_id)
        if ad and self._requester.worth_of(ad).is_bonded:
            return ad.wallet
        return peer_id if self._paid and self._paid.has_paid(peer_id) else None

    # ---- what this node tells its peers

    def _state(self) -> SellerState:
        offer, profile, inference = self._offer, self._engine.profile, self._config.inference
        assert offer is not None, "a node that sells nothing receives no calls"
        market = self._market
        return SellerState(
            wallet=offer.node,
            signer=offer.signer,
            generation=self._session.ledger.generations.current.generation,
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
            is_ready=self._serving.is_ready and self._copies.why_not is None,
            num_live=self._serving.num_live,
            queue_max=inference.queue_max,
            slots=inference.batch_max,
            tokens_per_s=self._models.speeds.tokens_per_s,
            prefill_tokens_per_s=self._models.speeds.prefill_tokens_per_s,
            answer_ms=self._models.speeds.answer_ms,
            load_ms=self._models.speeds.load_ms,
            reload_ms=round(1_000 * self._engine.ready_in_s(within_s=BID_VALID_S)),
            can=abilities_of(profile),
            template=self._serving.tokenizer.template_digest,
            tokenizer=self._serving.tokenizer.digest,
            rules=(SIGNALS_RULE,) if self._engine.has_taps else (),
        )

    def _open_advertiser(self) -> Advertiser:
        session = self._session
        network, accounts = session.network.network, session.accounts
        signer = session.ring.keys[accounts.signer]
        binding = sign_binding(signer.private_key, network, self.peer_id, accounts.wallet)
        return Advertiser(
            network=network,
            transport=self._transport,
            table=self._ads,
            peers=session.ledger.peers,
            seed=ensure_identity(self._home.network_keys(network)),
            snapshot=lambda: self._snapshot(binding),
            base=lambda: self._serving.base.digest,
            now_ns=time.time_ns,
            copies=self._copies,
        )

    def _shelf(self) -> list[AdapterId]:
        """Ids under which this node can be found: adapters sold here now, those in memory first, then rows."""
        rows = list(map(AdapterId, self._rows.topics()))
        if self._offer is None or not self._state().is_ready:
            return rows
        resident = self._engine.beat.resident
        adapters = (adapter.id for adapter in self._models.sellable)
        return [*sorted(adapters, key=lambda each: each not in resident), *rows]

    def _snapshot(self, binding: bytes) -> Snapshot | None:
        """The offer to advertise now; None for a node that sells nothing."""
        if self._offer is None:
            return None
        state, resident = self._state(), self._engine.beat.resident
        # Only `warm` carries names, so adapters on disk follow those in memory. A bid says which ones are warm.
        known = sorted(self._models.sellable, key=lambda adapter: adapter.id not in resident)
        return Snapshot(
            wallet=state.wallet,
            signer=state.signer,
            generation=state.generation,
            base=state.base,
            profile_hash=state.profile_hash,
            algo_id=state.algo_id,
            context_max=state.context_max,
            chunk_tokens=state.chunk_tokens,
            terms=state.policy.floor,
            terms_max=terms_asked_max(state.policy),
            warm=tuple(OfferedAdapter(id=adapter.id, name=adapter.name) for adapter in known[:AD_WARM_MAX]),
            cold=tuple(adapter.id for adapter in known),
            slots=state.slots,
            slots_free=max(0, state.slots - state.num_live),
            tokens_per_s=state.tokens_per_s,
            serves=state.is_ready,
            binding=binding,
            rules=state.rules,
        )


class OwnModels:
    """The base and the registered adapters of this node; `run` keeps what is known about them fresh."""

    def __init__(self, *, serving: Serving, engine: Engine, registry: AdapterRegistry) -> None:
        self._serving = serving
        self._engine = engine
        self._registry = registry
        self.speeds = Speeds()
        self.sellable: tuple[Adapter, ...] = ()
        self.not_sold: dict[AdapterId, str] = {}  # registered adapters that can't be sold, and why

    async def run(self) -> None:
        """Measure the node's speeds and find the adapters that it may sell, every few seconds."""
        while True:
            waited = set(self._serving.waited_for_load)  # bids add the load themselves, while it must be waited for
            try:
                jobs = [job for job in await self._serving.jobs(NEWEST) if job.request_id not in waited]
                self.speeds = speeds_of(jobs, load_ms=self._engine.beat.load_ms_p95)
                self.sellable = await trio.to_thread.run_sync(self._find_all)
            except (LedgerError, OSError) as error:
                log.warning("this node's speeds and adapters are as they were: %s", why_failed(error))
            await sleep_to_beat(REFRESH_EVERY_S)

    async def find(self, adapter_id: AdapterId) -> Sellable:
        """Find one model, and whether it is in memory.

        Raises:
            UnknownModelError: it is not here.
            AdapterRefusedError: it may not be sold.
        """
        if adapter_id == BASE_ONLY:
            return Sellable(index_root=ZERO_DIGEST, is_warm=True)
        adapter, rule = await trio.to_thread.run_sync(self._find_adapter, adapter_id)
        is_loaded = self._engine.ready_in_s(within_s=BID_VALID_S) == 0
        is_warm = is_loaded and adapter_id in self._engine.beat.resident
        return Sellable(index_root=adapter.manifest.index_root or ZERO_DIGEST, is_warm=is_warm, algo_id=rule)

    def priced(self, terms: Terms, ads: AdTable, worth_of: WorthOf) -> tuple[Priced, ...]:
        """The models that are sold here at these terms, beside the prices of bonded sellers; the base first."""
        base = self._serving.base
        named = [(base.name, BASE_ONLY), *((each.name, each.id) for each in self.sellable[:PRICED_MAX])]
        return tuple(
            priced(name, adapter, terms, [ad for ad in ads.offers(base.digest, adapter) if worth_of(ad).is_bonded])
            for name, adapter in named
        )

    def _find_adapter(self, adapter_id: AdapterId) -> tuple[Adapter, int]:
        """An adapter, and the attribution rule of its answers."""
        adapter = self._serving.catalogue.with_id(adapter_id)
        return adapter, self._registry.check_sellable(adapter)

    def _find_all(self) -> tuple[Adapter, ...]:
        not_sold: dict[AdapterId, str] = {}
        found = tuple(adapter for adapter in self._serving.adapters() if self._is_sellable(adapter, not_sold))
        self.not_sold = not_sold
        return found

    def _is_sellable(self, adapter: Adapter, not_sold: dict[AdapterId, str]) -> bool:
        try:
            self._registry.check_sellable(adapter)
        except AdapterRefusedError as error:
            not_sold[adapter.id] = error.message
            return False
        except (ProtocolError, NodeError):
            return False  # not registered yet, retired, or the chain is away; the next look asks again
        return True
