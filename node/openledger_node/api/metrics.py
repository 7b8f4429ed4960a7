"""The metrics of /metrics, read from the node's parts at each scrape; no texts, adapter names or addresses."""

import os
import time
from collections.abc import Iterator, Mapping
from typing import Any, Final

import trio

from openledger_protocol.errors import ProtocolError

from .. import __version__
from ..errors import NodeError
from ..ledger.sums import MoneySums
from ..machine import resident_bytes
from ..market.overview import MarketView
from ..network.money_status import MoneyStatus
from ..operator.status import NodeParts
from ..serving.measures import Histogram, Measures
from .exposition import Distribution, Family, MetricTable, Reading, Sample, by_label, figures
from .traffic import Traffic

# ---- Every metric of /metrics; docs/reference/metrics.md is generated from this table.

NODE_METRICS: Final = MetricTable(
    (
        Family(
            name="build_info",
            kind="gauge",
            help="Always 1; the labels name the version and the base.",
            labels=("version", "base"),
        ),
        Family(name="uptime_seconds", kind="gauge", help="Seconds since the daemon's start."),
        Family(name="ready", kind="gauge", help="1 while the node accepts requests."),
        Family(
            name="process_resident_bytes", kind="gauge", help="Memory of the daemon itself; the engine has its own."
        ),
        Family(name="process_open_fds", kind="gauge", help="Open file descriptors of the daemon."),
        # HTTP
        Family(
            name="http_requests_total",
            kind="counter",
            help="Requests over HTTP; route none: the page's files, unknown paths, or refused by the guard.",
            labels=("route", "code"),
        ),
        Family(name="http_requests_in_flight", kind="gauge", help="Requests over HTTP that are being answered."),
        # requests
        Family(
            name="requests_total",
            kind="counter",
            help="Requests that have ended. Origin: local (sent here), sold (to a payer), "
            "bought (from another node).",
            labels=("origin", "outcome"),
        ),
        Family(
            name="tokens_total",
            kind="counter",
            help="Tokens of those requests as billed, by kind: prompt or completion.",
            labels=("origin", "kind"),
        ),
        Family(name="ttft_seconds", kind="histogram", help="Seconds from a request to its first token."),
        Family(name="tpot_seconds", kind="histogram", help="Mean seconds between two tokens of an answer."),
        Family(name="request_seconds", kind="histogram", help="Seconds from a request to its last token."),
        Family(name="requests_running", kind="gauge", help="Requests in the engine's batch."),
        Family(name="requests_waiting", kind="gauge", help="Requests that wait for a place in the batch."),
        Family(name="requests_remote", kind="gauge", help="Requests that other nodes are answering for this one."),
        Family(
            name="queue_slots",
            kind="gauge",
            help="The most requests that may run or wait at once: [inference] queue_max.",
        ),
        # the engine
        Family(name="engine_up", kind="gauge", help="1 while the engine is loaded."),
        Family(
            name="engine_unloaded",
            kind="gauge",
            help="1 while it is unloaded for want of requests; the next loads it.",
        ),
        Family(name="engine_failed", kind="gauge", help="1 while it can't be loaded; `status` says why."),
        Family(name="engine_load_seconds", kind="gauge", help="Seconds that its last load took."),
        Family(
            name="engine_unloads_total", kind="counter", help="Times that it was unloaded, since the daemon's start."
        ),
        Family(name="engine_restarts_total", kind="counter", help="Restarts of the engine since the daemon's start."),
        Family(
            name="engine_tokens_per_second",
            kind="gauge",
            help="Tokens per second of all answers together, over the last seconds.",
        ),
        Family(name="engine_resident_bytes", kind="gauge", help="Peak memory of the engine's process."),
        Family(name="batch_slots", kind="gauge", help="Sequences that one step may hold: [inference] batch_max."),
        Family(
            name="kv_blocks", kind="gauge", help="Blocks of the KV cache: used, cached or free.", labels=("state",)
        ),
        Family(name="kv_block_bytes", kind="gauge", help="Size of one block."),
        Family(
            name="preemptions_total", kind="counter", help="Sequences that lost their place because blocks ran out."
        ),
        Family(name="prefix_reused_tokens_total", kind="counter", help="Prompt tokens found in the KV cache."),
        # adapters
        Family(name="adapters_registered", kind="gauge", help="Adapters of this base in the library."),
        Family(name="adapters_resident", kind="gauge", help="Adapters on the device."),
        Family(name="adapter_cache_bytes", kind="gauge", help="Memory that the adapters on the device use."),
        Family(
            name="adapter_cache_bytes_max",
            kind="gauge",
            help="Memory that they may use: [inference] adapter_cache_bytes.",
        ),
        Family(name="adapter_hits_total", kind="counter", help="Sequences that found their adapter on the device."),
        Family(name="adapter_misses_total", kind="counter", help="Sequences that had to wait for their adapter."),
        Family(name="adapter_loads_total", kind="counter", help="Adapters loaded from disk to the device."),
        Family(
            name="adapter_load_seconds",
            kind="gauge",
            help="Seconds that the last loads took, by quantile.",
            labels=("quantile",),
        ),
        # the market
        Family(name="peers", kind="gauge", help="Connected peers."),
        Family(name="peers_serving", kind="gauge", help="Peers with a valid advertisement."),
        Family(
            name="calls_last_hour",
            kind="gauge",
            help="Calls received in the last hour: foreign (no model of ours), refused, bid, won (an award) or lost.",
            labels=("fate",),
        ),
        # money
        Family(name="chain_up", kind="gauge", help="1 while the chain answers and money moves."),
        Family(name="chain_height", kind="gauge", help="Number of the newest block that was seen."),
        Family(name="chain_head_age_seconds", kind="gauge", help="Seconds since that block's time."),
        Family(
            name="receipts",
            kind="gauge",
            help="Receipts written here: unsigned, unclaimed or claimed.",
            labels=("state",),
        ),
        Family(name="receipts_unclaimed_open", kind="gauge", help="Sum of the unclaimed receipts, in OPEN."),
        Family(name="claims", kind="gauge", help="Claims by state.", labels=("state",)),
        Family(name="transactions", kind="gauge", help="Transactions of this node by state.", labels=("state",)),
        Family(
            name="transaction_replacements_total",
            kind="counter",
            help="Transactions that were sent again with higher fees.",
        ),
        Family(name="gas_coins_total", kind="counter", help="Fees paid, in the chain's own coin."),
        Family(
            name="earnings_open",
            kind="gauge",
            help="Earnings in OPEN, by state of `earnings --json`: pending, settled, claimed, withdrawn, net of gas.",
            labels=("state",),
        ),
        Family(
            name="receipt_audits_total",
            kind="counter",
            help="Bought receipts that were drawn to recompute their shares: right, wrong, "
            "or unknown (impossible here).",
            labels=("verdict",),
        ),
    )
)


