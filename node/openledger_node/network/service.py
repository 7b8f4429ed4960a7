"""The money desk: one network's money while the daemon runs: connected, stepped, asked; and the paid door beside it.

All that blocks runs in one thread, one call at a time. While the chain is down local requests are answered all the
same, and the desk tries again.
"""

import logging
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final, TypeVar

import trio

from openledger_protocol.chain import Block
from openledger_protocol.errors import UnavailableError
from openledger_protocol.payments import Terms
from openledger_protocol.primitives import Address, Wei

from ..accounting.queries import MoneyQueries, num_waiting, open_questions
from ..api.schemas import ChatBody
from ..attribution.registry import AdapterRegistry
from ..chain.client import Health
from ..config import Config, LimitsConfig, MarketConfig, PayerConfig
from ..engine.budget import check_disk_room
from ..engine.engine import Engine
from ..engine.tokenizer import Tokenizer
from ..errors import ChainError, KeyFileError, LedgerError
from ..home import Home
from ..ledger.ledger import Ledger
from ..market.overview import MarketView
from ..network_file import Network
from ..p2p.transport import PeerId
from ..p2p.transports.memory import MemoryNetwork, open_transport
from ..payments.receipts import Seal, open_seal
from ..serving.service import Serving
from ..settlement.open import HomeNetwork, connect, prepare_development
from ..settlement.session import NetworkSession
from .buying import Buying
from .guest import GUEST, Guest, bought_to_plain, open_guest
from .idle import Streams
from .peers import PeerService
from .selling import SellerStack, open_counter

RETRY_S: Final = (1.0, 2.0, 5.0, 10.0, 30.0)
"""Pauses between tries to connect; the last one goes on."""

DEVELOPMENT_STEP_S, STEP_S = 0.5, 4.0
"""Pauses between looks at the chain: development chains mine each second."""

IDLE_STEP_S = 2.0
"""The least pause of who waits for no block: most nodes, most of the time."""

READY_TIMEOUT_S = 30.0
"""A verb that comes while the desk connects waits for so long."""

NODE: Final = PeerId("node")

log = logging.getLogger(__name__)
Value = TypeVar("Value")


@dataclass(frozen=True, slots=True, kw_only=True)
class MoneyStatus:
    """How it goes with the money, for a status that asks no chain."""

    chain: Health | None  # None: this machine alone
    why: str | None
    address: Address | None
    why_not_claimed: str | None = None
    peer_id: PeerId | None = None
    num_peers: int = 0
    num_waiting: int = 0  # things that go on only when the operator acts
    head: Block | None = None  # as it was seen last


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeParts:
    """What the rest of the daemon lends to the desk."""

    serving: Serving
    engine: Engine
    tokenizer: Tokenizer
    ledger: Ledger
    tell: Callable[[str], None]  # a line for the operator


