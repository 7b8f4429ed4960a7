"""Direct queries of the chain by commands: is it reachable, and what does an account hold."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any

from openledger_protocol.chain import ContractCall
from openledger_protocol.errors import MalformedError, RevertedError
from openledger_protocol.primitives import Address, Wei

from ..chain.client import ChainClient
from ..errors import ChainError
from ..network_file import Network
from ..plugs import load_plug


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountBalances:
    """Balances of an account at the latest block."""

    coin_wei: Wei
    token_wei: Wei


@contextmanager
def open_endpoint(url: str) -> Iterator[ChainClient]:
    """Open a client of one endpoint."""
    with closing(load_plug("chain", "evm")(url)) as client:
        yield client


@contextmanager
def open_chain(network: Network) -> Iterator[ChainClient]:
    """Open a client of the first endpoint that answers and is on the network's chain.

    Raises:
        ChainError: no endpoint can be used; the message gives the reason for each.
    """
    refused = []
    for url in network.rpc:
        with open_endpoint(url) as client:
            try:
                chain_id = client.chain_id()
            except ChainError as error:
                refused.append(str(error))
                continue
            if chain_id == network.chain_id:
                yield client
                return
            refused.append(f"{url} is on chain {chain_id}, not on {network.chain_id}")
    raise ChainError(f"no endpoint of {network.network} can be used: {'; '.join(refused)}")


def read_balances(client: ChainClient, network: Network, account: Address) -> AccountBalances:
    """Read the balances of an account.

    Raises:
        ChainError: the endpoint does not answer, or the token is not deployed there.
    """
    from ..chain.contracts import load_contract  # imports the ABI decoder, a third of a second

    token = load_contract("OpenToken")
    try:
        answer = client.call(ContractCall(to=network.contracts["OpenToken"], data=token.encode("balanceOf", account)))
        token_wei = token.decode_result("balanceOf", answer)
    except (MalformedError, RevertedError) as error:
        raise ChainError(f"the token of {network.network} is not on its chain: was the chain reset?") from error
    return AccountBalances(coin_wei=client.coin_balance(account), token_wei=Wei(token_wei))


def balances_to_json(balances: AccountBalances) -> dict[str, Any]:
    """Convert balances for JSON: amounts are decimal strings, because JSON numbers lose digits."""
    return {"coin_wei": str(balances.coin_wei), "open_wei": str(balances.token_wei)}
