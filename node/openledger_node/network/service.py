"""This node on one network: connects to the chain, settles step by step, and sells and buys answers.

All blocking work runs in one thread, one call at a time. While the chain is down the node still answers local
requests, and this service keeps trying to connect.
"""

import logging
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any, Final, TypeVar

import trio

from openledger_protocol.epoch import Windows, epoch_at
from openledger_protocol.errors import UnavailableError
from openledger_protocol.inference import InferenceRequest
from openledger_protocol.payments import Terms
from openledger_protocol.primitives import Wei

from ..accounting.queries import SLOW_QUESTIONS, MoneyQueries, open_queries
from ..accounting.votes_waiting import VotesWaiting
from ..accounting.waiting import num_waiting
from ..attribution.registry import AdapterRegistry
from ..chain.refusals import open_text
from ..config import Config, LimitsConfig, MarketConfig, PayerConfig
from ..contained import why_failed
from ..engine.budget import check_disk_room
from ..engine.engine import Engine
from ..engine.tokenizer import Tokenizer
from ..errors import ChainError, ConfigError, KeyFileError, LedgerError
from ..home import Home
from ..ledger.ledger import Ledger
from ..market.overview import MarketView
from ..network_defaults import defaults_of, keep_defaults, load_network_config, read_defaults
from ..network_file import Network
from ..p2p.transport import PeerId
from ..p2p.transports.memory import MemoryNetwork, open_transport
from ..serving.idle_count import IdleCount
from ..serving.replaying import EngineReplays
from ..serving.service import Serving
from ..settlement.open import HomeNetwork, connect, prepare_development
from ..settlement.session import NetworkSession, Waits
from .adapter_pull import ShowProgress, no_progress
from .buying import Buying
from .guest import GUEST, Guest, GuestTexts, bought_to_plain, open_guest
from .money_status import MoneyStatus
from .peers import DISK_QUESTIONS, NO_PEERS, PEER_QUESTIONS, PEERS, PeerService
from .selling import SellerStack, open_seller

RETRY_S: Final = (1.0, 2.0, 5.0, 10.0, 30.0)
"""Pauses between attempts to connect; the last one repeats."""

READY_TIMEOUT_S = 30.0
"""Longest wait of a command for a node that is still connecting."""

NODE: Final = PeerId("node")

PASSING: Final = (ChainError, LedgerError, OSError)
"""Failures after which the same step is tried again: the chain is away, or a disk is full."""

log = logging.getLogger(__name__)
Value = TypeVar("Value")

DEVELOPMENT_BUSY_S, BUSY_S = 0.5, 4.0
"""Seconds between looks while something waits; development chains mine a block each second."""

LOOKS: Final = 6
"""Looks, at least, in the time that a node has to answer to what others do on the chain."""


