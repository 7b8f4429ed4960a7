"""From the settings to an x402 gateway: the chain, the node's accounts, the facilitator and the prices."""

import time
from collections.abc import Callable

from ..access.gateway_prices import GatewayPrices
from ..chain.x402 import X402Contract, x402_terms
from ..config import Config
from ..errors import ConfigError
from ..home import Home
from ..keystore import SIGNER, find_account, find_wallet
from ..ledger.ledger import Ledger
from ..network_file import is_embedded
from ..settlement.open import HomeNetwork, open_chain
from .x402_facilitator import open_facilitator
from .x402_gateway import X402Gateway, X402Offer


def open_x402(
    home: Home, config: Config, home_network: HomeNetwork, ledger: Ledger, prices: Callable[[], GatewayPrices]
) -> X402Gateway | None:
    """The gateway of the settings; None if they name no facilitator, or the gateway is off.

    Raises:
        ConfigError: the facilitator's URL is not valid.
    """
    if not config.gateway.takes_payments:
        return None

    def look() -> X402Offer:
        network = home_network.network
        if network is None:
            raise ConfigError("this node is on no network, so nobody can pay it")
        wallet = find_wallet(home, network.network)
        if wallet is None:
            raise ConfigError("this node has no wallet to be paid: run `openledger-node wallet create`")
        signer = find_account(home.network_keys(network.network), SIGNER).address
        client = open_chain(network, config, is_own=is_embedded(home, config.node.network))
        try:
            terms = x402_terms(client, network, config.gateway, wallet=wallet, signer=signer)
        except BaseException:
            client.close()
            raise
        return X402Offer(terms=terms, contract=X402Contract(client))

    facilitator = open_facilitator(config.gateway.x402_facilitator)
    return X402Gateway(look, facilitator, ledger, prices, lambda: int(time.time()))
