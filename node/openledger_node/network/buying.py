"""The buying half of a node: its transport, its connections, and the requester that buys and pays for answers."""

import secrets
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from random import SystemRandom

import trio

from openledger_protocol.adapter import AdapterManifest, adapter_id
from openledger_protocol.codec import DATA_FRAME_BYTES_MAX
from openledger_protocol.errors import AdapterRefusedError, UnavailableError, UnknownModelError
from openledger_protocol.inference import InferenceRequest, ServedModel
from openledger_protocol.payments import ChannelConfig
from openledger_protocol.primitives import BASE_ONLY, ZERO_WEI, AdapterId, Address, Generation, Wei
from openledger_protocol.registry import RegistryEntry
from openledger_protocol.rules import DATANET_RULES
from openledger_protocol.wire.frames import wire_name
from openledger_protocol.wire.inference import ErrorMessage, error_from_message
from openledger_protocol.wire.transfer import ChunkMessage, GetChunk, decode, encode

from ..attribution.recount import ShareRecount
from ..attribution.registry import AdapterRegistry
from ..attribution.signal_checks import ReplaySource
from ..config import Config, P2pConfig
from ..engine.tokenizer import Tokenizer
from ..errors import NetworkError
from ..home import Home
from ..market.attempt import Show
from ..market.board import AdTable
from ..market.demand import Demand
from ..market.names import full_name
from ..market.request import NetworkRequest, RemoteAnswer
from ..market.requester import Backing, Requester, RequesterLimits
from ..models.adapters import SHORT_ID_DIGITS, read_manifest
from ..network_file import Network
from ..p2p.adapter_listing import MANIFEST_PATH
from ..p2p.adapter_listing import read_manifest as read_sent_manifest
from ..p2p.address_book import AddressBook
from ..p2p.connections import Connections
from ..p2p.identity import ensure_identity
from ..p2p.own_host import own_host
from ..p2p.port_mapping import PortMapper
from ..p2p.reach_watch import ReachWatch
from ..p2p.scopes import Scope, scope_of_network
from ..p2p.streams import MessageStream
from ..p2p.transport import PeerId, Transport, peer_id_from_address
from ..payments.audits import ReceiptAudits
from ..payments.kept_texts import KeptTexts, open_texts
from ..payments.payer import open_payer
from ..payments.spending_limit import SpendingLimit
from ..plugs import load_plug
from ..serving.service import Serving
from ..settlement.deposits import Deposits
from ..settlement.session import NetworkSession
from .far_sellers import FarSellers

AUTO = "auto"
CHAIN_AT_ONCE = 16
"""Questions about sellers at once. While the chain is silent, they leave threads to the ledger and the engine."""
CHANNELS_AT_ONCE = 16
"""Streams at once that find or open their channel, for the same reason."""

MANIFESTS_MAX = 64
"""Manifests that are kept, so that only the first purchase of an adapter waits for one; the oldest is dropped."""

ANSWER_S = 5.0
"""A peer that has just won an award is expected to show a manifest at once."""


class Buying:
    """The network as the router sees it: model names, and answers for money."""

    def __init__(self, requester: Requester, ads: AdTable, serving: Serving, far: FarSellers) -> None:
        self._requester = requester
        self._ads = ads
        self._serving = serving
        self._far = far
        self.wanted = Demand(time.monotonic)  # models that were requested and that nobody offers

    @property
    def spending_limit(self) -> SpendingLimit:
        """The spending limit."""
        return self._requester.spending_limit

    def models(self) -> list[ServedModel]:
        """This node's base if other nodes serve it, and adapters of it that they offer, by unambiguous names."""
        base = self._serving.base
        named = [listed.adapter for listed in self._ads.adapters() if listed.base == base.digest]
        counts = Counter(each.name for each in named)
        unique = {each.id: each.name if counts[each.name] == 1 else full_name(each) for each in named}
        adapters = [self._offered(name, base.name, adapter_id) for adapter_id, name in unique.items()]
        if not self._ads.fit_offers(base.digest, BASE_ONLY):
            return adapters
        return [self._offered(base.name, None, BASE_ONLY), *adapters]

    async def look_for(self, name: str) -> None:
        """Look beyond what this node has heard for sellers of a model, if nobody is known to offer it."""
        await self._far.look_for(name)

    def find_model(self, name: str) -> ServedModel:
        """Find a model that other nodes offer, by any name that a request may use.

        Raises:
            UnknownModelError: no node offers it, or the name is ambiguous.
            UnavailableError: it is this node's base, and no other node serves it now.
        """
        found = self._ads.resolve(name)
        parent = None if found.adapter == BASE_ONLY else self._serving.base.name
        return self._offered(name, parent, found.adapter)

    def resolve(self, request: InferenceRequest) -> NetworkRequest:
        """Resolve a request's model on the network.

        Raises:
            UnknownModelError: no node offers it, or the name is ambiguous.
            UnavailableError: it is this node's base, and no other node serves it now.
        """
        try:
            found = self._ads.resolve(request.model)
        except UnknownModelError:
            self.wanted.note(request.model)
            raise
        return NetworkRequest(request=request, base=found.base, adapter=found.adapter)

    def _offered(self, name: str, parent: str | None, adapter: AdapterId) -> ServedModel:
        """A model as it is listed, with the lowest price of sellers with a bond if there are any."""
        fit = self._ads.fit_offers(self._serving.base.digest, adapter)  # cheapest first
        offers = [ad for ad in fit if self._ads.worth_of(ad).is_bonded] or fit
        return ServedModel(
            name=name,
            parent=parent,
            context_max=max((ad.context_max for ad in offers), default=None),
            terms=offers[0].terms if offers else None,
        )

    async def answer(self, requested: NetworkRequest, show: Show) -> RemoteAnswer:
        """Have the request answered.

        Raises:
            ProtocolError: no node could answer it.
        """
        return await self._requester.answer(requested, show)


