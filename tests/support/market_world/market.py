"""Sellers by name and one buyer, who calls all of them for bids or buys from one by a stream."""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import ExitStack, asynccontextmanager, closing
from dataclasses import dataclass
from itertools import count
from math import inf
from pathlib import Path
from typing import Any

import trio

from openledger_node.engine.tokenizer import ByteTokenizer
from openledger_node.ledger.ledger import Ledger, open_ledger
from openledger_node.market.board import AdTable
from openledger_node.market.request import RemoteAnswer
from openledger_node.market.requester import Requester, RequesterLimits
from openledger_node.p2p.transports.memory import MemoryNetwork, MemoryTransport
from openledger_node.payments.audits import ReceiptAudits
from openledger_node.payments.payer import Bought, Keep, Payer, Purchase, open_payer
from openledger_node.payments.spending_limit import SpendingLimit
from openledger_protocol.inference import Message
from openledger_protocol.primitives import Generation, Wei

from .chain import Chain
from .requests import network_request
from .seller import Seller, open_seller
from .terms import (
    BASE,
    DOMAIN,
    INFER,
    NETWORK,
    PAYER,
    TERMS,
    Clock,
    draws,
    now_s,
    peer_id_of,
    priced,
    sign_as,
    wallet_of,
    word,
)

TIMEOUT_S = 300.0
ONE_NODE = {"node": 1.0}


@dataclass(kw_only=True)
class Buyer:
    """The node that asks and pays."""

    payer: Payer
    requester: Requester
    ads: AdTable
    ledger: Ledger
    transport: MemoryTransport


@dataclass(kw_only=True)
class Market:
    """Sellers and a buyer on one network, with one chain and one clock."""

    sellers: dict[str, Seller]
    buyer: Buyer
    chain: Chain
    clock: Clock
    nursery: trio.Nursery

    @property
    def seller(self) -> Seller:
        """The only seller."""
        (seller,) = self.sellers.values()
        return seller

    async def ask(
        self,
        prompt: tuple[Message, ...] | str = "hello",
        *,
        show: Callable[[str], None] = lambda _: None,
        **changes: Any,
    ) -> RemoteAnswer:
        """Have the best bidder answer."""
        return await self.buyer.requester.answer(network_request(prompt, **changes), _shown_by(show))

    async def buy(self, wanted: Purchase, show: Callable[[str], None] = lambda _: None) -> Bought:
        """Buy from the only seller, without a call for bids."""
        return await self.buyer.payer.buy(wanted, await self.open_stream(), _shown_by(show))

    async def open_stream(self) -> trio.abc.Stream:
        """Open a paid stream to the only seller."""
        return await self.buyer.transport.open_stream(self.seller.peer_id, INFER)

    def names_of(self, answered: RemoteAnswer) -> list[str]:
        """The nodes that gave an answer's parts, in order."""
        names = {seller.peer_id: seller.name for seller in self.sellers.values()}
        return [names[part.peer_id] for part in answered.parts]

    def countersigned(self) -> list[bool]:
        """Whether each of the only seller's receipts is countersigned, oldest first."""
        rows = self.seller.ledger.receipts.newest(limit=100)
        return [row.countersignature is not None for row in reversed(rows)]

    def paid(self) -> dict[str, list[int]]:
        """The charges of the buyer's receipts, by the node that signed."""
        names = {wallet_of(name): name for name in self.sellers}
        found: dict[str, list[int]] = {}
        for row in reversed(self.buyer.ledger.receipts.newest(limit=1_000)):
            channel = self.buyer.ledger.channels.find(row.receipt.channel_id)
            assert channel is not None
            found.setdefault(names[channel.config.node], []).append(row.receipt.amount_wei)
        return found


@asynccontextmanager
async def open_market(
    root: Path,
    prices: Mapping[str, float] = ONE_NODE,
    *,
    request_max_wei: int = 10**18,
    day_max_wei: int = 10**18,
    limits: RequesterLimits | None = None,
    draw: Callable[[], Generation] | None = None,
    keep_texts: Callable[[Ledger], Keep] = lambda _: lambda _, __: None,
    audits: Callable[[Ledger], ReceiptAudits | None] = lambda _: None,
    **of_sellers: Any,
) -> AsyncIterator[Market]:
    """Open a seller for each name, at so many times the usual price, and a buyer that has heard of all of them.

    `draw` draws the generations of the sellers' ledgers.

    Further options are those of `open_seller`.
    """
    network, chain, clock = MemoryNetwork(), Chain(), Clock()
    with ExitStack() as ledgers, trio.fail_after(TIMEOUT_S) as scope:
        async with trio.open_nursery() as nursery:
            sellers: dict[str, Seller] = {}
            shared = {"network": network, "chain": chain, "now_ns": clock, **of_sellers}
            for name, times in prices.items():
                ledger = ledgers.enter_context(closing(open_ledger(root / name / "ledger.db", draw=draw or draws())))
                terms = priced(TERMS, times)
                sellers[name] = seller = open_seller(name, root / name, ledger, nursery, terms=terms, **shared)
                await nursery.start(seller.engine.run)
                await nursery.start(seller.transport.run)
            ledger = ledgers.enter_context(closing(open_ledger(root / "buyer.db")))
            if opened := audits(ledger):
                await nursery.start(opened.run)
            payer = open_payer(
                ledger,
                domain=DOMAIN,
                tokenizer=ByteTokenizer(),
                sign=sign_as("authorizer"),
                now_ns=clock,
                keep=keep_texts(ledger),
                audits=opened,
            )
            spending_limit = SpendingLimit(
                peers=ledger.peers,
                payer=PAYER,
                request_max_wei=Wei(request_max_wei),
                day_max_wei=Wei(day_max_wei),
                now_ns=clock,
                lost_since=ledger.purchases.since,
            )
            buyer = _open_buyer(ledger, network, chain, payer, spending_limit, limits or RequesterLimits(), clock)
            await nursery.start(buyer.transport.run)
            for seller in sellers.values():
                assert buyer.ads.learn(seller.ad()), buyer.ads.why_refused
            yield Market(sellers=sellers, buyer=buyer, chain=chain, clock=clock, nursery=nursery)
            scope.deadline = inf  # a thread may still write, and a test's clock jumps meanwhile
            nursery.cancel_scope.cancel()


def _open_buyer(
    ledger: Ledger,
    network: MemoryNetwork,
    chain: Chain,
    payer: Payer,
    spending_limit: SpendingLimit,
    limits: RequesterLimits,
    clock: Clock,
) -> Buyer:
    transport, drawn = MemoryTransport(network, peer_id_of("buyer")), count(1)
    ads = AdTable(NETWORK, now_s, ledger.peers, own=transport.peer_id, base_names={BASE: "fake"})
    requester = Requester(
        network=NETWORK,
        transport=transport,
        table=ads,
        payer=payer,
        spending_limit=spending_limit,
        sellers=ledger.sellers,
        base=BASE,
        tokenizer=ByteTokenizer(),
        rules=(1, 7),
        backing=chain.backing(),
        limits=limits,
        now_ns=clock,
        draw=lambda: word(f"drawn {next(drawn)}"),
    )
    return Buyer(payer=payer, requester=requester, ads=ads, ledger=ledger, transport=transport)


def _shown_by(show: Callable[[str], None]) -> Callable[[str], Any]:
    async def shown(text: str) -> None:
        show(text)

    return shown