# ---- the readings

OPEN_WEI: Final = 10**18
EARNINGS_S: Final = 60.0
"""Time for which an answer about earnings is reused: it asks the chain, and scrapes are frequent."""

EARNINGS_TIMEOUT_S: Final = 3.0
STATES: Final = ("pending", "settled", "claimed", "withdrawn", "net")


class Metering:
    """Reads the node's metrics."""

    def __init__(self, parts: NodeParts, traffic: Traffic) -> None:
        self._parts = parts
        self._traffic = traffic
        self._started_s = time.monotonic()
        self._earnings: Mapping[str, Any] | None = None
        self._earnings_at_s = float("-inf")

    async def text(self) -> str:
        """All metrics in Prometheus's text format."""
        parts = self._parts
        num_adapters = len(await trio.to_thread.run_sync(parts.serving.adapters))
        status, view = parts.network.status(), parts.network.view()
        readings = [
            *self._process(),
            *_traffic(self._traffic),
            *_measures(parts.serving.measures),
            *self._engine(),
            *self._adapters(num_adapters),
            *_market(status, view),
            *_chain(status),
        ]
        if status.address:
            sums = await trio.to_thread.run_sync(parts.ledger.sums.money, status.address)
            audits = await trio.to_thread.run_sync(parts.ledger.audits.counts)
            readings += [*_sums(sums), *_earnings(await self._ask_earnings(status))]
            readings += by_label("receipt_audits_total", "verdict", audits)
        return NODE_METRICS.text(readings)

    async def _ask_earnings(self, status: MoneyStatus) -> Mapping[str, Any] | None:
        now_s = time.monotonic()
        if status.chain == "ok" and now_s - self._earnings_at_s > EARNINGS_S:
            self._earnings_at_s = now_s
            with trio.move_on_after(EARNINGS_TIMEOUT_S):
                try:
                    self._earnings = await self._parts.network.ask("earnings", {})
                except (NodeError, ProtocolError):
                    self._earnings = None  # the chain is down, and a missing figure is better than an old one
        return self._earnings

    def _process(self) -> Iterator[Reading]:
        labels = {"version": __version__, "base": self._parts.serving.base.name}
        yield Sample(family="build_info", value=1, labels=labels)
        yield Sample(family="uptime_seconds", value=round(time.monotonic() - self._started_s, 1))
        yield Sample(family="ready", value=self._parts.router.is_ready)
        if (resident := resident_bytes(os.getpid())) is not None:
            yield Sample(family="process_resident_bytes", value=resident)
            yield Sample(family="process_open_fds", value=len(os.listdir("/dev/fd")))

    def _engine(self) -> Iterator[Reading]:
        engine, serving, inference = self._parts.engine, self._parts.serving, self._parts.config.inference
        beat, profile = engine.beat, engine.profile
        values = {
            "requests_running": beat.num_running,
            "requests_waiting": max(0, serving.num_live - beat.num_running),
            "requests_remote": self._parts.router.num_live,
            "queue_slots": inference.queue_max,
            "engine_up": engine.state == "ready",
            "engine_unloaded": engine.state == "unloaded",
            "engine_failed": engine.failure is not None,
            "engine_load_seconds": round(engine.load_s or 0.0, 3),
            "engine_unloads_total": engine.num_unloads,
            "engine_restarts_total": engine.num_restarts,
            "engine_tokens_per_second": beat.tokens_per_s if engine.num_live else 0,
            "engine_resident_bytes": beat.peak_rss_bytes,
            "batch_slots": inference.batch_max,
            "kv_block_bytes": profile.block_bytes if profile else 0,
            "preemptions_total": beat.num_preempted,
            "prefix_reused_tokens_total": beat.num_reused_tokens,
        }
        yield from figures(values)
        free = beat.blocks_total - beat.blocks_used - beat.blocks_cached
        blocks = {"used": beat.blocks_used, "cached": beat.blocks_cached, "free": free}
        yield from by_label("kv_blocks", "state", blocks)

    def _adapters(self, num_registered: int) -> Iterator[Reading]:
        beat = self._parts.engine.beat
        values = {
            "adapters_registered": num_registered,
            "adapters_resident": len(beat.resident),
            "adapter_cache_bytes": beat.adapter_bytes,
            "adapter_cache_bytes_max": self._parts.config.inference.adapter_cache_bytes,
            "adapter_hits_total": beat.num_hits,
            "adapter_misses_total": beat.num_misses,
            "adapter_loads_total": beat.num_loads,
        }
        yield from figures(values)
        quantiles = {"0.5": beat.load_ms_median / 1_000, "0.95": beat.load_ms_p95 / 1_000}
        yield from by_label("adapter_load_seconds", "quantile", quantiles)


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
    yield from by_label(
        "calls_last_hour", "fate", {fate: sum(call.fate == fate for call in view.calls) for fate in fates}
    )


def _chain(status: MoneyStatus) -> Iterator[Reading]:
    if status.chain is None:
        return
    yield Sample(family="chain_up", value=status.chain == "ok")
    if status.head:
        yield Sample(family="chain_height", value=status.head.number)
        yield Sample(family="chain_head_age_seconds", value=round(max(0.0, time.time() - status.head.timestamp_s), 1))


def _sums(sums: MoneySums) -> Iterator[Reading]:
    yield from by_label("receipts", "state", sums.num_receipts)
    yield Sample(family="receipts_unclaimed_open", value=sums.unclaimed_wei / OPEN_WEI)
    yield from by_label("claims", "state", sums.num_claims)
    yield from by_label("transactions", "state", sums.num_transactions)
    yield Sample(family="transaction_replacements_total", value=sums.num_replacements)
    yield Sample(family="gas_coins_total", value=sums.fees_wei / OPEN_WEI)


def _earnings(earnings: Mapping[str, Any] | None) -> Iterator[Reading]:
    if earnings:
        yield from by_label(
            "earnings_open", "state", {name: int(earnings[f"{name}_wei"]) / OPEN_WEI for name in STATES}
        )