def open_transport(home: Home, network: Network, config: P2pConfig) -> Transport:
    """Open the libp2p transport with the identity stored beside the network's keys.

    Raises:
        ConfigError: an address to listen on does not belong to this machine.
        KeyFileError: the identity can't be read.
    """
    identity = ensure_identity(home.network_keys(network.network))
    transport: Transport = load_plug("transport", "libp2p")(
        identity=identity,
        listen=_listen(config),
        serve_rendezvous=True,
        announce=_split(config.announce),
        bootstrap=network.bootstrap,
        serve_relay=config.relay,
        relay_bytes_per_s=config.relay_bytes_per_s,
    )
    return transport


def open_connections(
    home: Home, network: Network, transport: Transport, ads: AdTable, is_paying: Callable[[PeerId], bool]
) -> Connections:
    """Open the service that keeps this node connected to peers.

    Places are kept for sellers with a bond, and for peers that pay for an answer now.
    """
    book = AddressBook(home.network(network.network))
    connections = Connections(
        transport, network=network.network, bootstrap=network.bootstrap, book=book, random=SystemRandom()
    )
    transport.reserve_places(lambda peer_id: book.has(peer_id) or ads.has_bond(peer_id) or is_paying(peer_id))
    return connections


def open_reach_watch(
    home: Home, network: Network, config: P2pConfig, transport: Transport, connections: Connections
) -> ReachWatch:
    """Open the service that finds out how others reach this node, and keeps it reachable."""
    scope = scope_of_network(network.bootstrap)
    may_map = config.map_port and scope is Scope.INTERNET
    return ReachWatch(
        transport,
        network=network.network,
        scope=scope,
        points=[peer_id_from_address(address) for address in network.bootstrap],
        known=connections.known,
        random=SystemRandom(),
        announced=_split(config.announce),
        is_port_fixed=config.listen != AUTO or config.port != 0,
        mapper=PortMapper(home.network(network.network), random=SystemRandom()) if may_map else None,
    )


def open_kept_texts(home: Home, session: NetworkSession, config: Config) -> KeptTexts:
    """Open the sealed texts of what this node buys."""
    return open_texts(
        home.network(session.network.network),
        session.ledger,
        setting_s=config.payer.keep_texts_s,
        is_development=session.network.is_development,
    )


def open_audits(
    home: Home,
    session: NetworkSession,
    config: Config,
    *,
    texts: KeptTexts,
    registry: AdapterRegistry,
    serving: Serving,
) -> ReceiptAudits:
    """Open the audits of what this node buys."""
    return ReceiptAudits(
        ledger=session.ledger,
        texts=texts,
        recount=ShareRecount(home, registry, lambda: serving.base),
        sign=session.ring.signer(session.accounts.authorizer),
        one_in=config.payer.audit_one_in,
        liable_s=session.windows.unbonding_s,
        draw_below=secrets.randbelow,
        now_ns=time.time_ns,
    )


