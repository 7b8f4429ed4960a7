"""The advertiser: publishes this node's offer, receives those of others, and passes all of them to newcomers."""

import logging
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from hashlib import sha256
from math import inf

import trio

from openledger_protocol.advertisement import (
    ADDRESS_LENGTH_MAX,
    Advertisement,
    OfferedAdapter,
    check_multiaddr,
    check_relay,
    fit_advertisement,
    sign_advertisement,
)
from openledger_protocol.bloom import make_filter
from openledger_protocol.codec import DATA_FRAME_BYTES_MAX
from openledger_protocol.constants import AD_ADDRESSES_MAX, AD_LIFETIME_S_MAX, AD_RELAYS_MAX, AD_WARM_MAX
from openledger_protocol.errors import MalformedError, OverloadedError, ProtocolError
from openledger_protocol.payments import Terms
from openledger_protocol.primitives import AdapterId, Address, Digest, Generation
from openledger_protocol.wire.ads import ADS_MAX, Ads, AdsMessage, GetAds, decode, encode
from openledger_protocol.wire.frames import wire_name
from openledger_protocol.wire.inference import error_message

from ..errors import LedgerError, NetworkError
from ..ledger.peers import Peers
from ..p2p.streams import MessageStream
from ..p2p.transport import Gossip, PeerId, Transport, relay_of
from .board import AD_BURST, AD_INTERVAL_S, AdTable, Buckets
from .second_copy import SILENT_S, CopyWatch

INTERVAL_S_MIN, INTERVAL_S_MAX = 540.0, 660.0
"""About ten minutes. What costs a network is the number of messages, so a change of load is not published."""

COPY_INTERVAL_S = SILENT_S / 3
"""While a second copy of this node is heard, it is told this often that this one runs, or it would sell again."""

MESH_S = 10.0
"""Gossip reaches nobody before the first peers are connected, and its mesh takes seconds to form. What was published
before is published once more after this time, since the next time is ten minutes away."""

KEEP_EVERY_S = 10.0
"""The pause between writes of sequence numbers. One that is lost in a crash lets one advertisement count again."""

LOOK_S = 1.0
"""The pause between checks of this node's offer and of its connections."""

GOODBYE_S = 0.3
"""The time for a last message to leave: gossip is queued, and what waits when the node ends is lost."""

ASK_TIMEOUT_S = 10.0
ASK_AGAIN_S = 5.0
"""A peer that has just connected may be a newcomer itself, so it is asked again after it has asked others."""

ASK_EVERY_S = 30.0
ASKS_MAX = 4
"""Peers that are asked at the same time."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """This node's current offer: an advertisement without peer, addresses and times."""

    wallet: Address
    signer: Address
    generation: Generation
    base: Digest
    profile_hash: Digest
    algo_id: int
    context_max: int
    chunk_tokens: int
    terms: Terms  # the operator's minimum
    terms_max: Terms  # the most that a bid may ask
    warm: tuple[OfferedAdapter, ...]  # most requested first; what does not fit is dropped from the end
    cold: tuple[AdapterId, ...]  # every adapter that it could load, also those in `warm`
    slots: int
    slots_free: int
    tokens_per_s: int
    serves: bool  # False: it only buys, or is paused
    binding: bytes


@dataclass(frozen=True, slots=True)
class Places:
    """Where this node is reached now."""

    addresses: tuple[str, ...]
    relays: tuple[str, ...]  # the relays' own addresses


