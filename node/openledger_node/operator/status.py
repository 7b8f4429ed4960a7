"""`status`: the state of the node, and why it is idle, without a question to chain or peers."""

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any, Final

import trio

from openledger_protocol.primitives import BASE_ONLY, AdapterId, Address, Digest

from .. import __version__
from ..api_key import api_key_file
from ..config import Config
from ..datanets.waiting import WaitingReviews
from ..engine.backend import BLOCK_TOKENS
from ..engine.engine import Engine
from ..engine.load_steps import LoadStep
from ..factory.runs import Runs
from ..factory.training_run import TrainingRun
from ..home import Home, is_training
from ..ledger.jobs import Job
from ..ledger.ledger import Ledger
from ..listeners import read_addresses
from ..market.bid_history import CallRecord
from ..market.overview import MarketView, demand_to_plain
from ..market.router import Router
from ..models.bases import Base, list_bases
from ..network.money_status import MoneyStatus
from ..network.service import NetworkService
from ..serving.pinning import AdapterPins
from ..serving.service import Serving
from ..settlement.open import HomeNetwork
from ..text import counted, rfc3339
from .idle_reasons import Idleness, LostSeen, Observed, PriceSeen, Suggestion, explain
from .limits import Limits
from .missed_calls import NodeFacts, best_change, missed_calls, missed_to_plain, standing_to_plain
from .pause import Pauses
from .reach_words import reach_to_plain
from .usage import Usage

# ---- The training under way.

LOOK_AGAIN_S: Final = 10.0
"""Seconds for which answers, registrations and bases are taken as they were: an open page asks each half second."""


class TrainingNow:
    """Reads the training under way; a file is read again only if it has changed. Blocks."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._runs = Runs(home)

    def read(self, *, answers: bool) -> dict[str, Any] | None:
        """The training for JSON; None while none runs. `answers`: requests are answered meanwhile."""
        if not is_training(self._home):
            return None
        run = next((run for run in self._runs.all() if run.is_live), None)
        return training_to_plain(run, answers=answers) if run else None


def training_to_plain(run: TrainingRun, *, answers: bool) -> dict[str, Any]:
    """Name, progress and time left of a training, and one sentence of them."""
    progress = run.progress
    fields = {
        "number": run.number,
        "name": run.job.name,
        "state": run.state,
        "step": progress.step if progress else 0,
        "steps": progress.steps if progress else None,
        "time_left_s": progress.time_left_s if progress else None,
        "answers": answers,
    }
    return {**fields, "says": _sentence(fields)}


def _sentence(fields: dict[str, Any]) -> str:
    step, steps, left_s = fields["step"], fields["steps"], fields["time_left_s"]
    verb = "evaluating" if fields["state"] == "evaluating" else "training"
    parts = [f"{verb} {fields['name']}"]
    if steps and verb == "training":
        parts.append(f"step {step:,} of {steps:,} ({100 * step // steps} %)")
    if left_s is not None and verb == "training":
        parts.append(f"about {_about(left_s)} left")
    meanwhile = "requests are answered meanwhile" if fields["answers"] else "no request is answered meanwhile"
    return f"{', '.join(parts)}; {meanwhile}"


def _about(seconds: float) -> str:
    """Format a length of time as people say it."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5_400 else counted(round(seconds / 3_600), "hour")


# ---- status

NEWEST = 200
"""The most answers of the last hour whose time to the first token is counted."""

HOUR_NS = 3_600 * 10**9


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeParts:
    """The parts of a running node that its operator sees and controls."""

    home: Home
    config: Config
    home_network: HomeNetwork
    url: str
    ledger: Ledger
    serving: Serving
    engine: Engine
    network: NetworkService
    router: Router
    pins: AdapterPins