class NetworkService:
    """The network of this data directory while the daemon runs."""

    def __init__(
        self,
        home: Home,
        config: Config,
        home_network: HomeNetwork,
        *,
        serving: Serving,
        engine: Engine,
        tokenizer: Tokenizer,
        ledger: Ledger,
        tell: Callable[[str], None],
    ) -> None:
        self._home = home
        self.config = config  # with the prices and limits of now
        self._home_network = home_network
        self._serving = serving
        self._engine = engine
        self._tokenizer = tokenizer
        self._ledger = ledger
        self._tell = tell  # prints a line for the operator
        self._thread, self._checking = trio.CapacityLimiter(1), trio.CapacityLimiter(1)
        self._ready = trio.Event()
        self._why = home_network.why_none or "still connecting to the chain: try again in a moment"
        self._session: NetworkSession | None = None
        self._queries: MoneyQueries | None = None
        self._peers: PeerService | None = None  # None: a chain of this machine's own has no peers
        self._seller: SellerStack | None = None
        self._open_seller_late: Callable[[], Awaitable[None]] | None = None  # set until the engine has a profile
        self._guest: Guest | None = None
        self._opening_guest, self._guest_texts = trio.Lock(), GuestTexts(home)
        self._num_waiting = self._num_votes_waiting = 0  # as of the last step
        self._votes_waiting: VotesWaiting | None = None
        self._pace: ChainPace | None = None  # None: not connected yet
        self._streams = IdleCount()
        self._local_network = MemoryNetwork()  # the guest reaches the node over it
        self._local_transport = open_transport(self._local_network, NODE)

    async def run(self, nursery: trio.Nursery) -> None:
        """Run until cancelled; sold answers run in `nursery`, so that they outlive a failure here."""
        if self._home_network.network is None:
            return
        self._session = session = await self._connect(self._home_network.network)
        try:
            await self._prepare(session)
            registry = AdapterRegistry(self._home, session.deployment, session.ledger, EngineReplays(self._engine))
            if self._home_network.devnet is None:
                self._peers = PeerService(
                    self._home,
                    self.config,
                    session,
                    serving=self._serving,
                    engine=self._engine,
                    tokenizer=self._tokenizer,
                    registry=registry,
                )
                await nursery.start(self._peers.run)
            told_of = self._peers.generation_of if self._peers else lambda _: None
            self._queries = open_queries(
                self._home, session, registry=registry, tokenizer=lambda: self._tokenizer, generation_of=told_of
            )
            self._votes_waiting = VotesWaiting(session)
            self._open_seller_late = partial(self._open_seller, session, registry, nursery)
            await self._open_seller_if_ready()
            self._ready.set()
            await self._step_until_cancelled(session)
        finally:
            with trio.CancelScope(shield=True):
                await self._blocking(self._close)

    def status(self) -> MoneyStatus:
        """The state of the money, without a question to the chain."""
        session, peers = self._session, self._peers
        if self._home_network.network is None:
            return MoneyStatus(chain=None, why=self._home_network.why_none, address=None)
        if session is None:
            return MoneyStatus(chain="down", why=self._why, address=None)
        return MoneyStatus(
            chain=session.state.health,
            why=session.state.why,
            address=session.accounts.wallet,
            why_not_claimed=session.settlement.claimer.why_not,
            alerts=session.alerts,
            alert_counts=session.alert_counts,
            peer_id=peers.peer_id if peers else None,
            num_peers=peers.num_peers if peers else 0,
            num_waiting=self._num_waiting,
            num_votes_waiting=self._num_votes_waiting,
            head=session.watcher.head,
        )

    def market(self) -> Buying | None:
        """The market that requests can buy from; None until this node has joined its peers."""
        return self._peers.market if self._peers and self._ready.is_set() else None

    def view(self) -> MarketView | None:
        """An overview of the market; None for a node without peers."""
        return self._peers.view() if self._peers else None

    def reprice(self, market: MarketConfig) -> None:
        """Sell at other prices from now on; bids that were already made keep theirs."""
        self.config = replace(self.config, market=market)
        terms = Terms(price_in_wei=Wei(market.price_in_wei), price_out_wei=Wei(market.price_out_wei))
        if seller := self._seller:
            self._seller = replace(seller, offer=replace(seller.offer, terms=terms))
            seller.paid.reprice(terms)
            if self._guest:
                self._guest.reprice(self._seller)
        if self._peers:
            self._peers.reprice(self._seller.offer if self._seller else None, market)

    def cap(self, payer: PayerConfig, limits: LimitsConfig) -> None:
        """Apply other limits of spending and disk from now on."""
        self.config = replace(self.config, payer=payer, limits=limits)
        if self._peers:
            self._peers.market.spending_limit.cap(
                request_max_wei=Wei(payer.request_max_wei), day_max_wei=Wei(payer.day_max_wei)
            )

    async def spent_today_wei(self) -> int | None:
        """The cost of this UTC day's requests; None for a node that buys nothing."""
        return await self._peers.market.spending_limit.spent_today() if self._peers else None

    async def ask(self, question: str, arguments: Mapping[str, Any], show: ShowProgress = no_progress) -> Any:
        """Answer one question of a command; `show` gets the progress of a pull.

        Raises:
            NodeError: the operator must act.
            ProtocolError: the question is refused.
        """
        has_peers = self._home_network.network is not None and self._home_network.devnet is None
        if question == PEERS and not has_peers:
            return NO_PEERS
        await self._wait_ready()
        if question in PEER_QUESTIONS:
            if self._peers is None:
                raise UnavailableError(
                    "this node is on a chain of its own and has no peers: "
                    "`openledger-node network join FILE` connects it to others"
                )
            if question in DISK_QUESTIONS:
                await trio.to_thread.run_sync(check_disk_room, self._home, self.config.limits.disk_bytes)
            return await self._peers.answer(question, arguments, show)
        assert self._queries is not None
        try:
            thread = self._checking if question in SLOW_QUESTIONS else self._thread
            return await trio.to_thread.run_sync(self._queries.answer, question, arguments, limiter=thread)
        finally:
            if self._pace:
                self._pace.hurry()  # what it said may be old

    async def ask_as_guest(self, request: InferenceRequest, show: Callable[[str], Awaitable[None]]) -> dict[str, Any]:
        """Let the guest buy one answer; `show` gets its text piece by piece. Returns the receipt.

        Raises:
            ProtocolError: the request is refused.
            ChainError: the guest has no money and can't get any.
        """
        await self._wait_ready()
        guest = await self._ensure_guest()
        return bought_to_plain(await guest.ask(request, self._reach_node, show))

    async def wait_idle(self) -> None:
        """Tell the peers that this node stops, and return when no paid stream is open."""
        if self._peers:
            await self._peers.say_goodbye()
        await self._streams.wait_idle()

    # ---- the steps of `run`

    async def _connect(self, network: Network) -> NetworkSession:
        pauses = iter(RETRY_S)
        while True:
            open_session = partial(connect, self._home, self.config, network, self._ledger)
            try:
                return await trio.to_thread.run_sync(open_session, abandon_on_cancel=True)
            except (KeyFileError, *PASSING) as failure:
                why = str(why_failed(failure))
                if why != self._why:
                    self._tell(f"no money moves: {why}")
                self._why = why
                await trio.sleep(next(pauses, RETRY_S[-1]))

    async def _prepare(self, session: NetworkSession) -> None:
        """Announce the wallet; on a development network, fund and bond the node as well."""
        self._tell(f"  money     {session.network.network}, wallet {session.accounts.wallet}")
        if not session.network.is_development:
            return
        prepare = partial(
            prepare_development, session, is_bonding=self.config.node.serve and self.config.node.auto_bond
        )
        pauses = iter(RETRY_S)
        while True:
            try:
                for line in await self._blocking(prepare):
                    self._tell(f"            on its way: {line}")
                return
            except PASSING as error:
                log.warning("%s", why_failed(error))
                with suppress(*PASSING):
                    await self._blocking(session.step)  # updates the health that `status` shows
                await trio.sleep(next(pauses, RETRY_S[-1]))

    async def _open_seller_if_ready(self) -> None:
        """Start to sell as soon as the engine has a profile: a node that starts paused has none yet."""
        if self._open_seller_late is None or self._engine.profile is None:
            return
        try:
            await self._open_seller_late()
        except PASSING as error:
            log.warning("nothing can be sold yet: %s", why_failed(error))
        else:
            self._open_seller_late = None

    async def _open_seller(self, session: NetworkSession, registry: AdapterRegistry, nursery: trio.Nursery) -> None:
        peers, profile = self._peers, self._engine.profile
        assert profile is not None, "the caller has checked it"
        open_it = partial(
            open_seller,
            session,
            serving=self._serving,
            tokenizer=self._tokenizer,
            profile=profile,
            registry=registry,
            config=self.config,
            nursery=nursery,
            terms_of=peers.terms_of if peers else lambda _, __: None,
        )
        self._seller = seller = await self._blocking(open_it)
        if num_signed := await self._blocking(seller.receipts.recover):
            self._tell(f"signed {num_signed} receipts that the last run had left unsigned")

        async def serve(peer: PeerId, stream: trio.abc.Stream) -> None:
            if self._pace:
                self._pace.hurry()  # its channel may be new
            with self._streams:
                await seller.paid.serve(peer, stream)

        self._local_transport.handle(self._protocol, serve)
        if peers:
            peers.sell(seller.offer, serve, paid=seller.paid)
        await nursery.start(self._local_transport.run)

    async def _step_until_cancelled(self, session: NetworkSession) -> None:
        defaults = DefaultsFollower(self._home, session, self._tell)
        self._pace = pace = ChainPace(
            session.windows,
            is_development=session.network.is_development,
            idle_poll_s=self.config.chain.idle_poll_s,
        )
        session.on_sent = pace.hurry
        waits_for: Waits = "block"
        why_not = ""
        while True:
            try:
                waits_for = await self._blocking(self._step, session)
                if market := await self._blocking(defaults.step, self.config.market):
                    self.reprice(market)
                await self._open_seller_if_ready()
                why_not = ""
            except PASSING as error:
                if (why := str(why_failed(error))) != why_not:  # said once, and not at each step
                    log.warning("%s", why)
                why_not = why
            await pace.wait("block" if why_not or self._streams.num_live else waits_for)

    def _step(self, session: NetworkSession) -> Waits:
        """Take the money one step on; return what the node then waits for."""
        session.step()
        if self._guest:
            self._guest.step()
        else:
            self._guest_texts.step(session.network, setting_s=session.keep_texts_s)
        if self._queries:
            self._queries.lock()
        self._num_waiting = num_waiting(session)
        if self._votes_waiting:
            self._num_votes_waiting = self._votes_waiting.count()
        return "block" if self._guest else session.waits_for

    def _close(self) -> None:
        if self._guest:
            self._guest.close()
        if self._session:
            self._session.close()

    async def _ensure_guest(self) -> Guest:
        session, seller = self._session, self._seller
        assert session is not None
        if seller is None:
            why = (
                "this node has been paused since its start, so its engine is not loaded"
                if self.config.node.serve
                else "[node] serve is false"
            )
            raise UnavailableError(f"{why}: it sells nothing, so nobody can pay it")
        async with self._opening_guest:  # two guests would count twice on the same channel
            if self._guest is None:
                open_it = partial(open_guest, self._home, session, self.config, serving=self._serving)
                self._guest = await self._blocking(partial(open_it, seller=seller, tokenizer=self._tokenizer))
            return self._guest

    async def _reach_node(self) -> trio.abc.Stream:
        return await open_transport(self._local_network, GUEST).open_stream(NODE, self._protocol)

    @property
    def _protocol(self) -> str:
        """The stream protocol, which names the network so that a stream of an old network is never served."""
        return f"/openledger/{self._home_network.network_id}/infer/1"

    async def _wait_ready(self) -> None:
        if self._home_network.network is None:
            raise UnavailableError(
                f"this node is on no network: {self._home_network.why_none}"
                if self._home_network.why_none
                else "[node] network is local: this node serves this machine alone, and no money moves"
            )
        with trio.move_on_after(READY_TIMEOUT_S):
            await self._ready.wait()
            return
        if self._session is None:
            raise ChainError(self._why)
        raise UnavailableError("the node is still preparing its money: try again in a moment")

    async def _blocking(self, call: Callable[..., Value], *values: object) -> Value:
        return await trio.to_thread.run_sync(call, *values, limiter=self._thread)


