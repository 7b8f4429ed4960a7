"""The advertiser: publishes this node's offer, and receives those of others on the topics that it follows."""

import logging
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial
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
from openledger_protocol.constants import AD_ADDRESSES_MAX, AD_LIFETIME_S_MAX, AD_RELAYS_MAX, AD_WARM_MAX
from openledger_protocol.errors import MalformedError
from openledger_protocol.payments import Terms
from openledger_protocol.primitives import AdapterId, Address, Digest, Generation
from openledger_protocol.wire.ads import ads_protocol

from ..beats import sleep_to_beat
from ..errors import LedgerError, NetworkError
from ..ledger.peers import Peers
from ..p2p.transport import Gossip, Transport, relay_of
from .ads_server import AdsServer
from .board import AD_BURST, AD_INTERVAL_S, AdTable, Buckets, Held
from .greeting import Greeter
from .offered_bases import OfferedBases
from .second_copy import SILENT_S, CopyWatch
from .topics import FollowedBases, depths_of_peers

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

STEP_EVERY_S = 10.0
"""The pause between looks at the number of sellers in this node's shard."""

GOODBYE_S = 0.3
"""The time for a last message to leave: gossip is queued, and what waits when the node ends is lost."""

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
    rules: tuple[int, ...] = ()


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
        base: Callable[[], Digest],
        now_ns: Callable[[], int],
        copies: CopyWatch | None = None,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._network = network
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
        self._left_out: frozenset[str] = frozenset()  # addresses that an advertisement can't list
        self.own: Held | None = None  # as last published
        self._published: tuple[Snapshot, Places] | None = None
        self._sold_on: dict[Digest, tuple[str, ...]] = {}  # topics where each base was sold, until told otherwise
        self._subscribed: set[str] = set()
        self.followed = FollowedBases(network, transport.peer_id, base, trio.current_time)
        self.offered = OfferedBases(table, self.followed)
        self.greeter = Greeter(
            network=network,
            transport=transport,
            table=table,
            followed=self.followed,
            offered=self.offered,
            own=lambda: self.own,
            renew=self._renew,
            jitter=jitter,
        )
        self.server = AdsServer(
            table=table, offered=self.offered, own=lambda: self.own, ask_back=self.greeter.ask_back
        )
        table.coverage_of = self.followed.coverage
        table.want = self.followed.ask

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Publish, receive and answer until cancelled."""
        self._transport.handle(ads_protocol(self._network), self.server.serve)
        async with trio.open_nursery() as nursery:
            self._follow(nursery)
            nursery.start_soon(self._follow_on, nursery)
            nursery.start_soon(self._publish_on)
            nursery.start_soon(self._keep_on)
            nursery.start_soon(self.greeter.run)
            if self._copies:
                nursery.start_soon(self.greeter.run_for_copies)
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
            await sleep_to_beat(LOOK_S)

    async def _publish(self, snapshot: Snapshot) -> bool:
        """Sign an advertisement and publish it."""
        try:
            self.own = await self._sign(snapshot)
            for topic in self._topics(snapshot.base):
                await self._transport.publish(topic, self.own.content)
        except (NetworkError, LedgerError, MalformedError) as error:
            log.warning("not advertised: %s", error)
            return False
        if self._transport.connected():
            self._sold_on = {snapshot.base: self._sold_on[snapshot.base]}
        return True

    def _topics(self, base: Digest) -> tuple[str, ...]:
        """The topics to publish on: those of the base, and those of bases sold before that were not told yet.

        They are remembered before anything is sent, since a failure may come after some topics.
        """
        self._sold_on[base] = self.followed.published(base, self.offered.num_in_shard(base))
        return tuple(dict.fromkeys(topic for now in (base, *self._sold_on) for topic in self._sold_on[now]))

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

    async def _sign(self, snapshot: Snapshot) -> Held:
        """Sign an advertisement; its sequence number is stored before it is sent."""
        seq = await trio.to_thread.run_sync(self._next_seq, self._now_ns())
        content = sign_advertisement(fit_advertisement(self._advertisement(snapshot, seq)), self._seed)
        return Held(base=snapshot.base, peer_id=self._transport.peer_id, seq=seq, content=content)

    async def _renew(self) -> bytes | None:
        """Sign this node's advertisement anew, for one peer."""
        snapshot = self._snapshot()
        return (await self._sign(snapshot)).content if snapshot else None

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
            rules=snapshot.rules,
        )

    # ---- advertisements of others

    async def _follow_on(self, nursery: trio.Nursery) -> None:
        step_s = 0.0
        while True:
            await sleep_to_beat(LOOK_S)
            if trio.current_time() >= step_s:
                self._find_depths()
                self.followed.step(self.offered.num_in_shard)
                step_s = trio.current_time() + STEP_EVERY_S
            self._follow(nursery)

    def _find_depths(self) -> None:
        """Compare the depth of each followed base with that of connected peers."""
        topics = self._transport.topics_of_peers()
        for base in self.followed.bases:
            self.followed.expect(
                base,
                depths_of_peers(self._network, base, topics),
                num_heard=self.offered.num_credible(base),
                num_in_shard=self.offered.num_in_shard(base),
            )

    def _follow(self, nursery: trio.Nursery) -> None:
        """Subscribe to the topics of the followed bases, and leave others."""
        topics = self.followed.topics()
        for topic in self._subscribed - topics.keys():
            self._transport.unsubscribe(topic)
        for name in topics.keys() - self._subscribed:
            accept = partial(self._table.receive, topic=topics[name])
            nursery.start_soon(self._listen, self._transport.subscribe(name, accept))
        self._subscribed = set(topics)

    async def _listen(self, received: "trio.MemoryReceiveChannel[Gossip]") -> None:
        """Drain the topic: the table already took each message in the validator."""
        async for _ in received:
            pass

    async def _keep_on(self) -> None:
        while True:
            await trio.sleep(KEEP_EVERY_S)
            await self._keep()

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
