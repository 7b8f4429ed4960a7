"""Provider records on a bootstrap node: which peers have an adapter, by their own word.

Anyone may put records, so memory and work are bounded, and nobody can fill the store or crowd out the others. A
record comes from its own peer over its own connection. Of more providers than fit, a random sample is kept. If the
whole store is full, the /24 with the most records gives up its oldest one.
"""

import secrets
import time
from collections import Counter, OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256

import trio

from openledger_protocol.codec import DATA_FRAME_BYTES_MAX
from openledger_protocol.errors import (
    MalformedError,
    OverloadedError,
    ProtocolError,
    StaleError,
    UnavailableError,
)
from openledger_protocol.primitives import AdapterId
from openledger_protocol.wire.frames import wire_name
from openledger_protocol.wire.providers import (
    RECORDS_MAX,
    GetRecords,
    ProviderRecord,
    ProvidersMessage,
    PutRecords,
    Records,
    StoredRecords,
    decode,
    encode,
    open_record,
)

from ..errors import NetworkError
from .rates import Rates
from .scopes import group_of, is_public_host
from .streams import MessageStream
from .transport import Path, PeerId, Transport

STORED_MAX = 65_536
"""Records in the whole store, about 75 MiB: those of 1,000 nodes with 100 adapters each, at five bootstrap nodes."""

PER_PEER_MAX = 4_096
"""Records of one peer; a node with more adapters is found by the others in its advertisement."""

PER_GROUP_MAX = 4
"""Records of one adapter that come from one /24 (IPv6: /64)."""

FORGET_EVERY_S, FORGET_FULL_EVERY_S = 60.0, 1.0
"""The pause between searches for records that have run out, and the pause while the store is full: a search of a full
store takes about 10 ms, too much for each record that is put."""

CHECKS_PER_S, CHECKS_AT_ONCE = 10.0, 2.0 * PER_PEER_MAX
"""Records of one /24 that are checked; each takes about 0.4 ms, and a node puts each of its own every half hour."""

ALL_CHECKS_PER_S, ALL_CHECKS_AT_ONCE = 200.0, 2.0 * PER_PEER_MAX
"""The same for all peers together, which is at most a tenth of a core."""

QUESTIONS_PER_S, QUESTIONS_AT_ONCE = 10.0, 200.0
"""Questions of one /24."""

STREAMS_MAX, STREAMS_PER_GROUP_MAX = 64, 8
"""Streams that are served at once, in all and of one /24."""

QUESTION_S = 10.0


@dataclass(slots=True, kw_only=True)
class _Kept:
    """A record in the store."""

    content: bytes
    issued_s: int
    expires_s: int
    group: str  # the neighbourhood that it came from
    lot: bytes  # of the providers of an adapter, those with the lowest lots stay


_Key = tuple[AdapterId, PeerId]


class RecordStore:
    """The records of all adapters, in bounded memory. `secret` draws the sample, so that nobody can aim at it."""

    def __init__(
        self, *, network: str, now_s: Callable[[], float], secret: bytes, stored_max: int = STORED_MAX
    ) -> None:
        self._network = network
        self._now_s = now_s
        self._secret = secret
        self._stored_max = stored_max
        self._of_adapter: dict[AdapterId, dict[PeerId, _Kept]] = {}
        self._of_group: dict[str, OrderedDict[_Key, None]] = {}  # oldest first
        self._num_of_peer: Counter[PeerId] = Counter()
        self._forgotten_s = now_s()

    @property
    def num_records(self) -> int:
        """Records in the store, including those that ran out since they were last looked through."""
        return self._num_of_peer.total()

    @property
    def num_adapters(self) -> int:
        """Adapters with at least one record."""
        return len(self._of_adapter)

    def put(self, peer_id: PeerId, group: str, content: bytes) -> bool:
        """Take a record that a peer of a neighbourhood has sent.

        False if it was a withdrawal, or if others keep their places instead.

        Raises:
            ProtocolError: it is malformed, stale, of another network, or of another peer.
            OverloadedError: the peer has too many records.
        """
        record = open_record(content, network=self._network, now_s=int(self._now_s()))
        if record.peer_id != peer_id:
            raise MalformedError(f"{peer_id} puts a record of {record.peer_id}: each peer puts its own")
        self._forget_now_and_then()
        old = self._of_adapter.get(record.adapter, {}).get(peer_id)
        if old is not None:
            if old.issued_s > record.issued_s:
                raise StaleError(f"a newer record of {peer_id} is here already", issued_s=record.issued_s)
            self._remove(record.adapter, peer_id)
        if record.is_withdrawal:
            return False
        if old is None and self._num_of_peer[peer_id] >= PER_PEER_MAX:
            raise OverloadedError(f"{PER_PEER_MAX:,} records of {peer_id} are here already")
        kept = _Kept(
            content=content,
            issued_s=record.issued_s,
            expires_s=record.expires_s,
            group=group,
            lot=sha256(self._secret + (record.adapter + peer_id).encode()).digest(),
        )
        return self._keep(record, peer_id, kept)

    def find(self, adapter: AdapterId, count_max: int = RECORDS_MAX) -> list[bytes]:
        """The records of an adapter that have not run out."""
        now = self._now_s()
        found = [kept.content for kept in self._of_adapter.get(adapter, {}).values() if kept.expires_s > now]
        return found[:count_max]

    def _keep(self, record: ProviderRecord, peer_id: PeerId, kept: _Kept) -> bool:
        providers = self._of_adapter.setdefault(record.adapter, {})
        providers[peer_id] = kept
        self._of_group.setdefault(kept.group, OrderedDict())[record.adapter, peer_id] = None
        self._num_of_peer[peer_id] += 1
        neighbours = [name for name, each in providers.items() if each.group == kept.group]
        if len(neighbours) > PER_GROUP_MAX:
            self._remove_worst(record.adapter, neighbours)
        if len(providers) > RECORDS_MAX:
            self._remove_worst(record.adapter, list(providers))
        if self.num_records > self._stored_max:
            largest = max(self._of_group.values(), key=len)
            self._remove(*next(iter(largest)))
        return peer_id in self._of_adapter.get(record.adapter, {})

    def _remove_worst(self, adapter: AdapterId, peers: list[PeerId]) -> None:
        providers = self._of_adapter[adapter]
        self._remove(adapter, max(peers, key=lambda name: providers[name].lot))

    def _remove(self, adapter: AdapterId, peer_id: PeerId) -> None:
        providers = self._of_adapter[adapter]
        kept = providers.pop(peer_id)
        if not providers:
            del self._of_adapter[adapter]
        of_group = self._of_group[kept.group]
        del of_group[adapter, peer_id]
        if not of_group:
            del self._of_group[kept.group]
        self._num_of_peer[peer_id] -= 1
        if not self._num_of_peer[peer_id]:
            del self._num_of_peer[peer_id]

    def _forget_now_and_then(self) -> None:
        now, is_full = self._now_s(), self.num_records >= self._stored_max
        if now - self._forgotten_s < (FORGET_FULL_EVERY_S if is_full else FORGET_EVERY_S):
            return
        self._forgotten_s = now
        old = [
            (adapter, peer_id)
            for adapter, providers in self._of_adapter.items()
            for peer_id, kept in providers.items()
            if kept.expires_s <= now
        ]
        for key in old:
            self._remove(*key)


