"""What `setup` takes for an answer: each is looked at as it is given, so that a slip costs that one alone."""

import re
from pathlib import Path
from typing import Final

import typer

from openledger_protocol.constants import DEMO_BASE_NAME, LOCAL_NETWORK
from openledger_protocol.errors import ProtocolError

from ..config import MarketConfig
from ..errors import ConfigError
from ..home import Home
from ..models.bases import FAKE_BASE_NAME, is_here
from ..operator.prices import changed_market
from .models import hub_name
from .network import fetch_network
from .units import wei_of

DEVELOPMENT: Final = "development"
NO_PRICE: Final = "none"

HUB_NAME: Final = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*(@[\w./-]+)?", re.ASCII)


def check_base(home: Home, base: str) -> None:
    """Look whether a base is here or may be on the hub.

    Raises:
        ConfigError: it is neither.
    """
    folder = Path(base).expanduser()
    if "/" in base and folder.is_dir():
        if not (folder / "config.json").exists():
            raise ConfigError(f"{folder} is no base model: it has no config.json")
        return
    is_known = base in (DEMO_BASE_NAME, FAKE_BASE_NAME) or is_here(home, base.replace("/", "--"))
    if not is_known and not HUB_NAME.fullmatch(hub_name(base)):
        raise ConfigError(
            f"no base is called {base!r} here: say {DEMO_BASE_NAME}, OWNER/NAME of the Hugging Face hub, "
            "a folder, or a name of `openledger-node models list`"
        )


def check_network(home: Home, network: str) -> None:
    """Look whether a network can be joined.

    Raises:
        ConfigError: it is none.
        NetworkError: it can't be fetched.
        ChainError: its chain does not answer, or is another one.
    """
    if network in (DEVELOPMENT, LOCAL_NETWORK) or home.network_file(network).exists():
        return
    if not network.startswith(("http://", "https://")) and not Path(network).is_file():
        raise ConfigError(
            f"{network!r} is no network: say {DEVELOPMENT}, {LOCAL_NETWORK}, or the FILE or URL of a network.json"
        )
    fetch_network(network)


def check_price(market: MarketConfig, price: str) -> None:
    """Look whether a price can be set.

    Raises:
        BadParameter: it is no amount, or too large.
        ConfigError: it is out of bounds.
    """
    if price == NO_PRICE:
        return
    try:
        wei = wei_of(price)
    except typer.BadParameter as error:
        raise typer.BadParameter(f"{error}; or {NO_PRICE}, to serve nothing") from error
    try:
        changed_market(market, {"price_wei": wei})
    except ProtocolError as error:
        raise typer.BadParameter(
            f"{price!r} is too large for a price: say OPEN of 1,000 tokens, like 0.005"
        ) from error
