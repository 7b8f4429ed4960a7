"""A simulated node: the real market and peer code, without engine, chain, money and files."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from itertools import count
from random import Random
from types import SimpleNamespace
from typing import Any

import trio

from openledger_node.engine.tokenizer import ByteTokenizer
from openledger_node.errors import NetworkError
from openledger_node.market.advertiser import Advertiser, Snapshot
from openledger_node.market.bidder import Bidder
from openledger_node.market.board import AdTable
from openledger_node.market.offer import PricePolicy, Sellable, SellerState, terms_asked_max
from openledger_node.market.requester import Backing, Requester, RequesterLimits
from openledger_node.p2p.budget import INBOUND_MAX
from openledger_node.p2p.connections import Connections
from openledger_node.p2p.reach_watch import ReachWatch
from openledger_node.p2p.scopes import Scope
from openledger_node.p2p.streams import MessageStream
from openledger_node.p2p.transport import PeerId, peer_id_from_address
from openledger_node.p2p.transports.memory import MemoryNetwork, MemoryTransport
from openledger_node.payments.purchase import Bought, Purchase
from openledger_node.payments.spending_limit import SpendingLimit
from openledger_protocol.advertisement import sign_binding
from openledger_protocol.errors import UnavailableError, UnknownModelError
from openledger_protocol.payments import price_wei
from openledger_protocol.primitives import BASE_ONLY, ZERO_DIGEST, ZERO_WEI, AdapterId, Address, Generation, Wei
from openledger_protocol.rules import USUAL_RULES
from openledger_protocol.wire.frames import wire_name

from ..market_world.requests import network_request
from ..market_world.seller import seller_state
from ..market_world.terms import (
    BASE,
    NETWORK,
    NOW_S,
    TERMS,
    config_with,
    key_of,
    now_s,
    peer_id_of,
    priced,
    seed_of,
    wallet_of,
    word,
)
from .memory_ledger import Book, SellerRows, SeqRows

CALL, INFER = wire_name(NETWORK, "call"), wire_name(NETWORK, "infer")
BOND_WEI = Wei(10**18)
TOKENS, TOKENS_PER_S = 32, 64
"""The length and speed of an answer."""

PORT = 4001
LAN = f"/ip4/192.168.1.7/tcp/{PORT}"


def now_ns() -> int:
    return NOW_S * 10**9 + int(trio.current_time() * 10**9)


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A node's connection to the internet."""

    host: str  # its public IP address, or its router's
    is_home: bool = False  # nobody can dial it
    can_be_punched: bool = False

    @property
    def address(self) -> str:
        """The address that it listens on."""
        return LAN if self.is_home else f"/ip4/{self.host}/tcp/{PORT}"


