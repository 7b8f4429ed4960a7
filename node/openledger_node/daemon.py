"""The composition root: builds everything, opens the one nursery, and is the only file that knows all."""

import logging
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import trio

from . import __version__
from .api.app import build_api
from .api.operator import build_operator
from .api.server import bind_tcp, bind_unix, hang_up, serve_app, url_of
from .config import Config
from .economy.desk import MoneyDesk, MoneyStatus, Surroundings
from .economy.door import NetworkDoor
from .economy.opening import Place, open_place
from .home import Home, claim_home, is_training
from .inference.backend import BackendSettings
from .inference.bases import Base, find_base
from .inference.engine import Engine, EngineOptions
from .inference.no_engine import NoEngine
from .inference.tokenizer import open_tokenizer
from .keys import api_key_file, load_api_key
from .ledger.ledger import Ledger, open_ledger
from .serving.service import ServingDesk

CUT_OFF_GRACE_S = 5.0
"""For the last words of answers that were cut off: the engine ends its step first."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Listening:
    """What a start reports once the node would answer."""

    url: str
    key_file: Path
    base: Base
    engine: Engine
    num_adapters: int
    num_recovered: int  # jobs that a daemon before this one left unfinished


@dataclass(frozen=True, slots=True, kw_only=True)
class Voice:
    """How a daemon speaks to its operator."""

    announce: Callable[[Listening], None]  # once, when the node would answer
    tell: Callable[[str], None]  # a line, whenever there is something to say


async def run_daemon(home: Home, config: Config, voice: Voice) -> None:
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

    def __init__(self, home: Home, config: Config, place: Place, ledger: Ledger, voice: Voice) -> None:
        self._home = home
        self._config = config
        self._place = place
        self._voice = voice
        self._base = find_base(home, config.inference.base)
        self._ledger = ledger
        options = _engine_options(home, config, self._base)
        self._engine = Engine(options) if config.node.serve else NoEngine(options)
        tokenizer = open_tokenizer(self._base.folder)
        self._desk = ServingDesk(
            home=home,
            base=self._base,
            engine=self._engine,
            tokenizer=tokenizer,
            ledger=ledger,
            queue_max=config.inference.queue_max,
            now_ns=time.time_ns,
        )
        around = Surroundings(
            serving=self._desk, engine=self._engine, tokenizer=tokenizer, ledger=ledger, tell=voice.tell
        )
        self._money = MoneyDesk(home, config, place, around)
        self._door = NetworkDoor(self._desk, ledger, self._money.market, is_serving=config.node.serve)
        self._key = load_api_key(home)
        self._listener = bind_tcp(config.api.host, config.api.port)
        self._address, self._url = self._listener.getsockname(), url_of(self._listener)
        self._stop_asked = trio.Event()
        self._drained = trio.Event()
        self._started_at_s = time.time()

    async def run(self) -> None:
        """Start, announce, serve, drain."""
        num_recovered = self._ledger.jobs.recover()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._listen_to_signals, nursery.cancel_scope)
            async with trio.open_nursery() as servers:
                operator = build_operator(
                    self._desk, self._money, nursery, status=self.status, stop=self._stop_asked.set
                )
                servers.start_soon(serve_app, operator, bind_unix(self._home.socket), self._drained.wait)
                api = build_api(self._door, nursery, key=self._key, body_bytes_max=self._config.api.body_bytes_max)
                servers.start_soon(serve_app, api, self._listener, self._drained.wait)
                await nursery.start(self._engine.run)
                self._voice.announce(self._listening(num_recovered))
                nursery.start_soon(self._money.run, nursery)
                await self._stop_asked.wait()
                await self._drain()  # both servers then end by themselves
            nursery.cancel_scope.cancel()

    def status(self) -> dict[str, Any]:
        """What `status --json` prints while the daemon is up."""
        profile = self._engine.profile
        beat = self._engine.beat
        money = self._money.status()
        return {
            "state": self._state(),
            "chain": money.chain,
            "why_idle": None if self._num_live else self._why_idle(money),
            "api": {"url": self._url, "key_file": str(api_key_file(self._home))},
            "peer_id": money.peer_id,
            "address": money.address,
            "network": self._place.network_id,
            "base": self._base.name,
            "adapters": {
                "registered": len(self._desk.adapters()),
                "resident": len(beat.resident),
                "resident_bytes": beat.adapter_bytes,
                "budget_bytes": self._config.inference.adapter_cache_bytes,
            },
            "peers": money.num_peers,
            "requests": {
                "running": beat.num_running + self._door.num_live,
                "waiting": max(0, self._desk.num_live - beat.num_running),  # the beat is up to half a second old
            },
            "money": {"why_down": money.why, "why_not_claimed": money.why_not_claimed},
            "engine": {
                "state": self._engine.state,
                "process_id": self._engine.process_id,
                "restarts": self._engine.num_restarts,
                "backend": profile.backend if profile else None,
                "device": profile.device if profile else None,
                "dtype": profile.dtype if profile else None,
                "threads": profile.threads if profile else None,
                "context_max": profile.context_max if profile else None,
            },
            "uptime_s": round(time.time() - self._started_at_s, 1),
            "version": __version__,
            "home": str(self._home.root),
        }

    def _state(self) -> str:
        if self._desk.is_draining:
            return "draining"
        if self._engine.profile is None and self._config.node.serve:
            return "starting"
        if self._num_live:
            return "serving"
        return "training" if is_training(self._home) else "idle"

    @property
    def _num_live(self) -> int:
        return self._desk.num_live + self._door.num_live

    def _why_idle(self, money: MoneyStatus) -> str:
        if self._engine.profile is None and self._config.node.serve:
            return "the engine is loading the base"
        if money.chain is None:
            why = f" ({money.why})" if money.why else ""
            return f"nothing to answer just now: this node serves this machine alone{why}"
        if money.chain != "ok":
            return f"no money moves, since the chain is {money.chain}: {money.why}"
        return "nothing to answer just now"

    def _listening(self, num_recovered: int) -> Listening:
        return Listening(
            url=self._url,
            key_file=api_key_file(self._home),
            base=self._base,
            engine=self._engine,
            num_adapters=len(self._desk.adapters()),
            num_recovered=num_recovered,
        )

    async def _listen_to_signals(self, scope: trio.CancelScope) -> None:
        with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM, signal.SIGHUP) as signals:
            async for _ in signals:
                is_starting = self._engine.profile is None and self._config.node.serve
                if self._stop_asked.is_set() or is_starting:
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


def _engine_options(home: Home, config: Config, base: Base) -> EngineOptions:
    inference = config.inference
    return EngineOptions(
        backend=inference.backend,
        settings=BackendSettings(
            base_folder=str(base.folder) if base.folder else None,
            device=inference.device,
            dtype=inference.dtype,
            threads=inference.threads,
            batch_max=inference.batch_max,
            context_max=inference.context_max,
        ),
        prefill_tokens_max=inference.prefill_tokens_max,
        adapter_cache_bytes=inference.adapter_cache_bytes,
        stall_timeout_s=inference.stall_timeout_s,
        wait_policy=inference.wait_policy,
        log_file=home.logs / "engine.log",
    )