class ProviderServer:
    """Serves the `providers` protocol from a store: one question a stream."""

    def __init__(self, transport: Transport, store: RecordStore) -> None:
        self._transport = transport
        self._store = store
        self._num_streams: Counter[str] = Counter()  # by neighbourhood
        clock = trio.current_time
        self._checks: Rates[str] = Rates(per_s=CHECKS_PER_S, burst=CHECKS_AT_ONCE, clock=clock)
        self._all_checks: Rates[None] = Rates(per_s=ALL_CHECKS_PER_S, burst=ALL_CHECKS_AT_ONCE, clock=clock)
        self._questions: Rates[str] = Rates(per_s=QUESTIONS_PER_S, burst=QUESTIONS_AT_ONCE, clock=clock)

    async def serve(self, peer_id: PeerId, stream: trio.abc.Stream) -> None:
        """Answer one question."""
        messages = MessageStream(stream, frame_bytes_max=DATA_FRAME_BYTES_MAX)
        group = neighbourhood_of(peer_id, self._transport.seen_host(peer_id))
        if self._num_streams[group] >= STREAMS_PER_GROUP_MAX or self._num_streams.total() >= STREAMS_MAX:
            # It takes no place, or one network's refused streams could take those of all others.
            error = OverloadedError("too many questions are being answered: ask again soon")
            return await messages.refuse(error, timeout_s=QUESTION_S)
        self._num_streams[group] += 1
        try:
            with trio.fail_after(QUESTION_S):
                question = decode(await messages.receive())
            answer = await self._answer(peer_id, group, question)
            await messages.offer(encode(answer), timeout_s=QUESTION_S)
        except ProtocolError as error:
            await messages.refuse(error, timeout_s=QUESTION_S)
        except (NetworkError, trio.TooSlowError):
            pass  # it left, or asked nothing
        finally:
            self._num_streams[group] -= 1
            if not self._num_streams[group]:
                del self._num_streams[group]
        return None

    async def _answer(self, peer_id: PeerId, group: str, question: ProvidersMessage) -> ProvidersMessage:
        if not self._questions.take(group):
            raise OverloadedError(f"more than {QUESTIONS_PER_S:.0f} questions a second come from your network")
        if isinstance(question, GetRecords):
            return Records(records=tuple(self._store.find(question.adapter, question.count_max)))
        if not isinstance(question, PutRecords):
            raise MalformedError("a stream begins with `put` or `get`")
        if self._transport.path_to(peer_id) is Path.RELAYED:
            raise UnavailableError("records are taken over a direct connection only: dial this node itself")
        num_records = float(len(question.records))
        if not self._checks.take(group, num_records) or not self._all_checks.take(None, num_records):
            raise OverloadedError("too many records have come at once: put them again in a few minutes")
        return StoredRecords(count=await self._put_all(peer_id, group, question))

    async def _put_all(self, peer_id: PeerId, group: str, question: PutRecords) -> int:
        """Check and keep records one by one; the first one that breaks the rules ends it.

        Raises:
            ProtocolError: a record is not one that this peer may put now.
        """
        num_kept = 0
        for content in question.records:
            num_kept += self._store.put(peer_id, group, content)
            await trio.lowlevel.checkpoint()  # checking signatures takes time, and other tasks wait
        return num_kept


def neighbourhood_of(peer_id: PeerId, host: str) -> str:
    """The /24 (IPv6: /64) that a peer dialled in from; a peer of a LAN, or one that this node dialled, is its own."""
    return group_of(host) if is_public_host(host) else peer_id


def serve_providers(transport: Transport, network: str, now_s: Callable[[], float] = time.time) -> RecordStore:
    """Serve provider records of a network from a new store in memory."""
    store = RecordStore(network=network, now_s=now_s, secret=secrets.token_bytes(32))
    transport.handle(wire_name(network, "providers"), ProviderServer(transport, store).serve)
    return store
