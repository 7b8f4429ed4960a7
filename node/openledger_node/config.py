"""Every setting: one frozen dataclass a TOML table, with default, unit and bound beside the field.

A value comes from, in this order: flag, environment (`OPENLEDGER_<TABLE>_<KEY>`), node.toml, default.
Secrets never are settings.
"""

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from pathlib import Path
from typing import Any, get_type_hints

from openledger_protocol.constants import DEMO_BASE_NAME

from .errors import ConfigError
from .home import HOME_VARIABLE
from .plugs import plug_names
from .setting import Setting, checked, setting, toml_of, value_from_text

KEY_VARIABLE = "OPENLEDGER_API_KEY"
"""Clients of ours are often given the key under this name; it is no setting, and no error."""

MIB = 1024 * 1024
GIB = 1024 * MIB


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiConfig:
    """The OpenAI-compatible API."""

    host: str = setting("127.0.0.1", "Address to listen on; only loopback is allowed.")
    port: int = setting(8420, "TCP port; 0 takes any free one.", low=0, high=65535)
    body_bytes_max: int = setting(2 * MIB, "Largest request body, in bytes.", low=1024, high=64 * MIB)


@dataclass(frozen=True, slots=True, kw_only=True)
class InferenceConfig:
    """The engine: one base model, many adapters, one child process."""

    base: str = setting(DEMO_BASE_NAME, "Base model: a name of `models list`, or a folder in Hugging Face format.")
    backend: str = setting("torch_lora", "What runs the model.", choices=lambda: plug_names("backend"))
    device: str = setting("auto", "Where it runs.", choices=lambda: ["auto", "cpu", "cuda", "mps"])
    dtype: str = setting(
        "auto",
        "Number format of weights and KV cache; auto is bfloat16 where the device is fast at it.",
        choices=lambda: ["auto", "float32", "bfloat16"],
    )
    threads: int = setting(0, "CPU threads of the engine; 0 takes all cores that it may use.", low=0, high=512)
    wait_policy: str = setting(
        "auto",
        "How idle engine threads wait: active is faster on an idle machine and ruinous on a busy one.",
        choices=lambda: ["auto", "active", "passive"],
    )
    batch_max: int = setting(16, "Sequences that run at once.", low=1, high=1024)
    queue_max: int = setting(256, "Requests that may run or wait; one more is told to come back.", low=1, high=65536)
    context_max: int = setting(
        2048,
        "Tokens of prompt and answer together; the model's own bound holds as well.",
        low=16,
        high=1 << 20,
    )
    prefill_tokens_max: int = setting(512, "Prompt tokens worked on in one step.", low=16, high=65536)
    kv_cache_bytes: int = setting(
        0, "Memory for keys and values, in bytes; 0: what batch_max sequences of context_max tokens may need.", low=0
    )
    quantisation: str = setting(
        "none", "How the base's weights are kept: int8 and nf4 take less.", choices=lambda: ["none", "int8", "nf4"]
    )
    acceleration: str = setting(
        "auto", "Compiled code for processors that have what it needs.", choices=lambda: ["auto", "off"]
    )
    adapter_cache_bytes: int = setting(
        GIB, "Memory for adapters on the device, in bytes; those least worth their place go first.", low=MIB
    )
    adapter_ram_bytes: int = setting(
        2 * GIB, "On a GPU: main memory for copies of adapters, in bytes; without one they lie there anyhow.", low=0
    )
    merge_after_steps: int = setting(
        0, "Steps that one adapter has the engine to itself before it is merged into the base; 0: never.", low=0
    )
    memory_max_bytes: int = setting(
        0, "Resident memory of the engine's process, in bytes, over which it is restarted; 0: no bound.", low=0
    )
    load_timeout_s: float = setting(
        600.0, "Seconds that the engine may take to load the base before it is restarted.", low=10.0, high=86_400.0
    )
    stall_timeout_s: float = setting(
        120.0, "Seconds of silence from a busy engine after which it is restarted.", low=1.0, high=3600.0
    )
    server_command: str = setting(
        "vllm", "Backend vllm: the program that the node starts, and arguments to add, as in a shell."
    )
    server_url: str = setting("", "Backend vllm: URL of a server that you run; empty: the node starts one.")


@dataclass(frozen=True, slots=True, kw_only=True)
class FactoryConfig:
    """ModelFactory: training an adapter on the rows of a Datanet."""

    trainer: str = setting("peft_lora", "What trains.", choices=lambda: plug_names("trainer"))