class Advertiser:
    """Advertises this node; `run` is its task."""

    def __init__(
        self,
        *,
        network: str,
        transport: Transport,
        table: AdTable,
        peers: Peers,
        seed: bytes,
        snapshot: Callable[[], Snapshot | None],
        now_ns: Callable[[], int],
        copies: CopyWatch | None = None,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._network = network
        self._topic = self._protocol = wire_name(network, "ads")
        self._transport = transport
        self._table = table
        self._peers = peers
        self._seed = seed  # of the peer's key
        self._snapshot = snapshot
        self._now_ns = now_ns
        self._copies = copies
        self._jitter = jitter
        # Slightly below the limit that others enforce, so that a second change is published late rather than lost.
        self._own_bucket: Buckets[None] = Buckets(
            interval_s=AD_INTERVAL_S + LOOK_S, burst=AD_BURST - 1, now_s=trio.current_time
        )
        self._buckets: Buckets[PeerId] = Buckets(interval_s=AD_INTERVAL_S, burst=AD_BURST, now_s=trio.current_time)
        self._asking = trio.CapacityLimiter(ASKS_MAX)
        self._left_out: frozenset[str] = frozenset()  # addresses that an advertisement can't list
        self.own: bytes | None = None  # as last published
        self._published: tuple[Snapshot, Places] | None = None

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Publish, receive and answer until cancelled."""
        self._transport.handle(self._protocol, self.serve)
        received = self._transport.subscribe(self._topic, self._table.receive)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._publish_on)
            nursery.start_soon(self._listen, received)
            nursery.start_soon(self._keep_on)
            nursery.start_soon(self._greet, nursery)
            if self._copies:
                nursery.start_soon(self._ask_on)
            task_status.started()

    async def say_goodbye(self) -> None:
        """Publish that this node no longer serves, unless that has been published already.

        The next look would do so, but a node that has nothing to finish stops before it.
        """
        snapshot = self._snapshot()
        if snapshot and self._published and self._published[0].serves:
            self._published = (_kind(replace(snapshot, serves=False)), self._published[1])
            if await self._publish(replace(snapshot, serves=False)):
                await trio.sleep(GOODBYE_S)

    async def serve(self, peer_id: PeerId, stream: trio.abc.Stream) -> None:
        """Send a newcomer the valid advertisements, our own first."""
        messages = MessageStream(stream, frame_bytes_max=DATA_FRAME_BYTES_MAX)
        try:
            with trio.move_on_after(ASK_TIMEOUT_S):
                await messages.send(encode(await self._answer(peer_id, messages)))
                await self._take_own_of(messages)
        except NetworkError:
            pass  # it left

    # ---- this node's advertisement

    async def _publish_on(self) -> None:
        """Publish regularly, and immediately on a change or once there are peers."""
        due_s, settled_s = -inf, inf  # when to publish next, and since when gossip reaches others
        copy_due_s = inf  # the same while a second copy is heard
        while True:
            if not self._transport.connected():
                settled_s = inf
            elif settled_s == inf:
                settled_s = trio.current_time() + MESH_S
                due_s = min(due_s, settled_s)
            snapshot = self._snapshot()
            kind = (_kind(snapshot), self._places()) if snapshot else None
            has_copy = self._copies is not None and self._copies.other is not None
            is_due = kind != self._published or trio.current_time() >= min(due_s, copy_due_s if has_copy else inf)
            if snapshot and is_due and self._own_bucket.take(None) and await self._publish(snapshot):
                self._published = kind
                spread = (INTERVAL_S_MAX - INTERVAL_S_MIN) * self._jitter()
                due_s = trio.current_time() + INTERVAL_S_MIN + spread
                copy_due_s = trio.current_time() + COPY_INTERVAL_S
                if trio.current_time() < settled_s:
                    due_s = min(due_s, settled_s)
            await trio.sleep(LOOK_S)

    async def _publish(self, snapshot: Snapshot) -> bool:
        """Sign an advertisement and publish it."""
        try:
            self.own = await self._sign(snapshot)
            await self._transport.publish(self._topic, self.own)
        except (NetworkError, LedgerError, MalformedError) as error:
            log.warning("not advertised: %s", error)
            return False
        return True

    def _places(self) -> Places:
        """This node's addresses and relays, without those that an advertisement can't list."""
        addresses, relays = self._transport.addresses, tuple(map(relay_of, self._transport.relays))
        is_listed = {address: _passes(check_multiaddr, address) for address in addresses}
        is_listed |= {relay: _passes(check_relay, relay) for relay in relays}
        left_out = frozenset(address for address, passes in is_listed.items() if not passes)
        for address in left_out - self._left_out:
            log.warning("%s is not advertised: an address has at most %d characters", address, ADDRESS_LENGTH_MAX)
        self._left_out = left_out
        return Places(
            addresses=_listed(addresses, left_out)[:AD_ADDRESSES_MAX],
            relays=_listed(relays, left_out)[:AD_RELAYS_MAX],
        )

    async def _sign(self, snapshot: Snapshot) -> bytes:
        """Sign an advertisement; its sequence number is stored before it is sent."""
        seq = await trio.to_thread.run_sync(self._next_seq, self._now_ns())
        return sign_advertisement(fit_advertisement(self._advertisement(snapshot, seq)), self._seed)

    def _next_seq(self, now_ns: int) -> int:
        """The clock in ns, but always above the last number, also after a restart or if the clock was set back."""
        own = self._transport.peer_id
        seq = max((self._peers.seq_last(own) or 0) + 1, now_ns, self._copies.seq_last + 1 if self._copies else 0)
        self._peers.keep_seqs({own: seq}, now_ns=now_ns)
        if self._copies:
            self._copies.add_own(seq)
        return seq

    def _advertisement(self, snapshot: Snapshot, seq: int) -> Advertisement:
        now_s, places = self._now_ns() // 10**9, self._places()
        return Advertisement(
            network=self._network,
            peer_id=self._transport.peer_id,
            addresses=places.addresses,
            relays=places.relays,
            wallet=snapshot.wallet,
            signer=snapshot.signer,
            generation=snapshot.generation,
            base=snapshot.base,
            profile_hash=snapshot.profile_hash,
            algo_id=snapshot.algo_id,
            context_max=snapshot.context_max,
            chunk_tokens=snapshot.chunk_tokens,
            terms=snapshot.terms,
            terms_max=snapshot.terms_max,
            warm=snapshot.warm[:AD_WARM_MAX],
            cold=make_filter(snapshot.cold),
            num_cold=len(snapshot.cold),
            slots_free=snapshot.slots_free,
            tokens_per_s=snapshot.tokens_per_s,
            serves=snapshot.serves,
            seq=seq,
            issued_s=now_s,
            expires_s=now_s + AD_LIFETIME_S_MAX,
            binding=snapshot.binding,
        )

    async def _answer(self, peer_id: PeerId, messages: MessageStream) -> AdsMessage:
        try:
            if not self._buckets.take(peer_id):
                raise OverloadedError(
                    f"you have asked more often than once in {AD_INTERVAL_S:.0f} s: come back later"
                )
            request = decode(await messages.receive())
            if not isinstance(request, GetAds):
                raise MalformedError("a stream begins with `get`")
        except ProtocolError as error:
            return error_message(error)
        own = (self.own,) if self.own else ()
        count_max = min(request.count_max, ADS_MAX)
        return Ads(ads=(*own, *self._table.contents(count_max - len(own)))[:count_max])

    # ---- advertisements of others

    async def _listen(self, received: "trio.MemoryReceiveChannel[Gossip]") -> None:
        """Drain the topic: the table already took each message in the validator."""
        async for _ in received:
            pass

    async def _keep_on(self) -> None:
        while True:
            await trio.sleep(KEEP_EVERY_S)
            await self._keep()

    async def _greet(self, nursery: trio.Nursery) -> None:
        """Ask each peer for the advertisements it knows, as soon as it is connected."""
        known: set[PeerId] = set()
        while True:
            connected = set(self._transport.connected())
            for peer_id in connected - known:
                nursery.start_soon(self._ask_twice, peer_id)
            known = connected
            await trio.sleep(LOOK_S)

    async def _ask_on(self) -> None:
        """Ask a peer now and then, and tell it our own: a second copy of this node is heard of in no other way.

        Gossip drops messages that seem to be our own. Both copies prefer the same peers, so that they meet there.
        """
        while True:
            await trio.sleep(ASK_EVERY_S * (0.5 + self._jitter()))
            for peer_id in sorted(self._transport.connected(), key=self._preference)[:ASKS_MAX]:
                if await self._ask(peer_id, is_telling=True):
                    break

    def _preference(self, peer_id: PeerId) -> bytes:
        return sha256(f"{self._transport.peer_id} {peer_id}".encode()).digest()

    async def _ask_twice(self, peer_id: PeerId) -> None:
        await self._ask(peer_id)
        await trio.sleep(ASK_AGAIN_S)
        await self._ask(peer_id)

    async def _ask(self, peer_id: PeerId, *, is_telling: bool = False) -> bool:
        """Ask a peer; True if it answered."""
        has_answered = False
        try:
            async with self._asking:
                with trio.move_on_after(ASK_TIMEOUT_S):
                    await self._learn_from(peer_id, is_telling=is_telling)
                    has_answered = True
        except (NetworkError, ProtocolError, LedgerError) as error:
            log.info("%s tells no advertisements: %s", peer_id, error)
        return has_answered

    async def _learn_from(self, peer_id: PeerId, *, is_telling: bool) -> None:
        stream = await self._transport.open_stream(peer_id, self._protocol)
        async with stream:
            messages = MessageStream(stream, frame_bytes_max=DATA_FRAME_BYTES_MAX)
            await messages.send(encode(GetAds()))
            reply = decode(await messages.receive())
            for content in reply.ads if isinstance(reply, Ads) else ():
                self._table.learn(content)
                await trio.lowlevel.checkpoint()  # checking signatures takes time, and other tasks wait
            if is_telling and (snapshot := self._snapshot()):
                await messages.send(encode(Ads(ads=(await self._sign(snapshot),))))

    async def _take_own_of(self, messages: MessageStream) -> None:
        """Learn the opener's own advertisement, if it sends one after its question."""
        try:
            told = decode(await messages.receive())
        except ProtocolError:
            return
        for content in told.ads[:1] if isinstance(told, Ads) else ():
            self._table.learn(content)

    async def _keep(self) -> None:
        try:
            await trio.to_thread.run_sync(self._table.keep)
        except LedgerError as error:
            log.warning("sequences of advertisements are not kept: %s", error)


def _kind(snapshot: Snapshot) -> Snapshot:
    """The part of an offer whose change is published immediately. A bid says how busy and how fast the node is."""
    return replace(snapshot, slots_free=0, tokens_per_s=0)


def _passes(check: Callable[[str], str], address: str) -> bool:
    try:
        check(address)
    except MalformedError:
        return False
    return True


def _listed(addresses: Iterable[str], left_out: frozenset[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(address for address in addresses if address not in left_out))
