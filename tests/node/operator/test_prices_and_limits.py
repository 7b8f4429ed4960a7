"""Prices and limits: what may be set, what changes at once, and what is kept."""

import tomllib
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from openledger_node.card import Card
from openledger_node.config import Config, InferenceConfig, LimitsConfig, MarketConfig, PayerConfig
from openledger_node.engine import base_fit
from openledger_node.engine import options as options_module
from openledger_node.engine.absent import NoEngine
from openledger_node.engine.backend import BackendSettings
from openledger_node.engine.budget import check_disk_room
from openledger_node.engine.frames import Beat
from openledger_node.engine.options import engine_options
from openledger_node.errors import ConfigError
from openledger_node.home import Home
from openledger_node.machine import Machine
from openledger_node.market.overview import MarketView, Priced
from openledger_node.models.bases import FAKE_BASE
from openledger_node.operator.limits import Limits
from openledger_node.operator.prices import Prices, changed_market
from openledger_protocol.errors import MalformedError
from openledger_protocol.payments import Terms
from openledger_protocol.primitives import BASE_ONLY, Wei

MARKET = MarketConfig(price_in_wei=1_000, price_out_wei=4_000)
SETTINGS = BackendSettings(
    base_folder=None, device="cpu", dtype="auto", threads=1, batch_max=4, context_max=64, kv_cache_bytes=0
)
GB = 10**9


@pytest.mark.parametrize(
    ("wanted", "prices"),
    [
        ({"price_wei": "10000"}, (2_000, 8_000)),
        ({"price_wei": "7"}, (1, 6)),
        ({"price_in_wei": "5"}, (5, 4_000)),
        ({"price_wei": "10000", "price_out_wei": "1"}, (2_000, 1)),
    ],
)
def test_a_price_for_both_moves_them_in_proportion(wanted: dict[str, Any], prices: tuple[int, int]) -> None:
    market = changed_market(MARKET, wanted)
    assert (market.price_in_wei, market.price_out_wei) == prices