class ChainPace:
    """Waits between two looks at the chain: short while something of this node's own waits there, and long otherwise.

    Public endpoints ration their answers, and most nodes wait for nothing most of the time. There are three paces:

    - busy: a transaction or claim of the node is under way, a paid answer runs, or the chain does not answer;
    - earned: payers may withdraw what the node has earned and not claimed. It looks a few times in the shortest time
      that a withdrawal takes, so that it can claim before the end;
    - idle: values and claims of others may change from epoch to epoch. It looks a few times in one, and no less often
      than the operator wishes.

    No pause is shorter than the busy one, whatever the deadlines of a network are. It is made and waited for under
    trio. Any thread may hurry it, so that a node that sends something, or is asked or paid for something, looks soon.
    """

    def __init__(self, windows: Windows, *, is_development: bool, idle_poll_s: float) -> None:
        busy_s = DEVELOPMENT_BUSY_S if is_development else BUSY_S
        idle_s = max(busy_s, min(idle_poll_s, windows.epoch_s / LOOKS))
        self._busy_s = busy_s
        self._pauses_s: dict[Waits, float] = {
            "block": busy_s,
            "payers": max(busy_s, min(idle_s, windows.withdraw_delay_min_s / LOOKS)),
            "nothing": idle_s,
        }
        self._is_wanted = trio.Event()
        self._token = trio.lowlevel.current_trio_token()

    def hurry(self) -> None:
        """Look as soon as a busy node would: something was sent, or somebody pays."""
        with suppress(trio.RunFinishedError):  # a node that has stopped looks no more
            self._token.run_sync_soon(self._want, idempotent=True)

    async def wait(self, waits_for: Waits) -> None:
        """Wait for the next look, which comes early if the node is hurried."""
        await trio.sleep(self._busy_s)
        with trio.move_on_after(self._pauses_s[waits_for] - self._busy_s):
            await self._is_wanted.wait()
        self._is_wanted = trio.Event()

    def _want(self) -> None:
        self._is_wanted.set()


