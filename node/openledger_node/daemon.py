"""The composition root: builds every part of the node and opens the one nursery that they run in."""

import logging
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import trio

from .access.keys import ApiKeyRing
from .access.listening import PLAIN, public_addresses
from .api.app import build_api
from .api.bases import add_bases
from .api.callers import NamedCallers
from .api.datanets import add_datanets
from .api.events import EventStream, add_events, ask_app
from .api.factory import add_factory
from .api.guard import App, Guard
from .api.metrics import Metering
from .api.operator import add_library, build_operator
from .api.page import Page, Sessions
from .api.public import PublicGuard
from .api.pulls import add_pulls
from .api.server import bind_tcp, bind_unix, hang_up, serve_app, url_of
from .api.traffic import Traffic
from .api_key import api_key_file, load_api_key
from .chain.dev.launch import BegunDevnet
from .chain.dev.supervision import keep_running
from .config import Config, LimitsConfig
from .engine.absent import NoEngine
from .engine.child import StartChild, start_child
from .engine.engine import Engine
from .engine.load_steps import LoadStep
from .engine.options import engine_options
from .engine.tokenizer import open_tokenizer
from .errors import ConfigError
from .factory.forecast import TrainingRoom
from .factory.service import TrainingService
from .home import Home
from .ledger.ledger import Ledger, open_ledger
from .listeners import read_origins
from .market.router import Router
from .models.adapter_hub import discard_stale_partials
from .models.bases import Base, find_base
from .network.adapter_pull import ShowProgress
from .network.peers import PULL
from .network.service import NetworkService
from .node_events import EventKind, note_event
from .operator.adapter_library import LibraryService
from .operator.event_watch import EventWatch
from .operator.pulls import adapter_pulls, base_pulls
from .operator.service import open_operator
from .operator.status import NodeParts
from .serving.pinning import AdapterPins
from .serving.service import Serving
from .settlement.open import HomeNetwork, open_home_network

