"""Node that sells: its composition without a chain, and its advertisement."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import trio

from openledger_node.chain.dev.constants import DEVELOPMENT_WINDOWS
from openledger_node.engine.engine import Engine
from openledger_node.engine.tokenizer import ByteTokenizer
from openledger_node.home import Home
from openledger_node.ledger.ledger import Ledger
from openledger_node.market.bidder import Bidder
from openledger_node.market.offer import PricePolicy, Sellable, SellerState
from openledger_node.models.bases import FAKE_BASE
from openledger_node.p2p.transport import PeerId
from openledger_node.p2p.transports.memory import MemoryNetwork, MemoryTransport
from openledger_node.payments.accounts import ChannelAccounts
from openledger_node.payments.asked_receipts import AskedReceipts
from openledger_node.payments.delivery import SellerTerms
from openledger_node.payments.generations import ChannelGenerations
from openledger_node.payments.receipts import Attribute, ReceiptMaker, ReceiptTerms
from openledger_node.payments.seller import StreamSeller
from openledger_node.serving.service import Serving
from openledger_protocol.advertisement import Advertisement, OfferedAdapter, sign_advertisement, sign_binding
from openledger_protocol.bloom import make_filter
from openledger_protocol.errors import UnknownModelError
from openledger_protocol.payments import Terms
from openledger_protocol.primitives import BASE_ONLY, ZERO_DIGEST, AdapterId, Wei

from ..local_engine import LocalEngine
from .chain import Chain
from .terms import (
    BASE,
    CALL,
    CHUNK_TOKENS,
    DOMAIN,
    GENERATION,
    INFER,
    NETWORK,
    NOW_S,
    PROFILE,
    TERMS,
    Clock,
    key_of,
    now_s,
    peer_id_of,
    seed_of,
    sign_as,
    signer_of,
    wallet_of,
)


@dataclass(kw_only=True)
class Seller:
    """One node that sells."""

    name: str
    state: SellerState
    engine: Engine | LocalEngine
    serving: Serving
    accounts: ChannelAccounts
    receipts: ReceiptMaker
    paid: StreamSeller
    bidder: Bidder
    ledger: Ledger
    transport: MemoryTransport
    warm: tuple[OfferedAdapter, ...] = ()
    cold: tuple[AdapterId, ...] = ()
    num_served: int = 0  # streams that have ended
    served: trio.Condition = field(default_factory=trio.Condition)

    @property
    def peer_id(self) -> PeerId:
        return self.transport.peer_id

    def ad(self, **changes: Any) -> bytes:
        """Its advertisement as of now."""
        told = {
            "at_s": now_s(),
            "terms": self.state.policy.floor,
            "context_max": self.state.context_max,
            "tokens_per_s": self.state.tokens_per_s,
            "warm": self.warm,
            "cold": make_filter(self.cold),
            "num_cold": len(self.cold),
        }
        return signed_ad(self.name, **{**told, **changes})

    def vanish(self) -> None:
        """Lose the network at once: bytes that were sent arrive, and nothing after them."""
        self.transport._network.peers.pop(self.peer_id, None)
        self.transport._close_all()

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
        """The charges of its receipts, oldest first."""
        return [row.receipt.amount_wei for row in reversed(self.ledger.receipts.newest(limit=1_000))]


def open_seller(
    name: str,
    root: Path,
    ledger: Ledger,
    nursery: trio.Nursery,
    *,
    network: MemoryNetwork | None = None,
    chain: Chain | None = None,
    now_ns: Callable[[], int] | None = None,
    terms: Terms = TERMS,
    load_percent: int = 50,
    queue_max: int = 64,
    credit_wei: int = 0,
    block_lag_s: float = 0.0,
    voucher_timeout_s: float = 5.0,
    open_engine: Callable[[Path], Engine | LocalEngine] = lambda _: LocalEngine(),
    sign: Callable[[bytes], bytes] | None = None,
    attribute: Attribute = lambda _: (),
    fail_point: Callable[[str], None] = lambda _: None,
) -> Seller:
    """Compose a node that sells; the caller runs its engine and its transport."""
    now_ns, chain = now_ns or Clock(), chain or Chain()
    engine, tokenizer = open_engine(root), ByteTokenizer()
    state = replace(seller_state(name, PricePolicy(floor=terms, load_percent=load_percent)), queue_max=queue_max)
    serving = Serving(
        home=Home(root),
        base=FAKE_BASE,
        engine=engine,  # type: ignore[arg-type]  # the local one answers as the real one does
        tokenizer=tokenizer,
        ledger=ledger,
        queue_max=state.queue_max,
        now_ns=now_ns,
    )
    accounts = ChannelAccounts(
        ledger=ledger,
        domain=DOMAIN,
        generations=ChannelGenerations(ledger, network=NETWORK, domain=DOMAIN, signer=signer_of(name), now_ns=now_ns),
        credit_wei=Wei(credit_wei),
        ask_standing=chain.standing,
        now_ns=now_ns,
        block_lag_s=block_lag_s,
        fail_point=fail_point,
    )
    receipts = ReceiptMaker(
        ledger=ledger,
        accounts=accounts,
        domain=DOMAIN,
        tokenizer=tokenizer,
        same=ReceiptTerms(profile_hash=PROFILE),
        attribute=attribute,
        sign=sign or sign_as(f"{name} signer"),
        now_ns=now_ns,
        is_stopping=lambda: serving.is_draining,
        fail_point=fail_point,
    )

    async def find(adapter: AdapterId) -> Sellable:
        await trio.lowlevel.checkpoint()
        is_warm = adapter in {BASE_ONLY, *(offered.id for offered in seller.warm)}
        if not is_warm and adapter not in seller.cold:
            raise UnknownModelError(f"adapter {adapter} is not here")
        return Sellable(index_root=ZERO_DIGEST, is_warm=is_warm, algo_id=seller.state.algo_id)

    async def check_sellable(_: object) -> int:
        return 1

    def state_now() -> SellerState:
        num_live = seller.state.num_live + serving.num_live
        return replace(seller.state, num_live=num_live, generation=ledger.generations.current.generation)

    bidder = Bidder(state=state_now, find=find)
    paid = StreamSeller(
        serving=serving,
        seller_terms=SellerTerms(
            node=state.wallet,
            terms=terms,
            windows=DEVELOPMENT_WINDOWS,
            chunk_tokens=CHUNK_TOKENS,
            voucher_timeout_s=voucher_timeout_s,
        ),
        accounts=accounts,
        receipts=receipts,
        asked=AskedReceipts(
            node=state.wallet, ledger=ledger, accounts=accounts, receipts=receipts, domain=DOMAIN, now_ns=now_ns
        ),
        check_sellable=check_sellable,
        nursery=nursery,
        terms_of=bidder.terms_of,
        fail_point=fail_point,
    )
    seller = Seller(
        name=name,
        state=state,
        engine=engine,
        serving=serving,
        accounts=accounts,
        receipts=receipts,
        paid=paid,
        bidder=bidder,
        ledger=ledger,
        transport=MemoryTransport(network or MemoryNetwork(), peer_id_of(name)),
    )
    seller.transport.handle(CALL, bidder.serve)
    seller.transport.handle(INFER, seller.serve)
    return seller


ABILITIES = ("tools", "calls", "schema")


def seller_state(name: str, policy: PricePolicy) -> SellerState:
    return SellerState(
        wallet=wallet_of(name),
        signer=signer_of(name),
        generation=GENERATION,
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
        can=ABILITIES,
    )


def ad_of(name: str, *, at_s: float = NOW_S, **changes: Any) -> Advertisement:
    """An advertisement of a node, not signed yet."""
    peer_id = peer_id_of(name)
    ad = Advertisement(
        network=NETWORK,
        peer_id=peer_id,
        addresses=(f"/memory/{peer_id}/p2p/{peer_id}",),
        wallet=wallet_of(name),
        signer=signer_of(name),
        generation=GENERATION,
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
        binding=sign_binding(key_of(f"{name} signer"), NETWORK, peer_id, wallet_of(name)),
    )
    return replace(ad, **changes)


def signed_ad(name: str, **changes: Any) -> bytes:
    return sign_advertisement(ad_of(name, **changes), seed_of(name))
