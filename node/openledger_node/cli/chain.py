"""What verbs ask the chain themselves: whether it is there, and what an account has."""

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
    """What an account has at the latest block."""

    coin_wei: Wei
    token_wei: Wei


@contextmanager
def open_endpoint(url: str) -> Iterator[ChainClient]:
    """Talk to one endpoint."""
    with closing(load_plug("chain", "evm")(url)) as client:
        yield client


@contextmanager
def open_chain(network: Network) -> Iterator[ChainClient]:
    """Talk to the first of a network's endpoints that answers and is on its chain.

    Raises:
        ChainError: none does; the message says what each had.
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
    """Ask what an account has.

    Raises:
        ChainError: the endpoint does not answer, or the token is not there.
    """
    from ..chain.contracts import load_contract  # with it comes what decodes answers, a third of a second

    token = load_contract("OpenToken")
    try:
        answer = client.call(ContractCall(to=network.contracts["OpenToken"], data=token.encode("balanceOf", account)))
        token_wei = token.decode_result("balanceOf", answer)
    except (MalformedError, RevertedError) as error:
        raise ChainError(f"the token of {network.network} is not on its chain: did the chain begin anew?") from error
    return AccountBalances(coin_wei=client.coin_balance(account), token_wei=Wei(token_wei))


def balances_to_json(balances: AccountBalances) -> dict[str, Any]:
    """Balances for machines: amounts are decimal strings, since JSON numbers lose digits."""
    return {"coin_wei": str(balances.coin_wei), "open_wei": str(balances.token_wei)}