class DefaultsFollower:
    """Keeps the network's defaults for the next start, and tells when they change this node's prices now."""

    def __init__(self, home: Home, session: NetworkSession, tell: Callable[[str], None]) -> None:
        self._home = home
        self._session = session
        self._tell = tell  # prints a line for the operator
        self._epoch: int | None = None
        self._doubts: tuple[str, ...] = ()

    def step(self, market: MarketConfig) -> MarketConfig | None:
        """Read the values of a new epoch; return other prices to sell at, or None. A silent chain is asked again."""
        try:
            return self._step(market)
        except ChainError:
            return None

    def _step(self, market: MarketConfig) -> MarketConfig | None:
        head = self._session.watcher.head or self._session.client.head()
        epoch = epoch_at(head.timestamp_s, self._session.windows)
        if epoch == self._epoch:
            return None
        found = defaults_of(self._session.deployment.params(epoch), epoch)
        self._epoch = epoch
        for doubt in set(found.doubts) - set(self._doubts):
            log.warning("%s", doubt)
        self._doubts = found.doubts
        network = self._session.network.network
        before = read_defaults(self._home, network)
        if before is None or before.values != found.values:
            keep_defaults(self._home, network, found)
        return self._changed_prices(market)

    def _changed_prices(self, market: MarketConfig) -> MarketConfig | None:
        try:
            wanted = load_network_config(self._home)[0].market
        except ConfigError as error:
            log.warning("%s", error)  # node.toml is being edited: the prices stay as they are
            return None
        if (wanted.price_in_wei, wanted.price_out_wei) == (market.price_in_wei, market.price_out_wei):
            return None
        self._tell(f"            {_price_text(wanted)}")
        return replace(market, price_in_wei=wanted.price_in_wei, price_out_wei=wanted.price_out_wei)


def _price_text(market: MarketConfig) -> str:
    """Say that the prices have followed the network's."""
    return (
        f"prices follow the network's guide price: {open_text(market.price_in_wei)} for 1,000 prompt tokens, "
        f"{open_text(market.price_out_wei)} for 1,000 answer tokens; `openledger-node price set` chooses others"
    )
