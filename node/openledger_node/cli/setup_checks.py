"""Checks of the answers to `setup`, one at a time, so that a typing error costs one answer only."""

import re
from pathlib import Path
from typing import Final

from openledger_protocol.constants import DEMO_BASE_NAME, LOCAL_NETWORK

from ..config import InferenceConfig, MarketConfig
from ..errors import ConfigError, InputError
from ..home import Home
from ..models.bases import FAKE_BASE_NAME, base_here
from ..models.gguf_name import read_hub_gguf
from ..models.stores import locate
from ..operator.base_look import hub_name
from ..operator.prices import changed_market
from ..setting import Setting, checked
from .network_source import fetch_network
from .units import wei_of

DEVELOPMENT: Final = "development"
NO_PRICE: Final = "none"

HUB_NAME: Final = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*(@[\w./-]+)?", re.ASCII)


def check_base(home: Home, base: str) -> None:
    """Check that a base is on this machine or may be on the hub.

    Raises:
        ConfigError: neither is possible.
        ModelError: it names a GGUF file or another program's store, and there is no such model.
    """
    folder = Path(base).expanduser()
    if "/" in base and folder.is_dir():
        if not (folder / "config.json").exists():
            raise ConfigError(f"{folder} is not a base model: it has no config.json")
        return
    is_known = base in (DEMO_BASE_NAME, FAKE_BASE_NAME) or base_here(home, base)
    if is_known or locate(base) or read_hub_gguf(base):
        return
    if not HUB_NAME.fullmatch(hub_name(base)):
        raise ConfigError(
            f"no base is called {base!r} here: give {DEMO_BASE_NAME}, OWNER/NAME of the Hugging Face hub, "
            "a folder, a GGUF file, or a name from `openledger-node models list`"
        )


def check_network(home: Home, network: str) -> None:
    """Check that a network can be joined.

    Raises:
        ConfigError: it is not a network.
        NetworkError: its file can't be downloaded.
        ChainError: its chain does not answer, or is a different chain.
    """
    if network in (DEVELOPMENT, LOCAL_NETWORK) or home.network_file(network).exists():
        return
    if not network.startswith(("http://", "https://")) and not Path(network).is_file():
        raise ConfigError(
            f"{network!r} is not a network: give {DEVELOPMENT}, {LOCAL_NETWORK}, or the FILE or URL#sha256=HASH of a "
            "network.json"
        )
    fetch_network(network)


def check_quantisation(quantisation: str) -> None:
    """Check that a quantisation is one of those that the setting takes.

    Raises:
        ConfigError: it is not; the message lists them.
    """
    about: Setting = InferenceConfig.__dataclass_fields__["quantisation"].metadata["setting"]
    checked("inference.quantisation", "--quantisation", quantisation, str, about)


def check_price(market: MarketConfig, price: str) -> None:
    """Check that a price can be set.

    Raises:
        InputError: the price is not an amount, or is too large.
        ConfigError: the price is out of bounds.
    """
    if price == NO_PRICE:
        return
    try:
        wei = wei_of(price)
    except InputError as error:
        raise InputError(f"{error}, or {NO_PRICE} to serve nothing") from error
    changed_market(market, {"price_wei": wei})
