"""Several nodes that sell and one that asks, over the memory transport, with the fake engine and no chain at all."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from math import inf
from pathlib import Path
from typing import Any

import trio

from openledger_node.engine.tokenizer import ByteTokenizer
from openledger_node.home import Home
from openledger_node.ledger.ledger import Ledger, open_ledger
from openledger_node.market.bidder import Bidder
from openledger_node.market.board import AdTable
from openledger_node.market.offer import PricePolicy, Sellable, SellerState
from openledger_node.market.request import AdapterEntry, NetworkRequest, RemoteAnswer
from openledger_node.market.requester import Backing, Requester, RequesterLimits
from openledger_node.models.bases import FAKE_BASE
from openledger_node.p2p.transport import PeerId
from openledger_node.p2p.transports.memory import MemoryNetwork, MemoryTransport
from openledger_node.payments.accounts import ChannelAccounts
from openledger_node.payments.receipts import ReceiptMaker, ReceiptTerms
from openledger_node.payments.seller import SellerTerms, StreamSeller
from openledger_node.payments.spending_limit import SpendingLimit
from openledger_node.serving.service import Serving
from openledger_protocol.advertisement import Advertisement, OfferedAdapter, sign_advertisement, sign_binding
from openledger_protocol.bloom import make_filter
from openledger_protocol.errors import UnknownModelError
from openledger_protocol.inference import InferenceRequest, SamplingParams
from openledger_protocol.payments import ChannelConfig, Terms
from openledger_protocol.peers import peer_id_from_public_key, public_key_of
from openledger_protocol.primitives import BASE_ONLY, ZERO_DIGEST, AdapterId, Address, Digest, RequestId, Salt, Wei
from openledger_protocol.signatures import address_of

from .local_engine import LocalEngine
from .sides import (
    AUTHORIZER,
    CHUNK_TOKENS,
    DOMAIN,
    NOW_NS,
    PAYER,
    POLICY,
    PROFILE,
    RICH,
    TERMS,
    WINDOWS,
    Chain,
    Clock,
    key_of,
    open_buyer,
    sign_as,
    word,
)

NETWORK = "development-1a2b3c4d"
NOW_S = NOW_NS // 10**9
CALL, INFER, ADS = (f"/openledger/{NETWORK}/{name}/1" for name in ("call", "infer", "ads"))
TIMEOUT_S = 300.0
BASE = FAKE_BASE.digest


def now_s() -> float:
    """The wall clock of all nodes: it goes with the test's."""
    return NOW_S + trio.current_time() % 10**6


def seed_of(name: str) -> bytes:
    return key_of(f"{name} peer")


def peer_id_of(name: str) -> PeerId:
    return PeerId(peer_id_from_public_key(public_key_of(seed_of(name))))


def wallet_of(name: str) -> Address:
    return address_of(key_of(f"{name} wallet"))


def signer_of(name: str) -> Address:
    return address_of(key_of(f"{name} signer"))


def priced(terms: Terms, times: float) -> Terms:
    return Terms(
        price_in_wei=Wei(int(terms.price_in_wei * times)), price_out_wei=Wei(int(terms.price_out_wei * times))
    )


def ad_of(name: str, *, at_s: float = NOW_S, **changes: Any) -> Advertisement:
    """What a node says of itself, signed by nobody yet."""
    peer_id = peer_id_of(name)
    signer_key = key_of(f"{name} signer")
    ad = Advertisement(
        network=NETWORK,
        peer_id=peer_id,
        addresses=(f"/memory/{peer_id}/p2p/{peer_id}",),
        wallet=wallet_of(name),
        signer=signer_of(name),
        base=BASE,
        profile_hash=PROFILE,
        algo_id=1,
        context_max=4_096,
        chunk_tokens=CHUNK_TOKENS,
        terms=TERMS,
        warm=(),
        cold=b"",
        num_cold=0,
        slots_free=4,
        tokens_per_s=50,
        serves=True,
        seq=int(at_s * 10**9),
        issued_s=int(at_s),
        expires_s=int(at_s) + 120,
        binding=sign_binding(signer_key, NETWORK, peer_id, wallet_of(name)),
    )
    return replace(ad, **changes)


def signed_ad(name: str, **changes: Any) -> bytes:
    return sign_advertisement(ad_of(name, **changes), seed_of(name))


