"""The tables of node.toml: one frozen dataclass each, with default, unit and bounds beside each field."""

from dataclasses import dataclass
from itertools import chain

from openledger_protocol.constants import DEMO_BASE_NAME

from .hours import read_hours
from .listeners import read_addresses, read_origins
from .plugs import find_plugs
from .setting import setting

MIB = 1024 * 1024
GIB = 1024 * MIB

AUTO_CONTEXT_MAX = 32_768
"""Tokens of the longest context that is chosen by itself. A longer one is seldom asked for and takes much memory."""

RELAY_BYTES_PER_S, RELAY_BYTES_PER_S_MIN = 4 << 20, 65_536
"""Bytes that a relay passes on in a second, by default and at least."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiConfig:
    """The OpenAI-compatible API."""

    host: str = setting("127.0.0.1", "Address to listen on; only loopback is allowed.")
    port: int = setting(8420, "TCP port; 0 takes any free port.", low=0, high=65535)
    listen: str = setting(
        "",
        "Further addresses to listen on, separated by commas, such as 192.168.1.20:8421 or [::]:8421. They take "
        "named keys only, and their traffic is not encrypted.",
        read=read_addresses,
    )
    origins: str = setting(
        "",
        "Origins of web pages that may call the API at [api] listen, separated by commas, such as "
        "https://chat.example.org, or none.",
        read=read_origins,
    )
    body_bytes_max: int = setting(2 * MIB, "Largest request body, in bytes.", low=1024, high=64 * MIB)


@dataclass(frozen=True, slots=True, kw_only=True)
class InferenceConfig:
    """The engine: one base model, many adapters, one child process."""

    base: str = setting(
        DEMO_BASE_NAME,
        "Base model: a name from `models list`, a folder in Hugging Face format, or the path of a GGUF file.",
    )
    backend: str = setting(
        "auto",
        "Backend that runs the model; auto takes llamacpp for a GGUF base that only it serves, else torch_lora.",
        choices=lambda: chain(["auto"], find_plugs("backend")),
    )
    device: str = setting("auto", "Device that the model runs on.", choices=lambda: ["auto", "cpu", "cuda", "mps"])
    dtype: str = setting(
        "auto",
        "Number format of weights and KV cache; auto takes bfloat16 if the device has it, and float16 on older GPUs.",
        choices=lambda: ["auto", "float32", "bfloat16", "float16"],
    )
    threads: int = setting(0, "CPU threads of the engine; 0 takes all available cores.", low=0, high=512)
    wait_policy: str = setting(
        "auto",
        "How idle engine threads wait; active is faster on an idle machine, and much slower on a busy one.",
        choices=lambda: ["auto", "active", "passive"],
    )
    batch_max: int = setting(16, "Sequences that run at the same time.", low=1, high=1024)
    queue_max: int = setting(
        256, "Requests that can run or wait; the node refuses further requests for the moment.", low=1, high=65536
    )
    context_max: int = setting(
        0,
        "Most tokens of prompt and answer together; 0 takes what model and memory allow, at most 32,768.",
        low=0,
        high=1 << 20,
        gap=16,
    )
    prefill_tokens_max: int = setting(512, "Most prompt tokens processed in one step.", low=16, high=65536)
    kv_cache_bytes: int = setting(
        0,
        "Memory for the KV cache, in bytes; 0 takes enough for batch_max sequences of context_max tokens. If "
        "context_max is 0, it is enough for batch_max sequences of 2,048 tokens and at least one whole context.",
        low=0,
    )
    quantisation: str = setting(
        "auto",
        "Format of the base's weights; int8, int4 and nf4 take less memory and are slower on a CPU. auto keeps the "
        "format of the base's files, but widens it on a CPU with enough memory.",
        choices=lambda: ["auto", "none", "int8", "int4", "nf4"],
    )
    acceleration: str = setting(
        "auto",
        "The node's own compiled kernels, on processors and cards that support them.",
        choices=lambda: ["auto", "off"],
    )
    adapter_cache_bytes: int = setting(
        GIB, "Memory for adapters on the device, in bytes; the least valuable adapters are evicted first.", low=MIB
    )
    adapter_ram_bytes: int = setting(
        2 * GIB, "Main memory for copies of adapters, in bytes; used only with a GPU.", low=0
    )
    merge_after_steps: int = setting(
        0, "Steps with one adapter only after which plain torch merges it into the base; 0 never.", low=0
    )
    memory_max_bytes: int = setting(
        0, "Resident memory at which the engine's process is restarted, in bytes; 0 is no limit.", low=0
    )
    load_timeout_s: float = setting(
        600.0, "Seconds to load the base before the engine is restarted.", low=10.0, high=86_400.0
    )
    unload_after_s: float = setting(
        0.0,
        "Seconds without a request after which the engine gives its memory back; the next request or paid stream "
        "loads it again. 0 never does, because a node that must load first seldom wins a bid.",
        low=0.0,
        high=7 * 86_400.0,
    )
    stall_timeout_s: float = setting(
        120.0, "Seconds without output from a busy engine before it is restarted.", low=1.0, high=3600.0
    )
    server_command: str = setting(
        "",
        "Backends vllm and llamacpp: the program that the node starts, with extra arguments, as in a shell; "
        "if empty, vllm or llama-server.",
    )
    server_url: str = setting(
        "", "Backends vllm and llamacpp: URL of a server that you run; if empty, the node starts one."
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class FactoryConfig:
    """ModelFactory: training an adapter on the rows of a Datanet."""

    trainer: str = setting("peft_lora", "Trainer that trains adapters.", choices=lambda: find_plugs("trainer"))


@dataclass(frozen=True, slots=True, kw_only=True)
class MarketConfig:
    """Prices of answers, and credit for payers. Amounts are in wei; 10^18 wei are one OPEN."""

    price_in_wei: int = setting(10**15, "Price of 1,000 prompt tokens, in wei; no bid goes below it.", low=0)
    price_out_wei: int = setting(4 * 10**15, "Price of 1,000 answer tokens, in wei; no bid goes below it.", low=0)
    load_surcharge_percent: int = setting(
        50,
        "Percent added to a bid when the queue is full; a part-full queue adds a proportional part.",
        low=0,
        high=10_000,
    )
    cold_surcharge_percent: int = setting(
        0, "Percent added to a bid for an adapter that is not in memory.", low=0, high=10_000
    )
    credit_tokens_max: int = setting(
        32,
        "Tokens of one chunk; a payer pays one chunk ahead. Over 32, nodes that bought fewer than 3 answers here buy "
        "none.",
        low=1,
        high=4096,
    )
    unsecured_credit_wei: int = setting(
        10**16, "Credit of a channel until its first deposit is final, in wei; 0 gives none.", low=0
    )
    voucher_timeout_s: float = setting(
        10.0, "Seconds to wait for a payer's next voucher before the answer ends.", low=0.1, high=600.0
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class PayerConfig:
    """Terms and limits for this node's purchases from others."""

    keep_texts_s: float = setting(
        -1.0,
        "Seconds to keep one's own bought answers, sealed, so that they can be checked; 0 keeps none, and -1 keeps "
        "them for a day on a development network and not at all elsewhere.",
        low=-1.0,
        high=31_536_000.0,
    )
    audit_one_in: int = setting(
        16,
        "Recompute the shares of one bought receipt in so many before countersigning it, if its adapter is on this "
        "machine; 0 never, 1 always. The texts of one with wrong shares are kept, sealed, while stake answers "
        "for it, whatever keep_texts_s says.",
        low=0,
        high=10_000,
    )
    deposit_wei: int = setting(10**18, "Deposit of a new channel with a node, in wei.", low=1)
    request_max_wei: int = setting(10**17, "Most that one request may cost, in wei.", low=0)
    day_max_wei: int = setting(10**18, "Most that all requests of a UTC day may cost together, in wei.", low=0)
    price_in_max_wei: int = setting(
        -1,
        "Highest price of 1,000 prompt tokens to accept, in wei; -1 accepts three times the median of the sellers "
        "with a bond, weighted by stake, or the median of what was paid lately if that is more.",
        low=-1,
    )
    price_out_max_wei: int = setting(
        -1,
        "Highest price of 1,000 answer tokens to accept, in wei; -1 accepts three times the median of the sellers "
        "with a bond, weighted by stake, or the median of what was paid lately if that is more.",
        low=-1,
    )
    candidates_max: int = setting(8, "Most nodes to ask for a bid, the most promising first.", low=1, high=64)
    bid_timeout_s: float = setting(1.5, "Seconds to wait for bids.", low=0.05, high=60.0)
    stall_timeout_s: float = setting(
        15.0,
        "Seconds without a chunk of the answer before another node continues it; for the first chunk about 5 if "
        "another node has bid.",
        low=0.1,
        high=600.0,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class SettlementConfig:
    """Claims of receipts on the chain."""

    coin_price_wei: int = setting(
        0, "Value of one whole coin of gas in wei of OPEN; 0 takes the one in network.json.", low=0
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ChainConfig:
    """The chain that money moves on. Amounts are in wei of its own coin; 10^18 wei are one coin."""

    rpc: str = setting("", "URL of the JSON-RPC endpoint; if empty, the endpoints in network.json.")
    timeout_s: float = setting(10.0, "Seconds to wait for one answer of the endpoint.", low=0.1, high=120.0)
    idle_poll_s: float = setting(
        55.0,
        "Most seconds between two looks at the chain while nothing of this node waits there.",
        low=4.0,
        high=120.0,
    )
    fee_max_wei: int = setting(
        5 * 10**16, "Most that one transaction may cost, in wei, unless more money is at risk.", low=0
    )
    gas_budget_wei: int = setting(
        2 * 10**17, "Most that a day's transactions may cost, in wei; urgent claims may exceed it.", low=0
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class P2pConfig:
    """The network of nodes. A node on its own embedded chain is alone and does not use it."""

    listen: str = setting(
        "auto", "Addresses to listen on, such as /ip4/192.168.1.7/tcp/4120; auto takes every address of this machine."
    )
    port: int = setting(0, "TCP port if listen is auto; 0 takes any free port.", low=0, high=65535)
    announce: str = setting(
        "",
        "Public addresses that lead here, such as /ip4/203.0.113.7/tcp/4120; for a port that your router forwards.",
    )
    map_port: bool = setting(
        True,
        "Ask the router by UPnP or NAT-PMP for a port that leads here; only on the internet, and without announce.",
    )
    relay: bool = setting(
        False, "Pass traffic on for nodes that nobody can dial; useful on a node with a public address."
    )
    relay_bytes_per_s: int = setting(
        RELAY_BYTES_PER_S,
        "Most bytes that this node passes on as a relay in a second, all circuits together; 0 is no limit.",
        low=0,
        gap=RELAY_BYTES_PER_S_MIN,
    )
    mdns: bool = setting(
        True,
        "Find peers of the network on the same LAN by multicast DNS; only on a node that listens in a LAN.",
    )
    # A peer gives up on a chunk of 256 KiB that takes 20 s, so a slower uplink would send files that nobody keeps.
    adapter_upload_bytes_per_s: int = setting(
        0,
        "Most bytes of adapter files and rows that peers get in a second, all together; 0 is no limit.",
        low=0,
        gap=16_384,
    )
    share_rows: bool = setting(
        True,
        "Send the rows of your published Datanets, and of those you have pulled, to peers that may have them.",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeConfig:
    """The daemon."""

    network: str = setting(
        "auto",
        "Id of a network, or auto (joined last, else embedded), embedded (chain in the daemon) or local (no chain).",
    )
    serve: bool = setting(
        True, "Answer and sell; if false, the node has no engine and no stake, and sends requests to the network."
    )
    auto_bond: bool = setting(
        True, "Bond the minimum stake at the start, so that earnings can be claimed; on development networks only."
    )
    drain_grace_s: float = setting(
        30.0, "Seconds for running answers to finish when the daemon stops.", low=0.0, high=3600.0
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitsConfig:
    """Limits on what the node uses of this machine, and when it pauses for its owner."""

    vram_bytes: int = setting(0, "Most GPU memory for the engine, in bytes; 0 is no limit.", low=0)
    ram_bytes: int = setting(0, "Most main memory for the engine, in bytes; 0 is no limit.", low=0)
    disk_bytes: int = setting(0, "Most disk space for models, adapters and caches, in bytes; 0 is no limit.", low=0)
    hours: str = setting(
        "",
        "Hours to serve in, local time, such as `22:00-07:00` or `mon-fri 18:00-23:00, sat-sun`; empty is always.",
        read=read_hours,
    )
    pause_when_busy: bool = setting(False, "Pause while another program uses an NVIDIA GPU of this machine.")