class StatusReport:
    """Builds the answer of `status`."""

    def __init__(
        self, parts: NodeParts, pauses: Pauses, limits: Limits, *, now_s: Callable[[], float] = time.time
    ) -> None:
        self._parts = parts
        self._pauses = pauses
        self._limits = limits
        self._now_s = now_s
        self._started_at_s = now_s()
        self._training = TrainingNow(parts.home)
        self._reviews = WaitingReviews(parts.home)
        self._usage = Usage(parts.ledger, now_ns=lambda: int(now_s() * 10**9))
        queue_max = parts.config.inference.queue_max
        self._demand = DemandReport(parts.home, parts.ledger, queue_max=queue_max, now_s=now_s)

    async def show(self) -> dict[str, Any]:
        """The fields of `status --json` while the daemon runs."""
        parts = self._parts
        money, view = parts.network.status(), parts.network.view()
        jobs = await parts.serving.jobs(NEWEST)
        demand, change = await self._read_demand(money, view)
        seen = await self._observe(money, view, self._num_local(jobs, view))
        idleness = explain(replace(seen, asked=change))
        training = await self._show_training()
        usage = await trio.to_thread.run_sync(self._usage.read)
        reviews = await trio.to_thread.run_sync(self._reviews.count)
        num_registered = len(await trio.to_thread.run_sync(parts.serving.adapters))
        audits = dict(await trio.to_thread.run_sync(parts.ledger.audits.counts))
        # Nothing from here on waits, so that what it says of pause, state and engine is of one moment.
        pause = self._pauses.current
        state = self.state()
        says = training["says"] if training and state == "training" else idleness.sentence
        return {
            "state": state,
            "chain": money.chain,
            "why_idle": None if self._num_live and pause is None else says,
            **idleness_to_plain(idleness),
            "paused": pause.to_plain() if pause else None,
            "training": training,
            "limits": self._limits.brief(),
            "api": {
                "url": parts.url,
                "key_file": str(api_key_file(parts.home)),
                "listen": [f"http://{each}" for each in read_addresses(parts.config.api.listen)],
            },
            "peer_id": money.peer_id,
            "address": money.address,
            "network": parts.home_network.network_id,
            "base": parts.serving.base.name,
            "adapters": _adapter_figures(
                parts.engine,
                num_registered=num_registered,
                budget_bytes=parts.config.inference.adapter_cache_bytes,
            ),
            "peers": money.num_peers,
            "demand": demand,
            "reach": reach_to_plain(view.reach) if view else None,
            "requests": self._requests(),
            "usage": usage,
            "waiting": num_waiting_by_screen(money, reviews),
            "money": {
                "why_down": money.why,
                "why_not_claimed": money.why_not_claimed,
                "alerts": [*_engine_alerts(parts.engine), *money.alerts],
                "audits": audits,
            },
            "engine": {
                **_engine_figures(parts.engine),
                "card_bytes": self._limits.held_on_card_bytes(),
                "ttft_ms": ttft_ms(jobs, now_ns=int(self._now_s() * 10**9)),
            },
            "uptime_s": round(self._now_s() - self._started_at_s, 1),
            "version": __version__,
            "home": str(parts.home.root),
        }

    def state(self) -> str:
        """The state in one word."""
        parts = self._parts
        if parts.serving.is_draining:
            return "draining"
        if self._pauses.current:
            return "paused"
        if self.is_starting:
            return "starting"
        if self._num_live:
            return "serving"
        is_woken = parts.engine.state == "paused" and parts.config.node.serve  # its pause is over
        if is_woken or parts.engine.state == "reloading":
            return "starting"
        return "training" if is_training(parts.home) else "idle"

    @property
    def is_starting(self) -> bool:
        """Return True if the engine should run but has never been ready."""
        parts = self._parts
        has_begun = parts.engine.state in ("paused", "failed") or parts.engine.failure
        return parts.engine.profile is None and parts.config.node.serve and not has_begun

    @property
    def _num_live(self) -> int:
        return self._parts.serving.num_live + self._parts.router.num_live

    def _requests(self) -> dict[str, int]:
        beat, serving = self._parts.engine.beat, self._parts.serving
        return {
            "running": beat.num_running + self._parts.router.num_live,
            "waiting": max(0, serving.num_live - beat.num_running),  # the beat is up to half a second old
        }

    async def _show_training(self) -> dict[str, Any] | None:
        parts, is_paused = self._parts, self._pauses.current is not None
        answers = parts.config.node.serve and not is_paused and parts.engine.state in ("ready", "unloaded")
        return await trio.to_thread.run_sync(partial(self._training.read, answers=answers))

    def _num_local(self, jobs: Sequence[Job], view: MarketView | None) -> int:
        """Count the last hour's requests of this machine: those that no other node's call led to.

        Calls are forgotten when the node stops, so that only requests since its start can be told apart.
        """
        since_ns = max(int(self._now_s() * 10**9) - HOUR_NS, int(self._started_at_s * 10**9))
        called = {call.request_id for call in view.calls} if view else set()
        return sum(job.received_ns >= since_ns and job.request_id not in called for job in jobs)

    async def _read_demand(
        self, money: MoneyStatus, view: MarketView | None
    ) -> tuple[dict[str, Any] | None, Suggestion | None]:
        parts, profile = self._parts, self._parts.engine.profile
        context_max = profile.context_max if profile else 0
        return await self._demand.read(view, base=parts.serving.base, wallet=money.address, context_max=context_max)

    async def _observe(self, money: MoneyStatus, view: MarketView | None, num_local: int) -> Observed:
        parts, config = self._parts, self._parts.config
        pause = self._pauses.current
        seen = Observed(
            serves=config.node.serve,
            engine=parts.engine.state,
            why_engine=parts.engine.failure.why if parts.engine.failure else None,
            load_s=parts.engine.load_s,
            load_step=parts.engine.load_step.words if parts.engine.load_step else None,
            paused=pause.why if pause else None,
            has_network=parts.home_network.network is not None,
            why_alone=parts.home_network.why_none,
            has_peers_here=parts.home_network.devnet is None,
            chain=money.chain,
            why_chain=money.why,
            num_live=parts.serving.num_live,
            num_local=num_local,
            queue_max=config.inference.queue_max,
        )
        if view is None:
            return seen
        names = {each.adapter: each.name for each in view.priced}
        asked = view.most_asked()
        return replace(
            seen,
            second_copy=view.second_copy,
            num_peers=view.num_peers,
            num_serving_peers=view.num_serving,
            was_dialled=view.was_dialled,
            reach=view.reach,
            num_heard=sum(call.fate != "foreign" for call in view.calls),
            num_foreign=sum(call.fate == "foreign" for call in view.calls),
            num_won=sum(call.fate == "won" for call in view.calls),
            price=PriceSeen(of=asked.name, own_wei=asked.own_wei, others_wei=asked.others_wei) if asked else None,
            lost=tuple(self._lost(call, view, names) for call in view.calls if call.fate in ("lost", "dear")),
            spent_today_wei=await parts.network.spent_today_wei() or 0,
            day_max_wei=self._limits.payer.day_max_wei,
        )

    def _lost(self, call: CallRecord, view: MarketView, names: dict[Any, str]) -> LostSeen:
        return LostSeen(
            when=rfc3339(self._now_s() - (view.now_s - call.at_s)),
            adapter=names.get(call.adapter, call.adapter),
            my_price_wei=call.price_wei or 0,
            winner_price_wei=call.winner_price_wei,
            reason=call.reason,
        )


