"""A node that sells and a payer that buys, over the memory transport, with the fake engine and no chain at all."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import trio

from openledger_node.ledger.ledger import Ledger, open_ledger
from openledger_node.p2p.transport import PeerId
from openledger_node.p2p.transports.memory import MemoryNetwork, MemoryTransport
from openledger_node.payments.accounts import ChannelAccounts
from openledger_node.payments.credit import CreditPolicy, Standing
from openledger_node.payments.payer import Bought, Payer, Purchase
from openledger_node.payments.receipts import ReceiptMaker
from openledger_node.payments.seller import StreamSeller
from openledger_node.serving.service import Serving
from openledger_protocol.primitives import (
    ChannelId,
)

from .local_engine import LocalEngine, child_engine
from .sides import (
    INFER,
    NODE_PEER,
    PAYER_PEER,
    POLICY,
    TIMEOUT_S,
    Chain,
    Clock,
    open_buyer,
    open_seller,
)


@dataclass(kw_only=True)
class Market:
    """Both sides, and what the chain would say."""

    desk: Serving
    paid: StreamSeller
    accounts: ChannelAccounts
    receipts: ReceiptMaker
    node_ledger: Ledger
    payer_ledger: Ledger
    node: MemoryTransport
    payer: MemoryTransport
    buyer: Payer
    chain: Chain
    clock: Clock
    num_served: int = 0  # streams that the node is through with
    served: trio.Condition = field(default_factory=trio.Condition)

    @property
    def standings(self) -> dict[ChannelId, Standing]:
        return self.chain.standings

    async def wait_served(self, count: int) -> None:
        async with self.served:
            while self.num_served < count:
                await self.served.wait()

    async def serve(self, peer: PeerId, stream: trio.abc.Stream) -> None:
        try:
            await self.paid.serve(peer, stream)
        finally:
            self.num_served += 1
            with trio.CancelScope(shield=True):
                async with self.served:
                    self.served.notify_all()

    async def buy(self, wanted: Purchase, show: Callable[[str], None] = lambda _: None) -> Bought:
        async def shown(text: str) -> None:
            show(text)

        return await self.buyer.buy(wanted, await self.open_stream(), shown)

    async def open_stream(self) -> trio.abc.Stream:
        return await self.payer.open_stream(NODE_PEER, INFER)


@asynccontextmanager
async def open_market(
    root: Path,
    *,
    policy: CreditPolicy = POLICY,
    voucher_timeout_s: float = 0.5,
    is_local: bool = False,
    timeout_s: float = TIMEOUT_S,
    seal: Callable[[bytes], bytes] = lambda content: content,
) -> AsyncIterator[Market]:
    """Start both sides, and end them; `is_local`: without an engine in a child."""
    ledgers = [open_ledger(root / f"{side}.db") for side in ("node", "payer")]
    engine = LocalEngine() if is_local else child_engine(root)
    clock, chain, network = Clock(), Chain(), MemoryNetwork()
    with trio.fail_after(timeout_s):
        async with trio.open_nursery() as nursery:
            options = {"policy": policy, "voucher_timeout_s": voucher_timeout_s, "seal": seal}
            seller = open_seller(root, ledgers[0], engine, nursery, chain=chain, now_ns=clock, **options)  # type: ignore[arg-type]
            market = Market(
                desk=seller.desk,
                paid=seller.paid,
                accounts=seller.accounts,
                receipts=seller.receipts,
                node_ledger=ledgers[0],
                payer_ledger=ledgers[1],
                node=MemoryTransport(network, NODE_PEER),
                payer=MemoryTransport(network, PAYER_PEER),
                buyer=open_buyer(ledgers[1], now_ns=clock),
                chain=chain,
                clock=clock,
            )
            market.node.handle(INFER, market.serve)
            for task in (engine.run, market.node.run, market.payer.run):
                await nursery.start(task)
            yield market
            nursery.cancel_scope.cancel()
    for ledger in ledgers:
        ledger.close()