class NetworkService:
    """The money of this home on its network."""

    def __init__(self, home: Home, config: Config, place: HomeNetwork, around: NodeParts) -> None:
        self._home = home
        self._config = config
        self._place = place
        self._around = around
        self._thread = trio.CapacityLimiter(1)
        self._ready = trio.Event()
        self._why = place.why_none or "still connecting to the chain: try again in a moment"
        self._session: NetworkSession | None = None
        self._questions: MoneyQueries | None = None
        self._counter: SellerStack | None = None
        self._guest: Guest | None = None
        self._num_waiting = 0  # as the last step left it
        self._opening = trio.Lock()
        self._asked = trio.Event()
        self._open_late: Callable[[], Awaitable[None]] | None = (
            None  # the counter, once the engine has said what it is
        )
        self._neighbourhood: PeerService | None = None
        self._streams = Streams()
        self._peers = MemoryNetwork()
        self._transport = open_transport(self._peers, NODE)

    async def run(self, nursery: trio.Nursery) -> None:
        """Be there until cancelled; answers that are sold run in `nursery`, and outlive a failure here."""
        if self._place.network is None:
            return
        self._session = session = await self._connect(self._place.network)
        try:
            await self._prepare(session)
            registry = AdapterRegistry(self._home, session.deployment, session.ledger)
            if self._place.devnet is None:
                self._neighbourhood = await self._open_neighbourhood(session, registry)
                await nursery.start(self._neighbourhood.run)
            await self._open_door(session, registry, nursery)
            self._ready.set()
            await self._step_until_cancelled(session)
        finally:
            with trio.CancelScope(shield=True):
                await self._blocking(self._close)

    def status(self) -> MoneyStatus:
        """How it goes, from what is known without asking anybody."""
        session = self._session
        if self._place.network is None:
            return MoneyStatus(chain=None, why=self._place.why_none, address=None)
        if session is None:
            return MoneyStatus(chain="down", why=self._why, address=None)
        state, around = session.state, self._neighbourhood
        return MoneyStatus(
            chain=state.health,
            why=state.why,
            address=session.accounts.wallet,
            why_not_claimed=session.settlement.why_not,
            peer_id=around.peer_id if around else None,
            num_peers=around.num_peers if around else 0,
            num_waiting=self._num_waiting,
            head=session.watcher.head,
        )

    def market(self) -> Buying | None:
        """The network as requests see it, once this node is on it."""
        return self._neighbourhood.market if self._neighbourhood and self._ready.is_set() else None

    def view(self) -> MarketView | None:
        """What is known of the market; None: there is none."""
        return self._neighbourhood.view() if self._neighbourhood else None

    def reprice(self, market: MarketConfig) -> None:
        """Sell at other prices from now on; bids that stand are kept."""
        self._config = replace(self._config, market=market)
        terms = Terms(price_in_wei=Wei(market.price_in_wei), price_out_wei=Wei(market.price_out_wei))
        if counter := self._counter:
            self._counter = replace(counter, offer=replace(counter.offer, terms=terms))
            counter.paid.reprice(terms)
            if self._guest:
                self._guest.reprice(self._counter)
        if self._neighbourhood:
            self._neighbourhood.reprice(self._counter.offer if self._counter else None, market)

    def cap(self, payer: PayerConfig, limits: LimitsConfig) -> None:
        """Spend and fetch no more than this from now on."""
        self._config = replace(self._config, payer=payer, limits=limits)
        if self._neighbourhood:
            self._neighbourhood.market.purse.cap(
                request_max_wei=Wei(payer.request_max_wei), day_max_wei=Wei(payer.day_max_wei)
            )

    async def spent_today_wei(self) -> int | None:
        """What this UTC day's requests have cost; None: this node buys nothing."""
        return await self._neighbourhood.market.purse.spent_today() if self._neighbourhood else None

    async def ask(self, question: str, arguments: Mapping[str, Any]) -> Any:
        """Answer one question of a verb.

        Raises:
            NodeError: the operator must act.
            ProtocolError: it is refused.
        """
        await self._wait_ready()
        if question in ("peers", "pull"):
            return await self._ask_neighbourhood(question, arguments)
        assert self._questions is not None
        try:
            return await self._blocking(self._questions.answer, question, arguments)
        finally:
            self._asked.set()  # it may have sent something, and wait for its block

    async def ask_as_guest(self, body: ChatBody, show: Callable[[str], Awaitable[None]]) -> dict[str, Any]:
        """Let the guest buy one answer; `show` gets its text as it comes, and the receipt is returned.

        Raises:
            ProtocolError: it is refused.
            ChainError: there is no money to be had.
        """
        await self._wait_ready()
        guest = await self._open_guest()
        return bought_to_plain(await guest.ask(body, self._reach_node, show))

    async def wait_idle(self) -> None:
        """Return when no stream that is paid for is open any more."""
        await self._streams.wait_idle()

    # ---- its life

    async def _connect(self, network: Network) -> NetworkSession:
        pauses = iter(RETRY_S)
        while True:
            open_session = partial(connect, self._home, self._config, network, self._around.ledger)
            try:
                return await trio.to_thread.run_sync(open_session, abandon_on_cancel=True)
            except (ChainError, KeyFileError) as error:
                if str(error) != self._why:
                    self._around.tell(f"no money moves: {error}")
                self._why = str(error)
                await trio.sleep(next(pauses, RETRY_S[-1]))

    async def _prepare(self, session: NetworkSession) -> None:
        """On a development network the node funds and bonds itself, and says so."""
        self._around.tell(f"  money     {session.network.network}, wallet {session.accounts.wallet}")
        if not session.network.is_development:
            return
        prepare = partial(
            prepare_development, session, is_bonding=self._config.node.serve and self._config.node.auto_bond
        )
        pauses = iter(RETRY_S)
        while True:
            try:
                for line in await self._blocking(prepare):
                    self._around.tell(f"            on its way: {line}")
                return
            except ChainError as error:
                log.warning("%s", error)
                with suppress(ChainError, LedgerError):
                    await self._blocking(session.step)  # so that the status says what is so, too
                await trio.sleep(next(pauses, RETRY_S[-1]))

    async def _open_neighbourhood(self, session: NetworkSession, registry: AdapterRegistry) -> PeerService:
        """Take our place among peers; a chain of our own has none."""
        around = self._around
        return PeerService(
            self._home,
            self._config,
            session,
            serving=around.serving,
            engine=around.engine,
            tokenizer=around.tokenizer,
            registry=registry,
        )

    async def _open_door(self, session: NetworkSession, registry: AdapterRegistry, nursery: trio.Nursery) -> None:
        """Answer verbs, and sell to whoever pays, where there is an engine."""
        around, seal = self._around, open_seal(self._home.network(session.network.network))
        self._questions = open_questions(
            self._home, session, registry=registry, tokenizer=lambda: around.tokenizer, unseal=seal.open
        )
        self._open_late = partial(self._open_counter, session, registry, seal, nursery)
        await self._open_if_can()

    async def _open_if_can(self) -> None:
        """Sell as soon as there is an engine to sell of: a node that is paused at its start has none yet."""
        if self._open_late and self._around.engine.profile is not None:
            open_it, self._open_late = self._open_late, None
            await open_it()

    async def _open_counter(
        self, session: NetworkSession, registry: AdapterRegistry, seal: Seal, nursery: trio.Nursery
    ) -> None:
        around, neighbours, profile = self._around, self._neighbourhood, self._around.engine.profile
        assert profile is not None, "the engine has said what it is"
        open_it = partial(
            open_counter,
            session,
            desk=around.serving,
            tokenizer=around.tokenizer,
            profile=profile,
            registry=registry,
            seal=seal.seal,
            config=self._config,
            nursery=nursery,
            terms_of=neighbours.terms_of if neighbours else lambda _: None,
        )
        self._counter = counter = await self._blocking(open_it)
        if num_signed := await self._blocking(counter.receipts.recover):
            around.tell(f"signed {num_signed} receipts that the last run had left unsigned")
        serve = self._streams.counted(counter.paid.serve)
        self._transport.handle(self._protocol, serve)
        if neighbours:
            neighbours.sell(counter.offer, serve)
        await nursery.start(self._transport.run)

    async def _step_until_cancelled(self, session: NetworkSession) -> None:
        pause_s = DEVELOPMENT_STEP_S if session.network.is_development else STEP_S
        is_idle = False
        while True:
            try:
                is_idle = await self._blocking(self._step, session)
                await self._open_if_can()
            except (ChainError, LedgerError) as error:
                log.warning("%s", error)
            await trio.sleep(pause_s)
            if is_idle:
                with trio.move_on_after(max(0.0, IDLE_STEP_S - pause_s)):
                    await self._asked.wait()
            self._asked = trio.Event()

    def _step(self, session: NetworkSession) -> bool:
        """Take money one step on; whether it waits for no block then."""
        session.step()
        if self._guest:
            self._guest.step()
        if self._questions:
            self._questions.lock()
        self._num_waiting = num_waiting(session)
        return session.is_idle and not self._guest

    async def _ask_neighbourhood(self, question: str, arguments: Mapping[str, Any]) -> Any:
        if self._neighbourhood is None:
            raise UnavailableError(
                "this node is alone on a chain of its own: `openledger-node network join FILE` puts it among others"
            )
        if question == "peers":
            return self._neighbourhood.peers()
        await trio.to_thread.run_sync(check_disk_room, self._home, self._config.limits.disk_bytes)
        return await self._neighbourhood.pull(str(arguments.get("adapter")))

    async def _open_guest(self) -> Guest:
        session, counter = self._session, self._counter
        assert session is not None
        if counter is None:
            why = "this node is paused since its start" if self._config.node.serve else "[node] serve is false"
            raise UnavailableError(f"{why}: it sells nothing, so nobody can pay it")
        async with self._opening:  # a payer has one tab a channel
            return self._guest or await self._make_guest(session, counter)

    async def _make_guest(self, session: NetworkSession, counter: SellerStack) -> Guest:
        if self._guest is None:
            around = self._around
            open_it = partial(open_guest, self._home, session, self._config, counter=counter)
            self._guest = await self._blocking(lambda: open_it(serving=around.serving, tokenizer=around.tokenizer))
        return self._guest

    async def _reach_node(self) -> trio.abc.Stream:
        return await open_transport(self._peers, GUEST).open_stream(NODE, self._protocol)

    @property
    def _protocol(self) -> str:
        """Streams hang on the network's id: an old one's is never served."""
        return f"/openledger/{self._place.network_id}/infer/1"

    def _close(self) -> None:
        if self._guest:
            self._guest.close()
        if self._session:
            self._session.close()

    # ---- helpers

    async def _wait_ready(self) -> None:
        if self._place.network is None:
            raise UnavailableError(
                f"this node is on no network: {self._place.why_none}"
                if self._place.why_none
                else "[node] network is local: this node serves this machine alone, and no money moves"
            )
        with trio.move_on_after(READY_TIMEOUT_S):
            await self._ready.wait()
            return
        if self._session is None:
            raise ChainError(self._why)
        raise UnavailableError("the node still prepares its money: try again in a moment")

    async def _blocking(self, call: Callable[..., Value], *values: object) -> Value:
        return await trio.to_thread.run_sync(call, *values, limiter=self._thread)