CUT_OFF_GRACE_S = 5.0
"""Time for answers that were cut off to end: the engine finishes its step first."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Listening:
    """The report of a start, once the node accepts requests."""

    url: str
    page: str  # a link that opens the page once
    key_file: Path
    base: Base
    engine: Engine
    is_selling: bool  # False for a node that only buys
    num_adapters: int
    num_recovered: int  # jobs that the previous daemon left unfinished


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorOutput:
    """The functions that print what a daemon tells its operator."""

    announce: Callable[[Listening], None]  # once, when the node accepts requests
    show: Callable[[LoadStep], None]  # each step of loading the base, also after the start
    tell: Callable[[str], None]  # one line at any time


async def run_daemon(
    home: Home,
    config: Config,
    output: OperatorOutput,
    start_engine: StartChild = start_child,
    begun_chain: BegunDevnet | None = None,
) -> int | None:
    """Run a node until it is told to stop; `start_engine` starts each process of the engine.

    `begun_chain` is the process of the data directory's own chain, if it was started before.
    A signal or `openledger-node stop` drains it, and a second signal stops it at once. The caller holds the lock of
    the data directory.

    Returns:
        The port on which the node is to be started again, to serve another base; None if it is to stay stopped.

    Raises:
        NodeError: the node can't start; the message says what to do.
    """
    with open_home_network(home, config, begun_chain) as home_network:
        ledger = open_ledger(home.ledger(home_network.network_id))
        try:
            with open_listeners(home, config) as listeners:
                daemon = Daemon(home, config, home_network, ledger, output, listeners, start_engine)
                await daemon.run()
                return daemon.port_to_start_on
        finally:
            ledger.close()
            home.socket.unlink(missing_ok=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Listeners:
    """The sockets of the API, and the keys of callers from other machines."""

    ring: ApiKeyRing
    local: socket.socket
    public: tuple[socket.socket, ...]  # for callers from other machines


@contextmanager
def open_listeners(home: Home, config: Config) -> Iterator[Listeners]:
    """Listen for callers.

    Raises:
        ConfigError: an address can't be listened on, or the file of keys is damaged.
    """
    ring = ApiKeyRing(home)
    ring.all()  # a damaged file of keys ends the start, and not the first request
    with ExitStack() as listening:
        local = listening.enter_context(bind_tcp(config.api.host, config.api.port))
        fix = "stop what uses it, or change [api] listen to an address of this machine"
        public = [
            listening.enter_context(bind_tcp(each.host, each.port, fix=fix))
            for each in public_addresses(config.api, ring)
        ]
        for each in public:
            log.warning("the API also listens on %s, and %s", url_of(each), PLAIN)
        yield Listeners(ring=ring, local=local, public=tuple(public))


class Daemon:
    """All services of one node that serves one base."""

    def __init__(
        self,
        home: Home,
        config: Config,
        home_network: HomeNetwork,
        ledger: Ledger,
        output: OperatorOutput,
        listeners: Listeners,
        start_engine: StartChild,
    ) -> None:
        self._home, self._config = home, config
        self._output = output
        self._devnet = home_network.devnet
        self._base = find_base(home, config.inference.base)
        self._ledger = ledger
        options = engine_options(home, config, self._base)
        self._engine = (
            Engine(options, start=start_engine, told=output.show) if config.node.serve else NoEngine(options)
        )
        tokenizer = open_tokenizer(self._base.folder)
        self._serving = Serving(
            home=home,
            base=self._base,
            engine=self._engine,
            tokenizer=tokenizer,
            ledger=ledger,
            queue_max=config.inference.queue_max,
            now_ns=time.time_ns,
        )
        self._pins = AdapterPins(
            home,
            self._base,
            self._engine,
            dtype=config.inference.dtype,
            budget_bytes=config.inference.adapter_cache_bytes,
        )
        self._network = NetworkService(
            home,
            config,
            home_network,
            serving=self._serving,
            engine=self._engine,
            tokenizer=tokenizer,
            ledger=ledger,
            tell=output.tell,
        )
        self._router = Router(self._serving, ledger, self._network.market, is_serving=config.node.serve)
        self._key, self._ring = load_api_key(home), listeners.ring
        self._listener, self._public = listeners.local, listeners.public
        self._address, self._url = self._listener.getsockname(), url_of(self._listener)
        self._page = Page(Sessions(port=self._address[1], now_s=time.monotonic))
        self._page.sessions.take_up(home.page_sessions)
        self._stop_requested, self._drained = trio.Event(), trio.Event()
        self._starts_again = False
        self._operator = open_operator(self._parts(home_network), self._refit, EventWatch(home.root))
        limits = self._operator.limits
        room = TrainingRoom(lambda: limits.limits, device=config.inference.device, serving_bytes=limits.held_bytes)
        self._base_pulls = base_pulls(home)
        self._adapter_pulls = adapter_pulls(home, self._base, self._pull_from_peers)
        self._factory = TrainingService(home, config, room, yields=True)
        self._traffic = Traffic()
        self._metering = Metering(self._operator.parts, self._traffic)

    @property
    def port_to_start_on(self) -> int | None:
        """The port on which the node is to be started again; None if it is to stay stopped."""
        return self._address[1] if self._starts_again else None

    def _config_now(self) -> Config:
        """The settings, with the prices and limits that were changed since the start."""
        now = self._network.config
        return replace(self._config, market=now.market, limits=now.limits, payer=now.payer)

    def _parts(self, home_network: HomeNetwork) -> NodeParts:
        return NodeParts(
            home=self._home,
            config=self._config,
            home_network=home_network,
            url=self._url,
            ledger=self._ledger,
            engine=self._engine,
            serving=self._serving,
            network=self._network,
            router=self._router,
            pins=self._pins,
        )

    async def run(self) -> None:
        """Start, announce, serve, drain."""
        num_recovered = self._ledger.jobs.recover()
        await trio.to_thread.run_sync(partial(discard_stale_partials, self._home, now_s=time.time()))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._listen_to_signals, nursery.cancel_scope)
            async with trio.open_nursery() as servers:
                control = build_operator(self._operator, self._network, nursery, pins=self._pins, stop=self._stop)
                add_library(control, LibraryService(self._home, self._base, self._pins))
                add_pulls(control, "adapters", self._adapter_pulls)
                add_bases(
                    control,
                    self._home,
                    self._operator,
                    self._base_pulls,
                    config_now=self._config_now,
                    start_again=self._start_again,
                )
                add_factory(control, self._factory, self._network)
                add_datanets(control, self._home, self._network)
                events = EventStream(ask_app(control))
                add_events(control, events)
                self._page.add_links(control, self._url)
                servers.start_soon(events.run, self._drained.wait)
                servers.start_soon(serve_app, control, bind_unix(self._home.socket), self._drained.wait)
                callers = NamedCallers(self._ring)
                guarded = build_api(
                    self._router,
                    nursery,
                    key=self._key,
                    body_bytes_max=self._config.api.body_bytes_max,
                    page=self._page,
                    operator=control,
                    metrics=self._metering.text,
                    load_step=self._load_step,
                    callers=callers,
                )
                api = self._traffic.around(guarded)
                servers.start_soon(serve_app, api, self._listener.dup(), self._drained.wait)
                for listener in self._public:
                    servers.start_soon(
                        serve_app, self._public_api(guarded, callers), listener.dup(), self._drained.wait
                    )
                self._operator.pauses.start()
                await nursery.start(self._engine.run)
                nursery.start_soon(self._operator.run)
                self._output.announce(self._listening(num_recovered))
                nursery.start_soon(self._network.run, nursery)
                nursery.start_soon(self._base_pulls.run)
                nursery.start_soon(self._adapter_pulls.run)
                if self._devnet:
                    nursery.start_soon(keep_running, self._devnet)
                await trio.to_thread.run_sync(self._factory.go_on)
                try:
                    await self._stop_requested.wait()
                finally:
                    self._serving.drain()  # what waits for the ledger leaves it to the next start
                await trio.to_thread.run_sync(self._factory.close, abandon_on_cancel=True)
                await self._drain()  # then both servers end
            nursery.cancel_scope.cancel()
        if self._starts_again:
            self._page.sessions.keep(self._home.page_sessions)

    def _stop(self) -> None:
        """Stop, also if the node was about to start again."""
        if not self._stop_requested.is_set() or self._starts_again:
            note_event(EventKind.STOPPING, "the node stops; running answers finish first")
        self._starts_again = False
        self._stop_requested.set()

    def _start_again(self) -> None:
        """Stop, and start again with the settings in node.toml; the page's browsers stay signed in.

        Raises:
            ConfigError: the node was stopped meanwhile.
        """
        if self._stop_requested.is_set():
            raise ConfigError("the node is stopping: its next start serves the base")
        self._output.tell("starting again to serve another base; running answers finish first")
        self._starts_again = True
        self._stop_requested.set()

    def _public_api(self, guarded: Guard, callers: NamedCallers) -> App:
        """The API for callers from other machines."""
        api = self._config.api
        public = PublicGuard(
            guarded.routes,
            callers=callers,
            origins=read_origins(api.origins),
            body_bytes_max=api.body_bytes_max,
            now_s=time.monotonic,
        )
        return self._traffic.around(public)

    async def _pull_from_peers(self, name: str, show: ShowProgress) -> dict[str, Any]:
        found: dict[str, Any] = await self._network.ask(PULL, {"adapter": name}, show)
        return found

    def _load_step(self) -> str | None:
        step = self._engine.load_step
        return step.words if step else None

    def _refit(self, limits: LimitsConfig) -> None:
        """Give the engine other budgets as soon as nothing runs on it."""
        config, held_bytes = replace(self._config, limits=limits), self._operator.limits.held_on_card_bytes()
        self._engine.renew(engine_options(self._home, config, self._base, held_bytes=held_bytes))

    def _listening(self, num_recovered: int) -> Listening:
        return Listening(
            url=self._url,
            page=self._page.draw_link(self._url),
            key_file=api_key_file(self._home),
            base=self._base,
            engine=self._engine,
            is_selling=self._config.node.serve,
            num_adapters=len(self._serving.adapters()),
            num_recovered=num_recovered,
        )

    async def _listen_to_signals(self, scope: trio.CancelScope) -> None:
        with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM, signal.SIGHUP) as signals:
            async for _ in signals:
                is_second = self._stop_requested.is_set() and not self._starts_again
                self._stop()
                if is_second or self._operator.status.is_starting:
                    scope.cancel()  # nothing runs yet that could finish, or nobody wants to wait for it
                    for address in (self._address, *(each.getsockname() for each in self._public)):
                        hang_up(address)
                    return

    async def _drain(self) -> None:
        """Let running answers end for up to `drain_grace_s`, then cut off those that are left."""
        self._serving.drain()
        if num_live := self._serving.num_live + self._router.num_live:
            log.warning("stopping; answers that still run: %d (Ctrl-C again cuts them off)", num_live)
        with trio.move_on_after(self._config.node.drain_grace_s):
            await self._serving.wait_idle()
            await self._router.wait_idle()
        self._serving.cut_off()
        self._router.cut_off()
        with trio.move_on_after(CUT_OFF_GRACE_S):
            await self._serving.wait_idle()
        if self._serving.num_live:
            self._serving.give_up()
        with trio.move_on_after(CUT_OFF_GRACE_S):
            await self._serving.wait_idle()
            await self._router.wait_idle()
            await self._network.wait_idle()  # receipts are signed, and their payers countersign
        self._drained.set()