@pytest.mark.parametrize(
    ("wanted", "error"),
    [
        ({"price": "5"}, MalformedError),
        ({"price_wei": "-5"}, MalformedError),
        ({"price_wei": "9" * 40}, MalformedError),
        ({"load_surcharge_percent": 10_001}, ConfigError),
    ],
)
def test_what_is_no_price_is_refused(wanted: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        changed_market(MARKET, wanted)


def terms(price_in: int, price_out: int) -> Terms:
    return Terms(price_in_wei=Wei(price_in), price_out_wei=Wei(price_out))


@dataclass
class Network:
    """Takes new prices, and shows a market."""

    applied: list[MarketConfig] = field(default_factory=list)
    seen: MarketView | None = None

    @property
    def config(self) -> Config:
        return Config(market=self.applied[-1] if self.applied else MARKET)

    def reprice(self, market: MarketConfig) -> None:
        self.applied.append(market)

    def view(self) -> MarketView | None:
        return self.seen


def test_a_price_is_shown_beside_those_of_others(home: Home) -> None:
    here = Priced(
        name="lake", adapter=BASE_ONLY, own=terms(1_000, 4_000), others=(terms(9, 9), terms(1, 1), terms(9_000, 1))
    )
    view = MarketView(num_peers=3, num_serving=3, was_dialled=True, addresses=(), calls=(), now_s=0.0, priced=(here,))
    shown = Prices(home, MARKET, Network(seen=view)).show()  # type: ignore[arg-type]
    (row,) = shown["market"]
    assert (row["model"], row["own_wei"], row["rank"], row["tied"], row["offers"]) == ("lake", "5000", 3, 0, 4)
    assert (row["cheapest_wei"], row["median_wei"]) == ("2", "18")


async def test_a_price_that_is_set_counts_at_once_and_is_kept(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    applied: list[MarketConfig] = []
    desk = Prices(home, MARKET, Network(applied))  # type: ignore[arg-type]
    shown = await desk.set({"price_out_wei": "8000"})
    assert applied == [replace(MARKET, price_out_wei=8_000)]
    assert (shown["price_out_wei"], shown["price_wei"]) == ("8000", "9000")
    assert tomllib.loads(home.config_file.read_text()) == {"market": {"price_out_wei": 8_000}}
    monkeypatch.setenv("OPENLEDGER_MARKET_PRICE_IN_WEI", "5")
    overruled = await Prices(home, MARKET).set({"price_in_wei": "9"})
    assert overruled["overridden_by"] == ["OPENLEDGER_MARKET_PRICE_IN_WEI"]


@dataclass
class Moved:
    """What a desk has moved."""

    refitted: list[LimitsConfig] = field(default_factory=list)
    capped: list[PayerConfig] = field(default_factory=list)
    refuses: bool = False

    def refit(self, limits: LimitsConfig) -> None:
        if self.refuses:
            raise ConfigError("the base does not fit")
        self.refitted.append(limits)

    def cap(self, payer: PayerConfig, _: LimitsConfig) -> None:
        self.capped.append(payer)

    async def spent_today_wei(self) -> int:
        return 7


def limits_desk(home: Home, moved: Moved) -> Limits:
    engine = NoEngine.__new__(NoEngine)
    engine.profile, engine._child = None, None
    engine.beat = Beat()
    network: Any = moved
    return Limits(home, LimitsConfig(), PayerConfig(), engine=engine, network=network, serves=True, refit=moved.refit)


async def test_limits_that_are_set_count_at_once_and_are_kept(home: Home) -> None:
    moved = Moved()
    desk = limits_desk(home, moved)
    shown = await desk.set({"vram_bytes": 20 * GB, "hours": "22:00-07:00", "day_max_wei": "12", "ram_bytes": None})
    assert (shown["vram_bytes"], shown["hours"], shown["day_max_wei"]) == (20 * GB, "22:00-07:00", "12")
    assert shown["used"]["spent_today_wei"] == "7"
    assert [limits.vram_bytes for limits in moved.refitted] == [20 * GB]
    assert [payer.day_max_wei for payer in moved.capped] == [12]
    assert tomllib.loads(home.config_file.read_text()) == {
        "limits": {"vram_bytes": 20 * GB, "hours": "22:00-07:00"},
        "payer": {"day_max_wei": 12},
    }


async def test_a_limit_that_the_base_does_not_fit_under_changes_nothing(home: Home) -> None:
    desk = limits_desk(home, Moved(refuses=True))
    with pytest.raises(ConfigError, match="does not fit"):
        await desk.set({"vram_bytes": 1})
    assert desk.limits == LimitsConfig()
    assert not home.config_file.exists()


@pytest.mark.parametrize(
    ("wanted", "error"),
    [
        ({"watts": 5}, MalformedError),
        ({"day_max_wei": 5}, MalformedError),
        ({"hours": "noon"}, ConfigError),
        ({"vram_bytes": -1}, ConfigError),
        ({"pause_when_busy": "yes"}, ConfigError),
    ],
)
async def test_what_is_no_limit_is_refused(home: Home, wanted: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        await limits_desk(home, Moved()).set(wanted)


def test_the_cap_of_its_device_reaches_an_engine(home: Home, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    config = replace(Config(), limits=LimitsConfig(vram_bytes=6 * GB, ram_bytes=3 * GB))
    on_cpu = engine_options(home, config, FAKE_BASE)
    monkeypatch.setattr(base_fit, "is_on_gpu", lambda _: True)
    on_gpu = engine_options(home, config, FAKE_BASE)
    assert (on_gpu.settings.device_bytes_max, on_cpu.settings.device_bytes_max) == (6 * GB, 3 * GB)
    assert on_gpu.settings.kv_cache_bytes + on_gpu.adapter_cache_bytes == 6 * GB


def test_llama_server_gets_the_whole_cap(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    limits = LimitsConfig(vram_bytes=6 * GB, ram_bytes=3 * GB)
    config = replace(Config(), inference=InferenceConfig(backend="llamacpp"), limits=limits)
    card = Card(vendor="amd", name="an AMD GPU", total_bytes=16 * GB)
    monkeypatch.setattr(options_module, "look_at_machine", lambda: Machine(ram_bytes=32 * GB, card=card))
    options = engine_options(home, config, FAKE_BASE)
    assert (options.backend, options.settings.device_bytes_max, options.settings.kv_cache_bytes) == (
        "llamacpp",
        6 * GB,
        0,
    )
    assert options.adapter_cache_bytes == config.inference.adapter_cache_bytes
    monkeypatch.setattr(options_module, "look_at_machine", lambda: Machine(ram_bytes=32 * GB))
    assert engine_options(home, config, FAKE_BASE).settings.device_bytes_max == 3 * GB


def test_a_cap_on_the_disk_counts_what_is_there_and_what_would_come(home: Home) -> None:
    home.adapters.mkdir()
    (home.adapters / "weights").write_bytes(bytes(600))
    check_disk_room(home, 0, more_bytes=10**6)
    check_disk_room(home, 1_000, more_bytes=400)
    with pytest.raises(ConfigError, match="limits set --disk SIZE"):
        check_disk_room(home, 1_000, more_bytes=401)
