"""Prices of the gateway: the node's own answers by their tokens, and bought answers by their cost and a margin."""

from dataclasses import dataclass

from openledger_protocol.constants import PRICE_TOKENS
from openledger_protocol.payments import Terms
from openledger_protocol.primitives import Wei

from ..config import GatewayConfig, MarketConfig

PPM = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayPrices:
    """The prices that apply to a request for its whole time, whatever the settings become meanwhile."""

    own: Terms
    margin_ppm: int

    def own_wei(self, tokens_in: int, tokens_out: int) -> Wei:
        """The price of one of this machine's answers, rounded up once, at the end."""
        whole = tokens_in * self.own.price_in_wei + tokens_out * self.own.price_out_wei
        return Wei(-(-whole // PRICE_TOKENS))

    def bought_wei(self, cost_wei: int) -> Wei:
        """The price of an answer that cost so much on the network, rounded up."""
        return Wei(-(-cost_wei * (PPM + self.margin_ppm) // PPM))

    def cost_max_wei(self, price_wei: int) -> Wei:
        """The highest cost whose price is at most `price_wei`."""
        return Wei(price_wei * PPM // (PPM + self.margin_ppm))

    def with_margin(self, terms: Terms) -> Terms:
        """Another node's prices as a customer pays them, rounded up."""
        return Terms(
            price_in_wei=self.bought_wei(terms.price_in_wei), price_out_wei=self.bought_wei(terms.price_out_wei)
        )


def gateway_prices(gateway: GatewayConfig, market: MarketConfig) -> GatewayPrices:
    """The prices by the settings: those of [gateway] where they are set, else what this node asks on the network."""
    price_in = market.price_in_wei if gateway.price_in_wei < 0 else gateway.price_in_wei
    price_out = market.price_out_wei if gateway.price_out_wei < 0 else gateway.price_out_wei
    own = Terms(price_in_wei=Wei(price_in), price_out_wei=Wei(price_out))
    return GatewayPrices(own=own, margin_ppm=gateway.margin_ppm)
