"""Follows the values that the network's votes give as defaults, from epoch to epoch."""

import logging
from collections.abc import Callable
from dataclasses import replace

from openledger_protocol.epoch import epoch_at

from ..chain.refusals import open_text
from ..config import MarketConfig
from ..errors import ChainError, ConfigError
from ..home import Home
from ..network_defaults import defaults_of, keep_defaults, load_network_config, read_defaults
from ..settlement.session import NetworkSession

log = logging.getLogger(__name__)


class DefaultsFollower:
    """Keeps the network's defaults for the next start, and tells when they change this node's prices now."""

    def __init__(self, home: Home, session: NetworkSession, tell: Callable[[str], None]) -> None:
        self._home = home
        self._session = session
        self._tell = tell  # prints a line for the operator
        self._epoch: int | None = None
        self._doubts: tuple[str, ...] = ()

    def step(self, market: MarketConfig) -> MarketConfig | None:
        """Read the values of a new epoch; return other prices to sell at, or None. A silent chain is asked again."""
        try:
            return self._step(market)
        except ChainError:
            return None

    def _step(self, market: MarketConfig) -> MarketConfig | None:
        head = self._session.watcher.head or self._session.client.head()
        epoch = epoch_at(head.timestamp_s, self._session.windows)
        if epoch == self._epoch:
            return None
        found = defaults_of(self._session.deployment.params(epoch), epoch)
        self._epoch = epoch
        for doubt in set(found.doubts) - set(self._doubts):
            log.warning("%s", doubt)
        self._doubts = found.doubts
        network = self._session.network.network
        before = read_defaults(self._home, network)
        if before is None or before.values != found.values:
            keep_defaults(self._home, network, found)
        return self._changed_prices(market)

    def _changed_prices(self, market: MarketConfig) -> MarketConfig | None:
        try:
            wanted = load_network_config(self._home)[0].market
        except ConfigError as error:
            log.warning("%s", error)  # node.toml is being edited: the prices stay as they are
            return None
        if (wanted.price_in_wei, wanted.price_out_wei) == (market.price_in_wei, market.price_out_wei):
            return None
        self._tell(f"            {price_text(wanted)}")
        return replace(market, price_in_wei=wanted.price_in_wei, price_out_wei=wanted.price_out_wei)


def price_text(market: MarketConfig) -> str:
    """Say that the prices have followed the network's."""
    return (
        f"prices follow the network's guide price: {open_text(market.price_in_wei)} for 1,000 prompt tokens, "
        f"{open_text(market.price_out_wei)} for 1,000 answer tokens; `openledger-node price set` chooses others"
    )