def num_waiting_by_screen(money: MoneyStatus, num_reviews: int) -> dict[str, int]:
    """Count by screen of the page what needs the operator; without a network only reviews, if there are any."""
    reviews = {"datanets": num_reviews} if num_reviews else {}
    if money.chain is None:
        return reviews
    return {"money": money.num_waiting, "governance": money.num_votes_waiting, **reviews}


def idleness_to_plain(idleness: Idleness) -> dict[str, Any]:
    """Checks, suggestion and lost bids for JSON."""
    suggestion = idleness.suggestion
    return {
        "checks": [asdict(check) for check in idleness.checks],
        "suggestion": asdict(suggestion) if suggestion else None,
        "bids_lost": [
            {
                **asdict(bid),
                "my_price_wei": str(bid.my_price_wei),
                "winner_price_wei": None if bid.winner_price_wei is None else str(bid.winner_price_wei),
            }
            for bid in idleness.bids_lost
        ],
    }


def ttft_ms(jobs: Sequence[Job], *, now_ns: int) -> dict[str, float | None]:
    """Median and 95th percentile of the last hour's waits for the first token."""
    recent = (job for job in jobs if job.first_token_ns and job.received_ns >= now_ns - HOUR_NS)
    waits = sorted(((job.first_token_ns or 0) - job.received_ns) / 1e6 for job in recent)
    if not waits:
        return {"p50": None, "p95": None}
    return {
        name: round(waits[min(len(waits) - 1, len(waits) * part // 100)], 1)
        for name, part in (("p50", 50), ("p95", 95))
    }


def _engine_figures(engine: Engine) -> dict[str, Any]:
    """The engine's properties and figures; a working engine reports them each half second."""
    profile, beat = engine.profile, engine.beat
    return {
        "state": engine.state,
        "process_id": engine.process_id,
        "restarts": engine.num_restarts,
        "unloads": engine.num_unloads,
        "load_s": None if engine.load_s is None else round(engine.load_s, 2),
        "why_failed": engine.failure.why if engine.failure else None,
        "loading": _load_step_to_plain(engine.load_step),
        "backend": profile.backend if profile else None,
        "kernel": profile.kernel if profile else None,
        "device": profile.device if profile else None,
        "dtype": profile.dtype if profile else None,
        "quantisation": profile.quantisation if profile else None,
        "threads": profile.threads if profile else None,
        "context_max": profile.context_max if profile else None,
        "base_bytes": profile.base_bytes if profile else None,
        "peak_rss_bytes": beat.peak_rss_bytes,
        "tokens_per_s": round(beat.tokens_per_s, 1) if engine.num_live else 0.0,  # an idle engine reports nothing
        "kv_cache": {
            "blocks": beat.blocks_total,
            "block_bytes": profile.block_bytes if profile else None,
            "tokens": beat.blocks_total * BLOCK_TOKENS,
            "used": beat.blocks_used,
            "cached": beat.blocks_cached,
            "reused_tokens": beat.num_reused_tokens,
            "preempted": beat.num_preempted,
        },
    }


def _load_step_to_plain(step: LoadStep | None) -> dict[str, Any] | None:
    """The step of a base that is being loaded; None while none is."""
    return {"phase": step.phase, "percent": step.percent, "says": step.words} if step else None


def _engine_alerts(engine: Engine) -> list[str]:
    """The alert of an engine that can't be loaded."""
    return [f"the engine can't be loaded: {engine.failure.why}"] if engine.failure else []


def _adapter_figures(engine: Engine, *, num_registered: int, budget_bytes: int) -> dict[str, Any]:
    """The adapters on the device, and how often others had to be loaded."""
    beat = engine.beat
    return {
        "registered": num_registered,
        "resident": len(beat.resident),
        "resident_bytes": beat.adapter_bytes,
        "budget_bytes": budget_bytes,
        "hits": beat.num_hits,
        "misses": beat.num_misses,
        "loads": beat.num_loads,
        "load_ms_median": round(beat.load_ms_median, 2),
        "load_ms_p95": round(beat.load_ms_p95, 2),
    }


class DemandReport:
    """Joins what the market heard with what ledger and disk know."""

    def __init__(
        self,
        home: Home,
        ledger: Ledger,
        *,
        queue_max: int,
        now_s: Callable[[], float] = time.time,
        elapsed_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._home = home
        self._ledger = ledger
        self._queue_max = queue_max
        self._now_s = now_s
        self._elapsed_s = elapsed_s
        self._answers: dict[Address, int] = {}
        self._bases: dict[Digest, str] = {}
        self._registered: set[AdapterId] = set()
        self._good_until_s = float("-inf")

    async def read(
        self, view: MarketView | None, *, base: Base, wallet: Address | None, context_max: int
    ) -> tuple[dict[str, Any] | None, Suggestion | None]:
        """The demand for JSON, and the change that would serve most of it; both None without peers."""
        if view is None or wallet is None:
            return None, None
        if self._elapsed_s() >= self._good_until_s:
            await trio.to_thread.run_sync(self._look, view, wallet)
            self._good_until_s = self._elapsed_s() + LOOK_AGAIN_S
        node = NodeFacts(
            now_s=self._now_s(),
            base=base.digest,
            base_name=base.name,
            context_max=context_max,
            queue_max=self._queue_max,
            registered=self._registered,
            bases=self._bases,
            answers=self._answers,
        )
        rows = missed_calls(view, node)
        plain = {
            **demand_to_plain(view),
            "missed": [missed_to_plain(row) for row in rows],
            "standing": standing_to_plain(view, node),
        }
        return plain, best_change(rows)

    def _look(self, view: MarketView, wallet: Address) -> None:
        """Read what takes a moment; blocks."""
        asked = {each.kind.adapter for each in view.unserved} - {BASE_ONLY}
        events = self._ledger.events
        self._registered = {each for each in asked if events.find("AdapterRegistered", {"adapterId": each})}
        self._answers = self._ledger.receipts.answers_by_payer(wallet)
        self._bases = {base.digest: base.name for base in list_bases(self._home)}