@dataclass(kw_only=True)
class Stand:
    """One node that sells."""

    name: str
    state: SellerState
    desk: Serving
    paid: StreamSeller
    bidder: Bidder
    ledger: Ledger
    transport: MemoryTransport
    scope: trio.CancelScope
    warm: tuple[OfferedAdapter, ...] = ()
    cold: tuple[AdapterId, ...] = ()
    num_served: int = 0
    served: trio.Condition = field(default_factory=trio.Condition)

    @property
    def peer_id(self) -> PeerId:
        return self.transport.peer_id

    def ad(self, **changes: Any) -> bytes:
        state = self.state
        said = {
            "at_s": now_s(),
            "terms": state.policy.floor,
            "context_max": state.context_max,
            "tokens_per_s": state.tokens_per_s,
            "warm": self.warm,
            "cold": make_filter(self.cold),
            "num_cold": len(self.cold),
        }
        return signed_ad(self.name, **{**said, **changes})

    def vanish(self) -> None:
        """Lose the network at once: what was sent arrives, and nothing after it."""
        self.transport._network.peers.pop(self.peer_id, None)
        self.transport._close_all()

    def leave(self) -> None:
        """Leave the network in good order."""
        self.scope.cancel()

    async def serve(self, peer: PeerId, stream: trio.abc.Stream) -> None:
        try:
            await self.paid.serve(peer, stream)
        finally:
            self.num_served += 1
            with trio.CancelScope(shield=True):
                async with self.served:
                    self.served.notify_all()

    async def wait_served(self, count: int) -> None:
        async with self.served:
            while self.num_served < count:
                await self.served.wait()

    def amounts(self) -> list[int]:
        """What its receipts charge, the oldest first."""
        return [row.receipt.amount_wei for row in reversed(self.ledger.receipts.newest(limit=1_000))]


@dataclass(kw_only=True)
class Street:
    """All of them, and who asks."""

    stands: dict[str, Stand]
    requester: Requester
    board: AdTable
    ledger: Ledger
    transport: MemoryTransport
    network: MemoryNetwork
    nursery: trio.Nursery
    entries: dict[AdapterId, AdapterEntry]
    chain: Chain
    strangers: set[Address]  # signers that the chain does not know

    def hear_all(self) -> None:
        for stand in self.stands.values():
            assert self.board.learn(stand.ad()), self.board.why_refused

    async def ask(
        self, prompt: str = "hello", *, show: Callable[[str], None] = lambda _: None, **changes: Any
    ) -> RemoteAnswer:
        async def shown(text: str) -> None:
            show(text)

        return await self.requester.answer(wanted(prompt, **changes), shown)

    def paid(self) -> dict[str, list[int]]:
        """What the requester's receipts charge, by the node that signed."""
        names = {wallet_of(name): name for name in self.stands}
        found: dict[str, list[int]] = {}
        for row in reversed(self.ledger.receipts.newest(limit=1_000)):
            channel = self.ledger.channels.find(row.receipt.channel_id)
            assert channel is not None
            found.setdefault(names[channel.config.node], []).append(row.receipt.amount_wei)
        return found


def wanted(
    prompt: str = "hello",
    *,
    name: str = "r1",
    model: str = "fake",
    adapter: AdapterId = BASE_ONLY,
    base: Digest = BASE,
    max_tokens: int = 30,
    temperature: float = 0.0,
    stop: tuple[str, ...] = (),
) -> NetworkRequest:
    request = InferenceRequest(
        request_id=RequestId(word(name)),
        model=model,
        prompt=prompt,
        sampling=SamplingParams(max_tokens=max_tokens, seed=7, temperature=temperature, stop=stop),
    )
    return NetworkRequest(request=request, base=base, adapter=adapter)


@asynccontextmanager
async def open_street(
    root: Path,
    prices: dict[str, float],
    *,
    request_max_wei: int = 10**18,
    day_max_wei: int = 10**18,
    patience: RequesterLimits | None = None,
    load_percent: int = 50,
    **state: Any,
) -> AsyncIterator[Street]:
    """Open a stand a name, each at so many times the usual price, all heard of; and close them."""
    ledgers: list[Ledger] = []
    network, chain = MemoryNetwork(), Chain()
    chain.other = RICH
    with trio.fail_after(TIMEOUT_S) as scope:
        async with trio.open_nursery() as nursery:
            stands = {}
            for name, times in prices.items():
                policy = PricePolicy(floor=priced(TERMS, times), load_percent=load_percent)
                stands[name] = await _open_stand(root / name, name, policy, chain, network, nursery, state)
                ledgers.append(stands[name].ledger)
            ledgers.append(open_ledger(root / "asker.db"))
            street = _open_asker(
                stands,
                ledgers[-1],
                network,
                nursery,
                chain,
                patience or RequesterLimits(),
                request_max_wei,
                day_max_wei,
            )
            await nursery.start(street.transport.run)
            street.hear_all()
            yield street
            scope.deadline = inf  # a thread may still write, and a test's clock jumps meanwhile
            nursery.cancel_scope.cancel()
    for ledger in ledgers:
        ledger.close()