@dataclass(frozen=True, slots=True, kw_only=True)
class MarketConfig:
    """What answers cost, and how far payers are trusted. Amounts are wei: 10^18 are one OPEN."""

    price_in_wei: int = setting(10**15, "Price of 1,000 prompt tokens: no bid goes below it.", low=0)
    price_out_wei: int = setting(4 * 10**15, "Price of 1,000 answer tokens: no bid goes below it.", low=0)
    load_surcharge_percent: int = setting(
        50, "Percent that a bid is dearer where the queue is full; in between in proportion.", low=0, high=10_000
    )
    cold_surcharge_percent: int = setting(
        0, "Percent that a bid is dearer for an adapter that is not in memory.", low=0, high=10_000
    )
    credit_tokens_max: int = setting(32, "Tokens of one chunk: a payer pays so far ahead.", low=1, high=4096)
    unsecured_credit_wei: int = setting(
        10**16, "What a payer without a channel is served for, a UTC day; 0: nothing.", low=0
    )
    unsecured_total_wei: int = setting(10**17, "The same for all such payers together.", low=0)
    voucher_timeout_s: float = setting(
        10.0, "Seconds to wait for a payer's next voucher before the answer ends.", low=0.1, high=600.0
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class PayerConfig:
    """What this node asks for when it pays others."""

    auditable: bool = setting(
        True,
        "Let contributors be paid; text of an answer may then be demanded in clear where it is sampled for a check.",
    )
    deposit_wei: int = setting(10**18, "Paid into a channel with a node when it is first needed.", low=1)
    request_max_wei: int = setting(10**17, "Most that one request may cost, in wei.", low=0)
    day_max_wei: int = setting(10**18, "Most that all requests of a UTC day may cost together, in wei.", low=0)
    candidates_max: int = setting(8, "Nodes that are asked for a bid, the most promising first.", low=1, high=64)
    bid_timeout_s: float = setting(1.5, "Seconds that nodes have for a bid.", low=0.05, high=60.0)
    stall_timeout_s: float = setting(
        15.0, "Seconds without a piece of the answer after which another node goes on with it.", low=0.1, high=600.0
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class SettlementConfig:
    """Bringing receipts to the chain."""

    claim_interval_s: float = setting(
        0.0, "Seconds between claims; 0: once an epoch of the network.", low=0.0, high=604_800.0
    )
    coin_price_wei: int = setting(
        10**18, "What one whole coin of gas is worth in wei of OPEN: nothing is claimed at a loss.", low=0
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ChainConfig:
    """The chain that money moves on. Amounts are wei of its own coin: 10^18 are one."""

    rpc: str = setting("", "URL of the JSON-RPC endpoint; empty: the network's own list.")
    timeout_s: float = setting(10.0, "Seconds to wait for one answer of it.", low=0.1, high=120.0)
    fee_max_wei: int = setting(5 * 10**16, "Most that one transaction may cost, unless more is at risk.", low=0)
    gas_budget_wei: int = setting(
        2 * 10**17, "Most that a day's transactions may cost; urgent claims go past it.", low=0
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class P2pConfig:
    """The network of nodes; a home on its own embedded chain is alone, and needs none."""

    listen: str = setting(
        "auto", "Addresses to be reached at, like /ip4/192.168.1.7/tcp/4120; auto: each one of this machine."
    )
    port: int = setting(0, "TCP port where listen is auto; 0 takes any free one.", low=0, high=65535)


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeConfig:
    """The daemon."""

    network: str = setting(
        "auto",
        "A network's id; auto: the one joined last, else embedded; embedded: a chain in the daemon; local: none.",
    )
    serve: bool = setting(
        True, "Answer and sell; false: no engine and no stake, requests go to the nodes of the network."
    )
    auto_bond: bool = setting(
        True, "On a development network: bond the minimum stake at a start, so that earnings can be claimed."
    )
    drain_grace_s: float = setting(
        30.0, "Seconds that running answers get to finish when the daemon is stopped.", low=0.0, high=3600.0
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitsConfig:
    """What this machine's owner keeps for himself: the node takes no more, and stands aside when he works."""

    vram_bytes: int = setting(0, "Most of the GPU's memory that the engine may take, in bytes; 0: no cap.", low=0)
    ram_bytes: int = setting(0, "Most main memory that the engine may take, in bytes; 0: no cap.", low=0)
    disk_bytes: int = setting(0, "Most that models, adapters and caches may take, in bytes; 0: no cap.", low=0)
    hours: str = setting(
        "", "When it may serve, in local time, like `22:00-07:00` or `mon-fri 18:00-23:00, sat-sun`; empty: always."
    )
    pause_when_busy: bool = setting(False, "Pause while another program uses the GPU; without one, the CPU.")
    busy_gpu_bytes: int = setting(
        512 * MIB, "GPU memory of another program from which on it counts; a desktop takes less.", low=MIB
    )
    busy_cpu_percent: int = setting(
        50, "Percent of all cores that other programs use from which on they count.", low=1, high=100
    )
    busy_quiet_s: float = setting(
        60.0, "Seconds of quiet after which the node goes on by itself.", low=1.0, high=86_400.0
    )
    busy_grace_s: float = setting(
        5.0, "Seconds that running answers get when another program comes.", low=0.0, high=600.0
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """All settings, a field a TOML table."""

    node: NodeConfig = field(default_factory=NodeConfig)
    limits: LimitsConfig = field(default_factory=LimitsConfig)
    api: ApiConfig = field(default_factory=ApiConfig)
    inference: InferenceConfig = field(default_factory=InferenceConfig)
    factory: FactoryConfig = field(default_factory=FactoryConfig)
    market: MarketConfig = field(default_factory=MarketConfig)
    payer: PayerConfig = field(default_factory=PayerConfig)
    chain: ChainConfig = field(default_factory=ChainConfig)
    p2p: P2pConfig = field(default_factory=P2pConfig)
    settlement: SettlementConfig = field(default_factory=SettlementConfig)


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Where one value came from."""

    key: str  # "inference.base"
    value: object
    source: str  # "default", "node.toml", "OPENLEDGER_INFERENCE_BASE", "flag"


TABLES: dict[str, type] = get_type_hints(Config)


def load_config(
    file: Path, *, environment: Mapping[str, str] = os.environ, flags: Mapping[str, object] | None = None
) -> tuple[Config, list[Origin]]:
    """Read the settings and say of each where it came from; `flags` are "table.key" → value, None left out.

    Raises:
        ConfigError: unreadable TOML, an unknown key (naming the nearest), a value of the wrong type or bound.
    """
    written = _read_toml(file)
    _check_variables(environment)
    given = {key: value for key, value in (flags or {}).items() if value is not None}
    tables: dict[str, Any] = {}
    origins: list[Origin] = []
    for table, cls in TABLES.items():
        values = {}
        for key, hint in get_type_hints(cls).items():
            origin = _resolve(table, key, hint, cls, written, environment, given)
            values[key] = origin.value
            origins.append(origin)
        tables[table] = cls(**values)
    config = Config(**tables)
    _check_loopback(config.api.host)
    return config, origins


def render_example() -> str:
    """node.example.toml: every setting at its default, commented out, under its help."""
    lines = [
        "# Every setting at its default. Copy to node.toml in the node's home and change what you need.",
        "",
    ]
    for table, cls in TABLES.items():
        lines += [f"# {cls.__doc__}", f"[{table}]"]
        for spec in fields(cls):
            about: Setting = spec.metadata["setting"]
            choices = f" One of: {', '.join(about.choices())}." if about.choices else ""
            lines += [f"# {about.help}{choices}", f"# {spec.name} = {toml_of(spec.default)}"]
        lines.append("")
    return "\n".join(lines)


def _resolve(
    table: str,
    key: str,
    hint: type,
    cls: type,
    written: Mapping[str, Any],
    environment: Mapping[str, str],
    flags: Mapping[str, object],
) -> Origin:
    name = f"{table}.{key}"
    spec = next(spec for spec in fields(cls) if spec.name == key)
    variable = f"OPENLEDGER_{table}_{key}".upper()
    if name in flags:
        source, value = "flag", flags[name]
    elif variable in environment:
        source, value = variable, value_from_text(variable, environment[variable], hint)
    elif key in written.get(table, {}):
        source, value = "node.toml", written[table][key]
    else:
        source, value = "default", spec.default
    return Origin(key=name, value=checked(name, source, value, hint, spec.metadata["setting"]), source=source)


def _read_toml(file: Path) -> dict[str, Any]:
    try:
        written = tomllib.loads(file.read_text())
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise ConfigError(f"cannot read {file}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file} is not TOML: {error}") from error
    for table, values in written.items():
        _check_known(file, table, TABLES)
        if not isinstance(values, dict):
            raise ConfigError(f"{file}: {table} must be a table: write [{table}] and its keys below")
        for key in values:
            _check_known(file, f"{table}.{key}", [f"{table}.{spec.name}" for spec in fields(TABLES[table])])
    return written


def _check_known(file: Path, name: str, known: Mapping[str, object] | list[str]) -> None:
    if name not in known:
        close = get_close_matches(name, list(known), n=1, cutoff=0.4)
        hint = f": did you mean {close[0]}?" if close else f": there are {', '.join(known)}"
        raise ConfigError(f"{file} has an unknown key {name}{hint}")


def _check_variables(environment: Mapping[str, str]) -> None:
    known = [f"OPENLEDGER_{table}_{spec.name}".upper() for table, cls in TABLES.items() for spec in fields(cls)]
    for variable in environment:
        if variable.startswith("OPENLEDGER_") and variable not in (HOME_VARIABLE, KEY_VARIABLE, *known):
            close = get_close_matches(variable, known, n=1)
            hint = f": did you mean {close[0]}?" if close else ""
            raise ConfigError(f"the environment has an unknown setting {variable}{hint}")


def _check_loopback(host: str) -> None:
    if host not in ("127.0.0.1", "::1", "localhost"):
        raise ConfigError(
            f"api.host is {host!r}, but the API listens on loopback alone: "
            "put a reverse proxy with its own authentication in front, or use an SSH tunnel"
        )
