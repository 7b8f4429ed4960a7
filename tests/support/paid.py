"""A node that sells and a payer that buys, over the memory transport, with the fake engine and no chain at all."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path

import trio

from openledger_node.home import Home
from openledger_node.inference.backend import BackendSettings
from openledger_node.inference.bases import FAKE_BASE
from openledger_node.inference.engine import Engine, EngineOptions
from openledger_node.inference.tokenizer import ByteTokenizer
from openledger_node.ledger.ledger import Ledger, open_ledger
from openledger_node.market.payer import Bought, Payer, Purchase
from openledger_node.market.wallet import PayerWallet
from openledger_node.p2p.transport import PeerId
from openledger_node.p2p.transports.memory import MemoryNetwork, MemoryTransport
from openledger_node.serving.accounts import Accounts
from openledger_node.serving.credit import CreditPolicy, Standing
from openledger_node.serving.paid import PaidDesk, Shop
from openledger_node.serving.receipts import ReceiptMaker, ReceiptTerms
from openledger_node.serving.service import ServingDesk
from openledger_protocol.eip712 import payments_domain
from openledger_protocol.epoch import Windows
from openledger_protocol.inference import SamplingParams
from openledger_protocol.payments import ChannelConfig, Terms, channel_id
from openledger_protocol.primitives import (
    BASE_ONLY,
    ZERO_DIGEST,
    Address,
    ChannelId,
    Digest,
    Nonce,
    RequestId,
    Salt,
    Wei,
)
from openledger_protocol.signatures import address_of, sign_digest
from openledger_protocol.wire.inference import Award, Salts

INFER = "/openledger/test/infer/1"
NODE_PEER, PAYER_PEER = PeerId("node"), PeerId("payer")
DOMAIN = payments_domain(1337, Address("0x" + "11" * 20))
TERMS = Terms(price_in_wei=Wei(1_000_000), price_out_wei=Wei(4_000_000))
WINDOWS = Windows(
    epoch_s=30,
    propose_s=30,
    window_s=10,
    response_s=10,
    pause_max_s=30,
    unbonding_s=90,
    withdraw_delay_min_s=10,
    withdraw_delay_max_s=3600,
    withdraw_period_s=600,
)
CHUNK_TOKENS = 8
PROFILE = Digest("0x" + "ab" * 32)
POLICY = CreditPolicy(unsecured_wei=Wei(0), unsecured_total_wei=Wei(0), min_deposit_wei=Wei(1000))
RICH = Standing(deposit_final_wei=Wei(10**18), deposit_latest_wei=Wei(10**18))
NOW_NS = 1_800_000_000 * 10**9
TIMEOUT_S = 30.0


def key_of(name: str) -> bytes:
    return sha256(name.encode()).digest()


def word(name: str) -> str:
    return "0x" + sha256(name.encode()).hexdigest()


NODE, SIGNER, PAYER, AUTHORIZER = (address_of(key_of(name)) for name in ("node", "signer", "payer", "authorizer"))
CONFIG = ChannelConfig(payer=PAYER, authorizer=AUTHORIZER, node=NODE, withdraw_delay_s=40, salt=Salt(word("salt")))
CHANNEL = channel_id(CONFIG, DOMAIN)


def sign_as(name: str) -> Callable[[bytes], bytes]:
    return lambda digest: sign_digest(key_of(name), digest)


def purchase(name: str = "r1", *, prompt: str = "hello", max_tokens: int = 30, **changes: object) -> Purchase:
    """What the payer wants; the request's id and salts hang on `name`."""
    wanted = Purchase(
        request_id=RequestId(word(name)),
        award=Award(base=FAKE_BASE.digest, terms=TERMS, tokens_max=max_tokens),
        adapter_id=BASE_ONLY,
        index_root=ZERO_DIGEST,
        datanet_ids=(),
        profile_hash=PROFILE,
        algo_id=1,
        messages=prompt,
        sampling=SamplingParams(max_tokens=max_tokens, seed=7, temperature=0),
        channel_config=CONFIG,
        signer=SIGNER,
        salts=Salts(prompt=Salt(word("p")), output=Salt(word("o")), fingerprint=Salt(word("f"))),
        nonce=Nonce(word(name + " nonce")),
        auditable=True,
        chunk_tokens=CHUNK_TOKENS,
        cost_max_wei=Wei(10**18),
    )
    return replace(wanted, **changes)  # type: ignore[arg-type]  # a test's own words