class SimNode:
    """A node that sells and buys. What it keeps on disk outlives `run`."""

    def __init__(
        self,
        name: str,
        *,
        network: MemoryNetwork,
        bootstrap: tuple[str, ...],
        line: Line,
        random: Random,
        price: float = 1.0,
        asks: float = 1.0,
        is_bonded: Callable[[Address], bool] = lambda _: True,
    ) -> None:
        self.name, self.peer_id, self.wallet = name, peer_id_of(name), wallet_of(name)
        self.line = line
        self.random = random
        self._network = network
        self._bootstrap = bootstrap
        self._is_bonded = is_bonded
        self._seqs, self._sellers, self._book = SeqRows(), SellerRows(), Book()
        self._state = seller_state(name, PricePolicy(floor=priced(TERMS, price), load_percent=50))
        self._asks = asks  # times its advertised price
        self._draws = count()
        self.started_s = 0.0
        self.transport = self._open_transport()
        self._build()

    def _open_transport(self) -> MemoryTransport:
        return MemoryTransport(
            self._network,
            self.peer_id,
            listen=(self.line.address,),
            host=self.line.host,
            is_home=self.line.is_home,
            can_be_punched=self.line.can_be_punched,
            inbound_max=INBOUND_MAX,
        )

    def _build(self) -> None:
        """Compose the node as `network.peers` does."""
        self.table = AdTable(NETWORK, now_s, self._seqs, own=self.peer_id, base_names={BASE: "fake"})  # type: ignore[arg-type]
        self.connections = Connections(
            self.transport,
            network=NETWORK,
            bootstrap=self._bootstrap,
            book=self._book,  # type: ignore[arg-type]
            random=self.random,
        )
        self.transport.reserve_places(lambda peer_id: self._book.has(peer_id) or self.table.has_bond(peer_id))
        self.reach = ReachWatch(
            self.transport,
            network=NETWORK,
            scope=Scope.INTERNET,
            points=[peer_id_from_address(address) for address in self._bootstrap],
            known=self.connections.known,
            random=self.random,
            is_port_fixed=True,
        )
        self.bidder = Bidder(state=self.state, find=_find)
        self.requester = self._open_requester()
        binding = sign_binding(key_of(f"{self.name} signer"), NETWORK, self.peer_id, self.wallet)
        self.advertiser = Advertiser(
            network=NETWORK,
            transport=self.transport,
            table=self.table,
            peers=self._seqs,  # type: ignore[arg-type]
            seed=seed_of(self.name),
            snapshot=lambda: self.snapshot(binding),
            base=lambda: BASE,
            now_ns=now_ns,
            jitter=self.random.random,
        )

    def _open_requester(self) -> Requester:
        limit = SpendingLimit(
            peers=self._seqs,  # type: ignore[arg-type]
            payer=self.wallet,
            request_max_wei=Wei(10**18),
            day_max_wei=Wei(10**24),
            now_ns=now_ns,
        )
        return Requester(
            network=NETWORK,
            transport=self.transport,
            table=self.table,
            payer=FreePayer(),  # type: ignore[arg-type]
            spending_limit=limit,
            sellers=self._sellers,  # type: ignore[arg-type]
            base=BASE,
            tokenizer=ByteTokenizer(),
            rules=USUAL_RULES,
            backing=self._backing(),
            limits=RequesterLimits(),
            now_ns=now_ns,
            draw=lambda: word(f"{self.name} {next(self._draws)}"),
        )

    def _backing(self) -> Backing:
        """The chain's answers: which wallets have a bond."""

        async def channel_with(wallet: Address, generation: Generation) -> Any:
            await trio.lowlevel.checkpoint()
            return config_with(wallet, generation)

        async def may_sign(_: Address, __: Address) -> bool:
            await trio.lowlevel.checkpoint()
            return True

        async def bond_of(wallet: Address) -> Wei:
            await trio.lowlevel.checkpoint()
            return BOND_WEI if self._is_bonded(wallet) else ZERO_WEI

        return Backing(
            channel_with=channel_with,
            may_sign=may_sign,
            bond_of=bond_of,
            find_entry=_refuse,
            find_manifest=_refuse,
        )

    def state(self) -> SellerState:
        """Its state as a seller when it bids."""
        return replace(self._state, policy=PricePolicy(floor=priced(self._state.policy.floor, self._asks)))

    def snapshot(self, binding: bytes) -> Snapshot:
        """Its offer to advertise."""
        state = self._state
        return Snapshot(
            wallet=state.wallet,
            signer=state.signer,
            generation=state.generation,
            base=state.base,
            profile_hash=state.profile_hash,
            algo_id=state.algo_id,
            context_max=state.context_max,
            chunk_tokens=state.chunk_tokens,
            terms=state.policy.floor,
            terms_max=terms_asked_max(state.policy),
            warm=(),
            cold=(),
            slots=state.slots,
            slots_free=state.slots,
            tokens_per_s=TOKENS_PER_S,
            serves=True,
            binding=binding,
        )

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Take part until cancelled; a second time it starts anew, as after a crash."""
        if self.started_s:
            self.transport = self._open_transport()
            self._build()
        self.started_s = trio.current_time()
        self.transport.handle(CALL, self.bidder.serve)
        self.transport.handle(INFER, self.serve)
        async with trio.open_nursery() as nursery:
            await nursery.start(self.transport.run)
            nursery.start_soon(self.connections.run)
            nursery.start_soon(self.reach.run)
            nursery.start_soon(self.advertiser.run)
            nursery.start_soon(self.requester.run)
            task_status.started()

    async def serve(self, peer_id: PeerId, stream: trio.abc.Stream) -> None:
        """Answer a requester whose request this node has bid on, without money."""
        messages = MessageStream(stream)
        try:
            asked = await messages.receive()
            if self.bidder.terms_of(peer_id, asked["id"]) is None:
                return
            for _ in range(TOKENS // 8):
                await trio.sleep(8 / TOKENS_PER_S)
                await messages.send({"text": "x" * 8})
        except NetworkError:
            pass  # it left

    async def ask(self, name: str) -> PeerId:
        """Have one request answered, and return the node that finished the answer.

        Raises:
            ProtocolError: nobody could answer.
        """

        async def show(_: str) -> None:
            await trio.lowlevel.checkpoint()

        answer = await self.requester.answer(network_request("hello", name=name, max_tokens=TOKENS), show)
        return answer.parts[-1].peer_id


class NoLateReceipts:
    """Asks for no receipts: in a simulation none is late."""

    async def run(self) -> None:
        await trio.sleep_forever()


class FreePayer:
    """Buys answers without vouchers and receipts: a simulation has no channels."""

    def late_receipts(self, **_: Any) -> NoLateReceipts:
        return NoLateReceipts()

    async def buy(
        self,
        purchase: Purchase,
        stream: trio.abc.Stream,
        take: Callable[[str], Awaitable[None]],
        note_paid: Callable[[Wei], None],
    ) -> Bought:
        """Buy an answer, as `payments.payer` does."""
        messages = MessageStream(stream)
        text = ""
        note_paid(ZERO_WEI)
        try:
            await messages.send({"id": purchase.request_id})
            while len(text) < purchase.award.tokens_max:
                came = (await messages.receive())["text"]
                text += came
                await take(came)
        finally:
            await messages.aclose_shielded()
        spent_wei = price_wei(5, len(text), purchase.award.terms)
        receipt: Any = SimpleNamespace(amount_wei=spent_wei)
        return Bought(text=text, ids=ByteTokenizer().encode(text), receipt=receipt, digest=ZERO_DIGEST, shares=())


async def _find(adapter: AdapterId) -> Sellable:
    await trio.lowlevel.checkpoint()
    if adapter != BASE_ONLY:
        raise UnknownModelError(f"adapter {adapter} is not here")
    return Sellable(index_root=ZERO_DIGEST, is_warm=True)


async def _refuse(*_: object) -> Any:
    await trio.lowlevel.checkpoint()
    raise UnavailableError("a simulated network has no adapters")
