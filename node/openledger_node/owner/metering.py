"""The figures of /metrics, read from the node's parts when somebody asks; no text, name of an adapter or address."""

import os
import time
from collections.abc import Iterator, Mapping
from typing import Any, Final

import trio

from openledger_protocol.errors import ProtocolError

from .. import __version__
from ..api.exposition import Distribution, Reading, Sample, exposition
from ..api.metrics import FAMILIES
from ..api.traffic import Traffic
from ..economy.desk import MoneyStatus
from ..economy.market_view import MarketView
from ..errors import NodeError
from ..inference.rss import resident_bytes
from ..ledger.sums import MoneySums
from ..serving.measures import Histogram, Measures
from .opening import Node

OPEN_WEI: Final = 10**18
EARNINGS_S: Final = 60.0
"""So long an answer about earnings is good: it asks the chain, and whoever scrapes asks often."""

EARNINGS_TIMEOUT_S: Final = 3.0
STATES: Final = ("pending", "settled", "claimed", "withdrawn", "net")


class Metering:
    """Writes down how the node does."""

    def __init__(self, node: Node, traffic: Traffic) -> None:
        self._node = node
        self._traffic = traffic
        self._started_s = time.monotonic()
        self._earnings: Mapping[str, Any] | None = None
        self._earnings_at_s = float("-inf")

    async def text(self) -> str:
        """All figures, as Prometheus reads them."""
        node = self._node
        num_adapters = len(await trio.to_thread.run_sync(node.serving.adapters))
        status, view = node.money.status(), node.money.view()
        readings = [
            *self._process(),
            *_traffic(self._traffic),
            *_measures(node.serving.measures),
            *self._engine(),
            *self._adapters(num_adapters),
            *_market(status, view),
            *_chain(status),
        ]
        if status.address:
            sums = await trio.to_thread.run_sync(node.ledger.sums.money, status.address)
            readings += [*_sums(sums), *_earnings(await self._ask_earnings(status))]
        return exposition(FAMILIES, readings)

    async def _ask_earnings(self, status: MoneyStatus) -> Mapping[str, Any] | None:
        now_s = time.monotonic()
        if status.chain == "ok" and now_s - self._earnings_at_s > EARNINGS_S:
            self._earnings_at_s = now_s
            with trio.move_on_after(EARNINGS_TIMEOUT_S):
                try:
                    self._earnings = await self._node.money.ask("earnings", {})
                except (NodeError, ProtocolError):
                    self._earnings = None  # the chain is down: no figure is better than an old one
        return self._earnings

    def _process(self) -> Iterator[Reading]:
        labels = {"version": __version__, "base": self._node.serving.base.name}
        yield Sample(family="build_info", value=1, labels=labels)
        yield Sample(family="uptime_seconds", value=round(time.monotonic() - self._started_s, 1))
        yield Sample(family="ready", value=self._node.door.is_ready)
        if (resident := resident_bytes(os.getpid())) is not None:
            yield Sample(family="process_resident_bytes", value=resident)
            yield Sample(family="process_open_fds", value=len(os.listdir("/dev/fd")))

    def _engine(self) -> Iterator[Reading]:
        engine, serving, inference = self._node.engine, self._node.serving, self._node.config.inference
        beat, profile = engine.beat, engine.profile
        figures = {
            "requests_running": beat.num_running,
            "requests_waiting": max(0, serving.num_live - beat.num_running),
            "requests_remote": self._node.door.num_live,
            "queue_slots": inference.queue_max,
            "engine_up": engine.state == "ready",
            "engine_restarts_total": engine.num_restarts,
            "engine_tokens_per_second": beat.tokens_per_s if engine.num_live else 0,
            "engine_resident_bytes": beat.peak_rss_bytes,
            "batch_slots": inference.batch_max,
            "kv_block_bytes": profile.block_bytes if profile else 0,
            "preemptions_total": beat.num_preempted,
            "prefix_reused_tokens_total": beat.num_reused_tokens,
        }
        yield from (Sample(family=name, value=value) for name, value in figures.items())
        free = beat.blocks_total - beat.blocks_used - beat.blocks_cached
        blocks = {"used": beat.blocks_used, "cached": beat.blocks_cached, "free": free}
        yield from _by("kv_blocks", "state", blocks)

    def _adapters(self, num_registered: int) -> Iterator[Reading]:
        beat = self._node.engine.beat
        figures = {
            "adapters_registered": num_registered,
            "adapters_resident": len(beat.resident),
            "adapter_cache_bytes": beat.adapter_bytes,
            "adapter_cache_bytes_max": self._node.config.inference.adapter_cache_bytes,
            "adapter_hits_total": beat.num_hits,
            "adapter_misses_total": beat.num_misses,
            "adapter_loads_total": beat.num_loads,
        }
        yield from (Sample(family=name, value=value) for name, value in figures.items())
        quantiles = {"0.5": beat.load_ms_median / 1_000, "0.95": beat.load_ms_p95 / 1_000}
        yield from _by("adapter_load_seconds", "quantile", quantiles)


