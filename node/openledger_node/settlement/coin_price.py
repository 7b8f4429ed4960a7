"""The price of a whole coin of gas in OPEN, by which a node compares gas with what it earns."""

from datetime import date, timedelta
from typing import Final

from openledger_protocol.primitives import Wei

from ..config_tables import SettlementConfig
from ..network_file import Network

AGE_MAX: Final = timedelta(days=30)


def coin_price_wei(network: Network, config: SettlementConfig) -> Wei | None:
    """In wei of OPEN, by the settings or else by network.json; None on a development network, where gas is free."""
    if network.coin_price is None:
        return None
    return Wei(config.coin_price_wei) or network.coin_price.open_wei


def price_warning(network: Network, config: SettlementConfig, today: date) -> str | None:
    """Explain to the operator that the price in network.json is used and old; None if all is well."""
    price = network.coin_price
    if price is None or config.coin_price_wei or today - price.on <= AGE_MAX:
        return None
    return (
        f"the price of a coin of gas in network.json is of {price.on}, and claims are timed by it: set [settlement] "
        "coin_price_wei to today's"
    )