def _open_asker(
    stands: dict[str, Stand],
    ledger: Ledger,
    network: MemoryNetwork,
    nursery: trio.Nursery,
    chain: Chain,
    patience: RequesterLimits,
    request_max_wei: int,
    day_max_wei: int,
) -> Street:
    peer_id = peer_id_of("asker")
    transport = MemoryTransport(network, peer_id)
    board = AdTable(NETWORK, now_s, ledger.peers, own=peer_id, base_names={BASE: "fake"})
    entries: dict[AdapterId, AdapterEntry] = {}
    strangers: set[Address] = set()
    clock = Clock()

    async def channel_with(node: Address) -> ChannelConfig:
        await trio.lowlevel.checkpoint()
        return ChannelConfig(
            payer=PAYER, authorizer=AUTHORIZER, node=node, withdraw_delay_s=40, salt=Salt(word(f"with {node}"))
        )

    async def may_sign(signer: Address, wallet: Address) -> bool:
        await trio.lowlevel.checkpoint()
        return signer not in strangers

    async def find_entry(adapter: AdapterId) -> AdapterEntry:
        await trio.lowlevel.checkpoint()
        if adapter not in entries:
            raise UnknownModelError(f"adapter {adapter} is not registered")
        return entries[adapter]

    drawn = iter(range(1, 1 << 32))
    requester = Requester(
        network=NETWORK,
        transport=transport,
        table=board,
        payer=open_buyer(ledger, now_ns=clock),
        spending_limit=SpendingLimit(
            peers=ledger.peers,
            payer=PAYER,
            request_max_wei=Wei(request_max_wei),
            day_max_wei=Wei(day_max_wei),
            now_ns=clock,
        ),
        peers=ledger.peers,
        base=BASE,
        tokenizer=ByteTokenizer(),
        backing=Backing(channel_with=channel_with, may_sign=may_sign, find_entry=find_entry),
        limits=patience,
        now_ns=clock,
        draw=lambda: word(f"drawn {next(drawn)}"),
    )
    return Street(
        stands=stands,
        requester=requester,
        board=board,
        ledger=ledger,
        transport=transport,
        network=network,
        nursery=nursery,
        entries=entries,
        chain=chain,
        strangers=strangers,
    )


async def _open_stand(
    root: Path,
    name: str,
    policy: PricePolicy,
    chain: Chain,
    network: MemoryNetwork,
    nursery: trio.Nursery,
    changes: dict[str, Any],
) -> Stand:
    ledger, engine, clock, tokenizer = open_ledger(root / "ledger.db"), LocalEngine(), Clock(), ByteTokenizer()
    state = replace(seller_state(name, policy), **changes)
    desk = Serving(
        home=Home(root),
        base=FAKE_BASE,
        engine=engine,  # type: ignore[arg-type]  # the local one answers as the real one does
        tokenizer=tokenizer,
        ledger=ledger,
        queue_max=state.queue_max,
        now_ns=clock,
    )
    accounts = ChannelAccounts(ledger=ledger, domain=DOMAIN, policy=POLICY, ask_standing=chain.ask, now_ns=clock)

    receipts = ReceiptMaker(
        ledger=ledger,
        accounts=accounts,
        domain=DOMAIN,
        tokenizer=tokenizer,
        same=ReceiptTerms(algo_id=1, profile_hash=PROFILE),
        attribute=lambda _: (),
        sign=sign_as(f"{name} signer"),
        seal=lambda content: content,
        now_ns=clock,
    )

    async def find(adapter: AdapterId) -> Sellable:
        await trio.lowlevel.checkpoint()
        known = {offered.id for offered in stand.warm}
        if adapter != BASE_ONLY and adapter not in known | set(stand.cold):
            raise UnknownModelError(f"adapter {adapter} is not here")
        return Sellable(index_root=ZERO_DIGEST, is_warm=adapter == BASE_ONLY or adapter in known)

    async def check_sellable(_: object) -> None:
        return

    transport = MemoryTransport(network, peer_id_of(name))
    bidder = Bidder(state=lambda: replace(stand.state, num_live=stand.state.num_live + desk.num_live), find=find)
    shop = SellerTerms(
        node=state.wallet,
        terms=policy.floor,
        windows=WINDOWS,
        chunk_tokens=CHUNK_TOKENS,
        voucher_timeout_s=5.0,
    )
    paid = StreamSeller(
        serving=desk,
        seller_terms=shop,
        accounts=accounts,
        receipts=receipts,
        check_sellable=check_sellable,
        nursery=nursery,
        terms_of=bidder.terms_of,
    )
    stand = Stand(
        name=name,
        state=state,
        desk=desk,
        paid=paid,
        bidder=bidder,
        ledger=ledger,
        transport=transport,
        scope=trio.CancelScope(),
    )
    transport.handle(CALL, bidder.serve)
    transport.handle(INFER, stand.serve)
    await nursery.start(engine.run)
    await nursery.start(_be_there, stand)
    return stand


async def _be_there(stand: Stand, *, task_status: "trio.TaskStatus[None]" = trio.TASK_STATUS_IGNORED) -> None:
    with stand.scope:
        await stand.transport.run(task_status=task_status)


def seller_state(name: str, policy: PricePolicy) -> SellerState:
    return SellerState(
        wallet=wallet_of(name),
        signer=signer_of(name),
        base=BASE,
        profile_hash=PROFILE,
        algo_id=1,
        chunk_tokens=CHUNK_TOKENS,
        context_max=4_096,
        policy=policy,
        is_ready=True,
        num_live=0,
        queue_max=64,
        slots=64,
        tokens_per_s=50,
        prefill_tokens_per_s=1_000,
        answer_ms=1_000,
        load_ms=500,
    )


def names_of(answered: RemoteAnswer, stands: Sequence[Stand]) -> list[str]:
    """Who gave an answer's parts, in order."""
    names = {stand.peer_id: stand.name for stand in stands}
    return [names[part.peer_id] for part in answered.parts]