@dataclass
class Market:
    """Both sides, and what the chain would say."""

    desk: ServingDesk
    paid: PaidDesk
    receipts: ReceiptMaker
    node_ledger: Ledger
    payer_ledger: Ledger
    node: MemoryTransport
    payer: MemoryTransport
    buyer: Payer
    standings: dict[ChannelId, Standing] = field(default_factory=lambda: {CHANNEL: RICH})
    clock_ns: int = NOW_NS
    num_served: int = 0  # streams that the node is through with
    served: trio.Condition = field(default_factory=trio.Condition)

    async def wait_served(self, count: int) -> None:
        async with self.served:
            while self.num_served < count:
                await self.served.wait()

    async def serve(self, peer: PeerId, stream: trio.abc.Stream) -> None:
        await self.paid.serve(peer, stream)
        async with self.served:
            self.num_served += 1
            self.served.notify_all()

    async def buy(self, wanted: Purchase, show: Callable[[str], None] = lambda _: None) -> Bought:
        async def shown(text: str) -> None:
            show(text)

        return await self.buyer.buy(wanted, await self.payer.open_stream(NODE_PEER, INFER), shown)


@asynccontextmanager
async def open_market(
    root: Path, *, policy: CreditPolicy = POLICY, voucher_timeout_s: float = 0.5
) -> AsyncIterator[Market]:
    """Start both sides, and end them."""
    ledgers = [open_ledger(root / f"{side}.db") for side in ("node", "payer")]
    with trio.fail_after(TIMEOUT_S):
        async with trio.open_nursery() as nursery:
            market = await _open(root, nursery, *ledgers, policy, voucher_timeout_s)
            await nursery.start(market.node.run)
            await nursery.start(market.payer.run)
            yield market
            nursery.cancel_scope.cancel()
    for ledger in ledgers:
        ledger.close()


async def _open(
    root: Path,
    nursery: trio.Nursery,
    node_ledger: Ledger,
    payer_ledger: Ledger,
    policy: CreditPolicy,
    voucher_timeout_s: float,
) -> Market:
    market: Market

    def now_ns() -> int:
        market.clock_ns += 1000
        return market.clock_ns

    async def standing(key: ChannelId, _: ChannelConfig) -> Standing:
        return market.standings.get(key, Standing())

    engine = fake_engine(root)
    desk = ServingDesk(
        home=Home(root),
        base=FAKE_BASE,
        engine=engine,
        tokenizer=ByteTokenizer(),
        ledger=node_ledger,
        queue_max=16,
        now_ns=now_ns,
    )
    accounts = Accounts(ledger=node_ledger, domain=DOMAIN, policy=policy, ask_standing=standing, now_ns=now_ns)
    receipts = ReceiptMaker(
        ledger=node_ledger,
        accounts=accounts,
        domain=DOMAIN,
        tokenizer=ByteTokenizer(),
        same=ReceiptTerms(terms=TERMS, algo_id=1, profile_hash=PROFILE),
        attribute=lambda _: (),
        sign=sign_as("signer"),
        seal=lambda content: content,
        now_ns=now_ns,
    )
    shop = Shop(
        node=NODE, terms=TERMS, windows=WINDOWS, chunk_tokens=CHUNK_TOKENS, voucher_timeout_s=voucher_timeout_s
    )

    async def check_sellable(_: object) -> None:
        return

    paid = PaidDesk(
        desk=desk, shop=shop, accounts=accounts, receipts=receipts, check_sellable=check_sellable, nursery=nursery
    )
    wallet = PayerWallet(ledger=payer_ledger, domain=DOMAIN, sign=sign_as("authorizer"), now_ns=now_ns)
    buyer = Payer(wallet=wallet, domain=DOMAIN, tokenizer=ByteTokenizer(), sign=sign_as("authorizer"), now_ns=now_ns)
    network = MemoryNetwork()
    market = Market(
        desk=desk,
        paid=paid,
        receipts=receipts,
        node_ledger=node_ledger,
        payer_ledger=payer_ledger,
        node=MemoryTransport(network, NODE_PEER),
        payer=MemoryTransport(network, PAYER_PEER),
        buyer=buyer,
    )
    market.node.handle(INFER, market.serve)
    await nursery.start(engine.run)
    return market


def fake_engine(root: Path) -> Engine:
    settings = BackendSettings(
        base_folder=None, device="cpu", dtype="auto", threads=1, batch_max=8, context_max=1 << 20
    )
    return Engine(
        EngineOptions(
            backend="fake",
            settings=settings,
            prefill_tokens_max=64,
            adapter_cache_bytes=1 << 20,
            stall_timeout_s=60.0,
            wait_policy="passive",
            log_file=root / "engine.log",
        )
    )