def _traffic(traffic: Traffic) -> Iterator[Reading]:
    yield Sample(family="http_requests_in_flight", value=traffic.num_in_flight)
    for (route, code), count in sorted(traffic.answered.items()):
        yield Sample(family="http_requests_total", value=count, labels={"route": route, "code": str(code)})


def _measures(measures: Measures) -> Iterator[Reading]:
    for (origin, outcome), count in sorted(measures.requests.items()):
        yield Sample(family="requests_total", value=count, labels={"origin": origin, "outcome": outcome})
    for (origin, kind), count in sorted(measures.tokens.items()):
        yield Sample(family="tokens_total", value=count, labels={"origin": origin, "kind": kind})
    for name, histogram in (("ttft", measures.ttft), ("tpot", measures.tpot), ("request", measures.request)):
        yield _distribution(f"{name}_seconds", histogram)


def _distribution(family: str, histogram: Histogram) -> Distribution:
    return Distribution(family=family, buckets=histogram.cumulative(), sum=histogram.sum_s)


def _market(status: MoneyStatus, view: MarketView | None) -> Iterator[Reading]:
    yield Sample(family="peers", value=status.num_peers)
    if view is None:
        return
    yield Sample(family="peers_serving", value=view.num_serving)
    fates = ("foreign", "refused", "bid", "won", "lost")
    yield from _by("calls_last_hour", "fate", {fate: sum(call.fate == fate for call in view.calls) for fate in fates})


def _chain(status: MoneyStatus) -> Iterator[Reading]:
    if status.chain is None:
        return
    yield Sample(family="chain_up", value=status.chain == "ok")
    if status.head:
        yield Sample(family="chain_height", value=status.head.number)
        yield Sample(family="chain_head_age_seconds", value=round(max(0.0, time.time() - status.head.timestamp_s), 1))


def _sums(sums: MoneySums) -> Iterator[Reading]:
    yield from _by("receipts", "state", sums.num_receipts)
    yield Sample(family="receipts_unclaimed_open", value=sums.unclaimed_wei / OPEN_WEI)
    yield from _by("claims", "state", sums.num_claims)
    yield from _by("transactions", "state", sums.num_transactions)
    yield Sample(family="transaction_replacements_total", value=sums.num_replacements)
    yield Sample(family="gas_coins_total", value=sums.fees_wei / OPEN_WEI)


def _earnings(earnings: Mapping[str, Any] | None) -> Iterator[Reading]:
    if earnings:
        yield from _by("earnings_open", "state", {name: int(earnings[f"{name}_wei"]) / OPEN_WEI for name in STATES})


def _by(family: str, label: str, figures: Mapping[str, float]) -> Iterator[Reading]:
    return (Sample(family=family, value=value, labels={label: name}) for name, value in figures.items())