def open_requester(
    home: Home,
    session: NetworkSession,
    config: Config,
    *,
    transport: Transport,
    ads: AdTable,
    serving: Serving,
    tokenizer: Tokenizer,
    texts: KeptTexts,
    audits: ReceiptAudits,
    source: ReplaySource | None,
) -> Requester:
    """Open the requester, which has requests answered by other nodes, pays them, and keeps their texts."""
    payer = config.payer
    return Requester(
        network=session.network.network,
        transport=transport,
        table=ads,
        payer=open_payer(
            session.ledger,
            domain=session.deployment.payments,
            tokenizer=tokenizer,
            sign=session.ring.signer(session.accounts.authorizer),
            now_ns=time.time_ns,
            keep=texts.keep,
            audits=audits,
            fail_point=session.fail_point,
        ),
        spending_limit=SpendingLimit(
            peers=session.ledger.peers,
            payer=session.accounts.wallet,
            request_max_wei=Wei(payer.request_max_wei),
            day_max_wei=Wei(payer.day_max_wei),
            now_ns=time.time_ns,
            lost_since=session.ledger.purchases.since,
        ),
        sellers=session.ledger.sellers,
        base=serving.base.digest,
        tokenizer=tokenizer,
        rules=tuple(DATANET_RULES),
        backing=_backing(session, Wei(payer.deposit_wei), Manifests(home, session.network.network, transport)),
        limits=RequesterLimits(
            candidates_max=payer.candidates_max,
            bid_timeout_s=payer.bid_timeout_s,
            stall_timeout_s=payer.stall_timeout_s,
            price_in_max_wei=None if payer.price_in_max_wei < 0 else Wei(payer.price_in_max_wei),
            price_out_max_wei=None if payer.price_out_max_wei < 0 else Wei(payer.price_out_max_wei),
        ),
        now_ns=time.time_ns,
        draw=lambda: "0x" + secrets.token_hex(32),
        replayed_by=lambda: source.profile if source and source.has_taps else None,
    )


def _backing(session: NetworkSession, deposit_wei: Wei, manifests: "Manifests") -> Backing:
    deposits = Deposits(session, deposit_wei=deposit_wei)
    opening = trio.CapacityLimiter(CHANNELS_AT_ONCE)

    async def channel_with(node: Address, generation: Generation) -> ChannelConfig:
        return await trio.to_thread.run_sync(deposits.channel_with, node, generation, limiter=opening)

    read = partial(trio.to_thread.run_sync, abandon_on_cancel=True, limiter=trio.CapacityLimiter(CHAIN_AT_ONCE))

    async def may_sign(signer: Address, wallet: Address) -> bool:
        return await read(session.deployment.is_signer, wallet, signer)

    async def bond_of(wallet: Address) -> Wei:
        return await read(_bond_of, session, wallet)

    async def find_entry(adapter_id: AdapterId) -> RegistryEntry:
        return await read(_entry_of, session, adapter_id)

    return Backing(
        channel_with=channel_with,
        may_sign=may_sign,
        bond_of=bond_of,
        find_entry=find_entry,
        find_manifest=manifests.find,
    )


def _bond_of(session: NetworkSession, wallet: Address) -> Wei:
    bonded_wei = session.deployment.stake(wallet).bonded_wei
    return bonded_wei if bonded_wei >= session.params().min_stake_wei else ZERO_WEI


def _entry_of(session: NetworkSession, adapter_id: AdapterId) -> RegistryEntry:
    entry = session.deployment.entry(adapter_id)
    if entry is None:
        raise UnknownModelError(
            f"adapter {adapter_id} is not registered on this network, so nobody can be paid for it"
        )
    return entry


def _listen(config: P2pConfig) -> tuple[str, ...]:
    """Addresses to listen on, one per interface: peers would be told a wildcard, which they can't dial."""
    if config.listen != AUTO:
        return _split(config.listen)
    hosts = dict.fromkeys((own_host(), "127.0.0.1"))
    return tuple(f"/ip4/{host}/tcp/{config.port}" for host in hosts)


def _split(addresses: str) -> tuple[str, ...]:
    return tuple(addresses.replace(",", " ").split())


class Manifests:
    """Finds the manifests of adapters to buy, here or at the seller, by the adapter's id, which fixes every byte.

    A payer compares the manifest with the adapter's entry on the chain before it pays.
    """

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
            return await _fetch_manifest(await self._transport.open_stream(peer_id, self._protocol), id)
        except NetworkError as error:
            raise UnavailableError(f"it does not show the manifest of adapter {id}: {error}") from error


def _find_here(home: Home, id: AdapterId) -> AdapterManifest | None:
    for folder in home.adapters.glob(f"[!.]*@{id[2 : 2 + SHORT_ID_DIGITS]}"):
        with suppress(AdapterRefusedError):
            manifest = read_manifest(folder)
            if adapter_id(manifest) == id:
                return manifest
    return None


async def _fetch_manifest(stream: trio.abc.Stream, id: AdapterId) -> AdapterManifest:
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
