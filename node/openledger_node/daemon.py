"""The composition root: builds everything, opens the one nursery, and is the only file that knows all."""

import logging
import shutil
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import trio

from .api.app import build_api
from .api.events import EventStream, add_events, ask_app
from .api.factory import add_factory
from .api.metrics import Metering
from .api.operator import add_shelf, build_operator
from .api.page import Page, Sessions
from .api.server import bind_tcp, bind_unix, hang_up, serve_app, url_of
from .api.traffic import Traffic
from .api_key import api_key_file, load_api_key
from .config import Config, LimitsConfig
from .engine.backend import BackendSettings
from .engine.budget import base_bytes_on_disk, fit
from .engine.engine import Engine, EngineOptions, NoEngine
from .engine.tokenizer import open_tokenizer
from .factory.forecast import TrainingRoom
from .factory.service import TrainingService
from .home import Home, claim_home
from .ledger.ledger import Ledger, open_ledger
from .market.router import Router
from .models.bases import Base, find_base
from .models.pins import pinned_sources
from .network.service import NetworkService, NodeParts
from .operator.adapter_library import LibraryService
from .operator.service import Node, open_owner
from .serving.pinning import AdapterPins
from .serving.service import Serving
from .settlement.open import HomeNetwork, open_place

CUT_OFF_GRACE_S = 5.0
"""For the last words of answers that were cut off: the engine ends its step first."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Listening:
    """What a start reports once the node would answer."""

    url: str
    page: str  # a link that opens it, once
    key_file: Path
    base: Base
    engine: Engine
    num_adapters: int
    num_recovered: int  # jobs that a daemon before this one left unfinished


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorOutput:
    """How a daemon speaks to its operator."""

    announce: Callable[[Listening], None]  # once, when the node would answer
    tell: Callable[[str], None]  # a line, whenever there is something to say


async def run_daemon(home: Home, config: Config, voice: OperatorOutput) -> None:
    """Run a node until it is told to stop: a signal or `openledger-node stop` drains it, a second signal ends it.

    Raises:
        NodeError: it can't start; the message says what to do.
    """
    with claim_home(home), open_place(home, config) as place:
        ledger = open_ledger(home.ledger(place.network_id))
        try:
            await Daemon(home, config, place, ledger, voice).run()
        finally:
            ledger.close()
            home.socket.unlink(missing_ok=True)


class Daemon:
    """All desks and machines of one node."""

    def __init__(self, home: Home, config: Config, place: HomeNetwork, ledger: Ledger, voice: OperatorOutput) -> None:
        self._home = home
        self._config = config
        self._place = place
        self._voice = voice
        self._base = find_base(home, config.inference.base)
        self._ledger = ledger
        options = engine_options(home, config, self._base)
        self._engine = Engine(options) if config.node.serve else NoEngine(options)
        tokenizer = open_tokenizer(self._base.folder)
        self._desk = Serving(
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
        around = NodeParts(
            serving=self._desk, engine=self._engine, tokenizer=tokenizer, ledger=ledger, tell=voice.tell
        )
        self._money = NetworkService(home, config, place, around)
        self._door = Router(self._desk, ledger, self._money.market, is_serving=config.node.serve)
        self._key = load_api_key(home)
        self._listener = bind_tcp(config.api.host, config.api.port)
        self._address, self._url = self._listener.getsockname(), url_of(self._listener)
        self._page = Page(Sessions(port=self._address[1], now_s=time.monotonic))
        self._stop_asked = trio.Event()
        self._drained = trio.Event()
        node = Node(
            home=home,
            config=config,
            place=place,
            url=self._url,
            ledger=ledger,
            engine=self._engine,
            serving=self._desk,
            money=self._money,
            door=self._door,
            pins=self._pins,
            refit=self._refit,
        )
        self._owner = open_owner(node)
        limits = self._owner.limits
        room = TrainingRoom(lambda: limits.limits, device=config.inference.device, serving_bytes=limits.held_bytes)
        self._factory = TrainingService(home, config, room)
        self._traffic = Traffic()
        self._metering = Metering(node, self._traffic)

    async def run(self) -> None:
        """Start, announce, serve, drain."""
        num_recovered = self._ledger.jobs.recover()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._listen_to_signals, nursery.cancel_scope)
            async with trio.open_nursery() as servers:
                operator = build_operator(
                    self._owner, self._money, nursery, pins=self._pins, stop=self._stop_asked.set
                )
                add_shelf(operator, LibraryService(self._home, self._base, self._pins))
                add_factory(operator, self._factory, self._money)
                events = EventStream(ask_app(operator))
                add_events(operator, events)
                self._page.add_links(operator, self._url)
                servers.start_soon(events.run, self._drained.wait)
                servers.start_soon(serve_app, operator, bind_unix(self._home.socket), self._drained.wait)
                api = build_api(
                    self._door,
                    nursery,
                    key=self._key,
                    body_bytes_max=self._config.api.body_bytes_max,
                    page=self._page,
                    operator=operator,
                    metrics=self._metering.text,
                )
                api = self._traffic.around(api)
                servers.start_soon(serve_app, api, self._listener, self._drained.wait)
                self._owner.pauses.start()
                await nursery.start(self._engine.run)
                nursery.start_soon(self._owner.pauses.run)
                self._voice.announce(self._listening(num_recovered))
                nursery.start_soon(self._money.run, nursery)
                await trio.to_thread.run_sync(self._factory.go_on)
                await self._stop_asked.wait()
                await trio.to_thread.run_sync(self._factory.close, abandon_on_cancel=True)
                await self._drain()  # both servers then end by themselves
            nursery.cancel_scope.cancel()

    @property
    def _num_live(self) -> int:
        return self._desk.num_live + self._door.num_live

    def _refit(self, limits: LimitsConfig) -> None:
        """Give the engine other budgets, as soon as nothing runs on it."""
        self._engine.renew(engine_options(self._home, replace(self._config, limits=limits), self._base))

    def _listening(self, num_recovered: int) -> Listening:
        return Listening(
            url=self._url,
            page=self._page.draw_link(self._url),
            key_file=api_key_file(self._home),
            base=self._base,
            engine=self._engine,
            num_adapters=len(self._desk.adapters()),
            num_recovered=num_recovered,
        )

    async def _listen_to_signals(self, scope: trio.CancelScope) -> None:
        with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM, signal.SIGHUP) as signals:
            async for _ in signals:
                if self._stop_asked.is_set() or self._owner.statuses.is_starting:
                    scope.cancel()  # asked twice, or nothing runs yet that could be finished
                    hang_up(self._address)
                    return
                self._stop_asked.set()

    async def _drain(self) -> None:
        """Let running answers end, for as long as the operator grants; then those that are left are cut off."""
        self._desk.drain()
        if self._num_live:
            log.warning("stopping; answers that still run: %d (Ctrl-C again cuts them off)", self._num_live)
        with trio.move_on_after(self._config.node.drain_grace_s):
            await self._desk.wait_idle()
            await self._door.wait_idle()
        self._desk.cut_off()
        self._door.cut_off()
        with trio.move_on_after(CUT_OFF_GRACE_S):
            await self._desk.wait_idle()
            await self._door.wait_idle()
            await self._money.wait_idle()  # a receipt is signed, and its payer countersigns
        self._drained.set()


def engine_options(home: Home, config: Config, base: Base) -> EngineOptions:
    """The engine that the settings describe, within the owner's limits.

    Raises:
        ConfigError: the base does not fit into them.
    """
    inference = config.inference
    settings, adapter_cache_bytes = fit(
        _backend_settings(home, config, base),
        inference.adapter_cache_bytes,
        cap_bytes=config.limits.vram_bytes if is_on_gpu(config) else config.limits.ram_bytes,
        base_bytes=base_bytes_on_disk(base.folder),
    )
    return EngineOptions(
        backend=inference.backend,
        settings=settings,
        prefill_tokens_max=inference.prefill_tokens_max,
        adapter_cache_bytes=adapter_cache_bytes,
        stall_timeout_s=inference.stall_timeout_s,
        wait_policy=inference.wait_policy,
        log_file=home.logs / "engine.log",
        load_timeout_s=inference.load_timeout_s,
        memory_max_bytes=inference.memory_max_bytes,
        adapter_ram_bytes=min(inference.adapter_ram_bytes, config.limits.ram_bytes or inference.adapter_ram_bytes),
        base_digest=base.digest,
        pinned=pinned_sources(home, base),
    )


def _backend_settings(home: Home, config: Config, base: Base) -> BackendSettings:
    inference = config.inference
    return BackendSettings(
        base_folder=str(base.folder) if base.folder else None,
        device=inference.device,
        dtype=inference.dtype,
        threads=inference.threads,
        batch_max=inference.batch_max,
        context_max=inference.context_max,
        kv_cache_bytes=inference.kv_cache_bytes,
        quantisation=inference.quantisation,
        acceleration=inference.acceleration,
        merge_after_steps=inference.merge_after_steps,
        cache_folder=str(home.cache),
        server_url=inference.server_url or None,
        server_command=inference.server_command,
    )


def is_on_gpu(config: Config) -> bool:
    """Whether the engine will take a GPU's memory, as far as can be seen without loading torch."""
    device = config.inference.device
    return device in ("cuda", "mps") or (device == "auto" and shutil.which("nvidia-smi") is not None)
