"""Every metric that /metrics can show: docs/reference/metrics.md is written from this table."""

from typing import Final

from .exposition import Family

FAMILIES: Final = (
    Family(name="build_info", kind="gauge", help="1; which version runs on which base.", labels=("version", "base")),
    Family(name="uptime_seconds", kind="gauge", help="Since the daemon's start."),
    Family(name="ready", kind="gauge", help="1 while a request would be let in."),
    Family(name="process_resident_bytes", kind="gauge", help="Memory of the daemon itself; the engine has its own."),
    Family(name="process_open_fds", kind="gauge", help="Descriptors that the daemon has open."),
    # HTTP
    Family(
        name="http_requests_total",
        kind="counter",
        help="Requests over loopback; route none: the page's files, no such path, or refused by the guard.",
        labels=("route", "code"),
    ),
    Family(name="http_requests_in_flight", kind="gauge", help="Requests over loopback that are being answered."),
    # requests
    Family(
        name="requests_total",
        kind="counter",
        help="Requests that have ended. Origin: local (asked here), sold (to a payer), bought (of another node).",
        labels=("origin", "outcome"),
    ),
    Family(
        name="tokens_total",
        kind="counter",
        help="Tokens of those requests: prompt or completion, as they are billed.",
        labels=("origin", "kind"),
    ),
    Family(name="ttft_seconds", kind="histogram", help="From a request to its first token."),
    Family(name="tpot_seconds", kind="histogram", help="Between two tokens of an answer, its mean."),
    Family(name="request_seconds", kind="histogram", help="From a request to its last token."),
    Family(name="requests_running", kind="gauge", help="Requests in the engine's batch."),
    Family(name="requests_waiting", kind="gauge", help="Requests that wait for a place in it."),
    Family(name="requests_remote", kind="gauge", help="Requests that other nodes answer for this one."),
    Family(name="queue_slots", kind="gauge", help="Requests that may run or wait at once: [inference] queue_max."),
    # the engine
    Family(name="engine_up", kind="gauge", help="1 while the engine takes requests."),
    Family(name="engine_restarts_total", kind="counter", help="Times that it was started anew."),
    Family(name="engine_tokens_per_second", kind="gauge", help="Of all answers together, over the last seconds."),
    Family(name="engine_resident_bytes", kind="gauge", help="The most memory that the engine's process has held."),
    Family(name="batch_slots", kind="gauge", help="Sequences that one step may hold: [inference] batch_max."),
    Family(name="kv_blocks", kind="gauge", help="Blocks of the KV cache: used, cached or free.", labels=("state",)),
    Family(name="kv_block_bytes", kind="gauge", help="Size of one block."),
    Family(name="preemptions_total", kind="counter", help="Times that a sequence lost its place for want of blocks."),
    Family(name="prefix_reused_tokens_total", kind="counter", help="Prompt tokens found in the KV cache."),
    # adapters
    Family(name="adapters_registered", kind="gauge", help="Adapters of this base on the shelf."),
    Family(name="adapters_resident", kind="gauge", help="Adapters on the device."),
    Family(name="adapter_cache_bytes", kind="gauge", help="What they take."),
    Family(name="adapter_cache_bytes_max", kind="gauge", help="What they may take: [inference] adapter_cache_bytes."),
    Family(name="adapter_hits_total", kind="counter", help="Sequences that found their adapter on the device."),
    Family(name="adapter_misses_total", kind="counter", help="Sequences that had to wait for it."),
    Family(name="adapter_loads_total", kind="counter", help="Adapters brought from disk to device."),
    Family(
        name="adapter_load_seconds",
        kind="gauge",
        help="How long the last loads took, by quantile.",
        labels=("quantile",),
    ),
    # the market
    Family(name="peers", kind="gauge", help="Peers that this node is connected with."),
    Family(name="peers_serving", kind="gauge", help="Peers whose advertisement counts just now."),
    Family(
        name="calls_last_hour",
        kind="gauge",
        help="Calls heard in the last hour: foreign (no model of ours), refused, bid, won (an award) or lost.",
        labels=("fate",),
    ),
    # money
    Family(name="chain_up", kind="gauge", help="1 while the chain answers and money moves."),
    Family(name="chain_height", kind="gauge", help="The newest block that was seen."),
    Family(name="chain_head_age_seconds", kind="gauge", help="Since that block's time."),
    Family(
        name="receipts",
        kind="gauge",
        help="Receipts written here: unsigned, unclaimed or claimed.",
        labels=("state",),
    ),
    Family(name="receipts_unclaimed_open", kind="gauge", help="What the unclaimed come to, in OPEN."),
    Family(name="claims", kind="gauge", help="Claims by state.", labels=("state",)),
    Family(name="transactions", kind="gauge", help="Transactions of this node by state.", labels=("state",)),
    Family(name="transaction_replacements_total", kind="counter", help="Times that one's fees were raised."),
    Family(name="gas_coins_total", kind="counter", help="Fees paid, in the chain's own coin."),
    Family(
        name="earnings_open",
        kind="gauge",
        help="Earnings in OPEN: pending, settled, claimed, withdrawn, and net of gas.",
        labels=("state",),
    ),
)
