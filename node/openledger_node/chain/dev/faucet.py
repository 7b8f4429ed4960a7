"""The faucet of development networks: coins and OPEN from the bank, which has all of them at first."""

import time
from collections.abc import Callable

from openledger_protocol.chain import ContractCall
from openledger_protocol.primitives import Address, Digest, Wei
from openledger_protocol.transactions import GasPrice

from ...errors import ChainError
from ...network_file import Network
from ..client import ChainClient, SendRefusedError
from ..contracts import load_contract
from ..encoding import UnsignedTransaction, sign_transaction
from .constants import BANK, BANK_KEY

GWEI = 10**9
PRICE = GasPrice(fee_max_wei=Wei(1_000 * GWEI), tip_max_wei=Wei(GWEI))
"""The same for every user of the bank, so that no transaction replaces another one with the same nonce."""

GAS_LIMIT = 200_000
"""A coin transfer takes 21,000 gas, and a token transfer that moves votes less than 150,000."""

ROUNDS_MAX = 8
PLACES_MAX = 256  # nonces that other processes may have taken just before
POLL_S, WAIT_S = 0.2, 60.0


def fund(
    client: ChainClient,
    network: Network,
    account: Address,
    *,
    coin_wei: int,
    open_wei: int,
    pause: Callable[[float], None] = time.sleep,
) -> None:
    """Send coins and OPEN to an account, and return when it has them. Many processes may do so at once.

    Raises:
        ChainError: this is not a development network, the bank is empty, or the chain does not mine.
    """
    if not network.is_development:
        raise ChainError(f"{network.network} is not a development network, so nobody gives coins away there")
    if client.chain_id() != network.chain_id:
        raise ChainError(f"the endpoint is on chain {client.chain_id()}, but {network.network} on {network.chain_id}")
    calls = [ContractCall(to=account, value_wei=Wei(coin_wei))] if coin_wei else []
    if open_wei:
        transfer = load_contract("OpenToken").encode("transfer", account, open_wei)
        calls.append(ContractCall(to=network.contracts["OpenToken"], data=transfer))
    for _ in range(ROUNDS_MAX):
        sent = [(call, *_send(client, network.chain_id, call)) for call in calls]
        calls = [call for call, digest, nonce in sent if not _is_mined(client, digest, nonce, pause)]
        if not calls:
            return
    raise ChainError("too many processes use the bank of the development network at once: try again")


def _send(client: ChainClient, chain_id: int, call: ContractCall) -> tuple[Digest, int]:
    """Send a transaction of the bank with the first free nonce."""
    nonce = client.nonce(BANK)
    for _ in range(PLACES_MAX):
        unsigned = UnsignedTransaction(chain_id=chain_id, nonce=nonce, price=PRICE, gas_limit=GAS_LIMIT, call=call)
        try:
            return client.send(sign_transaction(unsigned, BANK_KEY)), nonce
        except SendRefusedError as error:
            if error.reason == "no_funds":
                raise ChainError(f"the bank {BANK} has too few coins: is this a development chain?") from error
            if error.reason == "other":
                raise ChainError(f"the chain rejects a transfer: {error}") from error
            nonce = max(nonce + 1, client.nonce(BANK))
    raise ChainError(f"the chain does not mine: {PLACES_MAX} transfers of the bank are pending")


def _is_mined(client: ChainClient, digest: Digest, nonce: int, pause: Callable[[float], None]) -> bool:
    """Wait for a transaction; return False if another one took its nonce, or the endpoint forgot it.

    Raises:
        ChainError: it was reverted, or no block was mined.
    """
    for _ in range(int(WAIT_S / POLL_S)):
        is_taken = client.nonce(BANK) > nonce  # before the receipt: whatever took the nonce is mined by then
        if receipt := client.receipt(digest):
            if not receipt.is_ok:
                raise ChainError(f"the bank {BANK} has too little OPEN for this")
            return True
        if is_taken or not client.is_known(digest):
            return False
        pause(POLL_S)
    raise ChainError(f"the development chain has mined nothing for {WAIT_S:.0f} s: check that it is running")
