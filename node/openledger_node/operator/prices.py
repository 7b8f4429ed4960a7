"""Prices of this node beside those of other nodes; a change applies from the next bid on."""

from collections.abc import Mapping
from dataclasses import asdict, replace
from statistics import median_low
from typing import TYPE_CHECKING, Any

import trio

from openledger_protocol.errors import MalformedError
from openledger_protocol.primitives import wei_from_text

from ..config import MarketConfig, overriding
from ..home import Home
from ..market.overview import MarketView, rank_of
from ..network_defaults import SOURCE, load_network_config
from ..settings_file import check_value, write_settings

if TYPE_CHECKING:  # commands use this module too, and the network takes a second to import
    from ..network.service import NetworkService

PRICES = ("price_in_wei", "price_out_wei")
SURCHARGES = ("load_surcharge_percent", "cold_surcharge_percent")


class Prices:
    """Shows and changes the prices."""

    def __init__(self, home: Home, market: MarketConfig, network: "NetworkService | None" = None) -> None:
        self._home = home
        self._network = network  # None: the daemon is down
        self._market = market

    @property
    def market(self) -> MarketConfig:
        """The prices now; a running node may follow those of the network."""
        return self._network.config.market if self._network else self._market

    def show(self) -> dict[str, Any]:
        """The prices, and their rank among those of other nodes."""
        view = self._network.view() if self._network else None
        return {
            **prices_to_plain(self.market),
            "sources": price_sources(self._home),
            "market": [] if view is None else market_to_plain(view),
            "overridden_by": overriding("market", (*PRICES, *SURCHARGES)),
        }

    async def set(self, changes: Mapping[str, Any]) -> dict[str, Any]:
        """Sell at other prices from now on, and write them to node.toml.

        Raises:
            MalformedError: a value is no price.
            ConfigError: a price is out of bounds, or node.toml can't be changed.
        """
        await trio.to_thread.run_sync(self._write, changes)  # the rest needs trio's clock, so it stays in this thread
        if self._network:
            self._network.reprice(self._market)
        return self.show()

    def keep(self, changes: Mapping[str, Any]) -> dict[str, Any]:
        """Write other prices to node.toml, for the next start.

        Raises:
            MalformedError: a value is no price.
            ConfigError: a price is out of bounds, or node.toml can't be changed.
        """
        self._write(changes)
        return self.show()

    def _write(self, changes: Mapping[str, Any]) -> None:
        """Write what changes, and what was a default so far: a price that was set follows the network no more."""
        market = changed_market(self.market, changes)
        before, sources = asdict(self.market), price_sources(self._home)
        settings = {
            f"market.{name}": value
            for name, value in asdict(market).items()
            if value != before[name] or (sources.get(name) == SOURCE and _is_given(name, changes))
        }
        if settings:
            write_settings(self._home.config_file, settings)
        self._market = market


def changed_market(market: MarketConfig, changes: Mapping[str, Any]) -> MarketConfig:
    """The changed settings; `price_wei` scales both prices so that their sum comes to it.

    Raises:
        MalformedError: a value is no price, or there is no such field.
        ConfigError: a price is out of bounds.
    """
    given = {name: value for name, value in changes.items() if value is not None}
    if unknown := given.keys() - {"price_wei", *PRICES, *SURCHARGES}:
        raise MalformedError(f"a price has no field {min(unknown)!r}")
    values: dict[str, Any] = {}
    if "price_wei" in given:
        values |= _in_proportion(market, wei_from_text(given.pop("price_wei"), name="price_wei"))
    values |= {name: wei_from_text(value, name=name) if name in PRICES else value for name, value in given.items()}
    for name, value in values.items():
        check_value(f"market.{name}", value)
    return replace(market, **values)


def price_sources(home: Home) -> dict[str, str]:
    """The source of each price: node.toml, an environment variable, the network, or the shipped default."""
    _, origins = load_network_config(home)
    return {name: origin.source for origin in origins for name in PRICES if origin.key == f"market.{name}"}


def _is_given(name: str, changes: Mapping[str, Any]) -> bool:
    return name in PRICES and any(changes.get(each) is not None for each in (name, "price_wei"))


def prices_to_plain(market: MarketConfig) -> dict[str, Any]:
    """The prices of 1,000 tokens for JSON."""
    return {
        "price_in_wei": str(market.price_in_wei),
        "price_out_wei": str(market.price_out_wei),
        "price_wei": str(market.price_in_wei + market.price_out_wei),
        **{name: getattr(market, name) for name in SURCHARGES},
    }


def market_to_plain(view: MarketView) -> list[dict[str, Any]]:
    """The rank of each model that is sold here, for JSON."""
    return [
        {
            "model": each.name,
            "adapter_id": each.adapter,
            "own_wei": str(each.own_wei),
            "rank": rank_of(each.own_wei, each.others_wei),
            "tied": each.others_wei.count(each.own_wei),
            "offers": len(each.others_wei) + 1,
            "cheapest_wei": str(each.others_wei[0]) if each.others_wei else None,
            "median_wei": str(median_low(each.others_wei)) if each.others_wei else None,
        }
        for each in view.priced
    ]


def _in_proportion(market: MarketConfig, total: int) -> dict[str, int]:
    before = market.price_in_wei + market.price_out_wei
    price_in = total * market.price_in_wei // before if before else total // 5
    return {"price_in_wei": price_in, "price_out_wei": total - price_in}
