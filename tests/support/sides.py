"""The two sides of a payment, composed with fakes: constants, a clock, a chain that says what it is told to."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path

import trio

from openledger_node.engine.engine import Engine
from openledger_node.engine.tokenizer import ByteTokenizer
from openledger_node.errors import ChainError
from openledger_node.home import Home
from openledger_node.ledger.ledger import Ledger
from openledger_node.models.bases import FAKE_BASE
from openledger_node.p2p.transport import PeerId
from openledger_node.payments.accounts import ChannelAccounts
from openledger_node.payments.credit import CreditPolicy, Standing
from openledger_node.payments.payer import Payer, Purchase
from openledger_node.payments.payer_channels import PayerChannels
from openledger_node.payments.receipts import ReceiptMaker, ReceiptTerms
from openledger_node.payments.seller import SellerTerms, StreamSeller
from openledger_node.serving.service import Serving
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

from .local_engine import LocalEngine

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


SIGN_AS_SIGNER, SIGN_AS_AUTHORIZER = sign_as("signer"), sign_as("authorizer")


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


@dataclass(kw_only=True)
class Clock:
    """Nanoseconds that pass as they are asked for."""

    now_ns: int = NOW_NS

    def __call__(self) -> int:
        self.now_ns += 1000
        return self.now_ns


class Chain:
    """What the chain would say of channels, as a test sets it."""

    def __init__(self) -> None:
        self.standings: dict[ChannelId, Standing] = {CHANNEL: RICH}
        self.other = Standing()  # of channels that are not named
        self.is_down = False
        self.num_asked = 0

    async def ask(self, key: ChannelId, _: ChannelConfig) -> Standing:
        self.num_asked += 1
        if self.is_down:
            raise ChainError("the endpoint does not answer")
        await trio.lowlevel.checkpoint()
        return self.standings.get(key, self.other)


@dataclass(kw_only=True)
class Seller:
    """A node's side, from the accounts to the door."""

    desk: Serving
    accounts: ChannelAccounts
    receipts: ReceiptMaker
    paid: StreamSeller


def open_seller(
    root: Path,
    ledger: Ledger,
    engine: Engine | LocalEngine,
    nursery: trio.Nursery,
    *,
    chain: Chain | None = None,
    now_ns: Callable[[], int] | None = None,
    policy: CreditPolicy = POLICY,
    voucher_timeout_s: float = 0.5,
    sign: Callable[[bytes], bytes] = SIGN_AS_SIGNER,
    seal: Callable[[bytes], bytes] = lambda content: content,
    fail_point: Callable[[str], None] = lambda _: None,
) -> Seller:
    """Compose what sells."""
    now_ns, chain = now_ns or Clock(), chain or Chain()
    desk = Serving(
        home=Home(root),
        base=FAKE_BASE,
        engine=engine,  # type: ignore[arg-type]  # the local one answers as the real one does
        tokenizer=ByteTokenizer(),
        ledger=ledger,
        queue_max=16,
        now_ns=now_ns,
    )
    accounts = ChannelAccounts(
        ledger=ledger, domain=DOMAIN, policy=policy, ask_standing=chain.ask, now_ns=now_ns, fail_point=fail_point
    )
    receipts = ReceiptMaker(
        ledger=ledger,
        accounts=accounts,
        domain=DOMAIN,
        tokenizer=ByteTokenizer(),
        same=ReceiptTerms(algo_id=1, profile_hash=PROFILE),
        attribute=lambda _: (),
        sign=sign,
        seal=seal,
        now_ns=now_ns,
        fail_point=fail_point,
    )
    shop = SellerTerms(
        node=NODE, terms=TERMS, windows=WINDOWS, chunk_tokens=CHUNK_TOKENS, voucher_timeout_s=voucher_timeout_s
    )

    async def check_sellable(_: object) -> None:
        return

    paid = StreamSeller(
        serving=desk,
        seller_terms=shop,
        accounts=accounts,
        receipts=receipts,
        check_sellable=check_sellable,
        nursery=nursery,
        fail_point=fail_point,
    )
    return Seller(desk=desk, accounts=accounts, receipts=receipts, paid=paid)


def open_buyer(
    ledger: Ledger,
    *,
    now_ns: Callable[[], int] | None = None,
    sign: Callable[[bytes], bytes] = SIGN_AS_AUTHORIZER,
    fail_point: Callable[[str], None] = lambda _: None,
) -> Payer:
    """Compose what buys."""
    now_ns = now_ns or Clock()
    wallet = PayerChannels(ledger=ledger, domain=DOMAIN, sign=sign, now_ns=now_ns, fail_point=fail_point)
    return Payer(
        wallet=wallet,
        domain=DOMAIN,
        tokenizer=ByteTokenizer(),
        sign=sign,
        now_ns=now_ns,
        fail_point=fail_point,
    )
