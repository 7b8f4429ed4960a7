"""Putting the seven contracts on a chain and joining them: each knows those below it, and roles are wired once."""

import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from openledger_protocol.chain import ContractCall
from openledger_protocol.epoch import Params, Windows
from openledger_protocol.primitives import Address, Digest, Wei
from openledger_protocol.signatures import address_of, sign_digest
from openledger_protocol.transactions import GasPrice

from ...errors import ChainError
from ..client import ChainClient, SendRefusedError
from ..contracts import load_contract
from ..encoding import UnsignedTransaction, created_address, encode_signed, signing_digest
from .constants import DEVELOPMENT_PARAMS, DEVELOPMENT_SUPPLY_WEI, DEVELOPMENT_WINDOWS

CREATE: Final = Address("0x")
"""Whom a transaction that creates a contract is sent to."""

CREATION_GAS: Final = 7_000_000
"""The largest contract that a chain takes: 24,576 bytes at 200 gas each, and its creation code as call data."""

WIRING_GAS: Final = 200_000
POLL_S: Final = 0.2
WAIT_S: Final = 120.0

BOUNDS: Final[Mapping[str, int]] = {
    "protocolPpmMax": 100_000,
    "stakersPpmMax": 100_000,
    "dataPpmMax": 300_000,
    "royaltyPpmMax": 300_000,
    "creditTokensMax": 4_096,
    "minStakeMin": 10**18,
    "minStakeMax": 10**24,
    "minDepositMin": 10**12,
    "minDepositMax": 10**21,
    "adapterBondMin": 0,
    "adapterBondMax": 10**23,
}
"""How far governance may go: the shares leave a node a fifth at the least."""


def deploy_network(
    client: ChainClient,
    deployer_key: bytes,
    *,
    windows: Windows = DEVELOPMENT_WINDOWS,
    params: Params = DEVELOPMENT_PARAMS,
    supply_wei: Wei = DEVELOPMENT_SUPPLY_WEI,
    governor: Address | None = None,
    treasury: Address | None = None,
    pause: Callable[[], object] = lambda: time.sleep(POLL_S),
    wait_s: float = WAIT_S,
) -> tuple[dict[str, Address], int]:
    """Create the contracts, wire the two that only AttributionRewards may call, and wait until all that is mined.

    Returns where they are, and the first block that holds one. The deployer gets all OPEN; it is governor and
    treasury where these are not given. `pause` passes the time between two looks at the chain.

    Raises:
        ChainError: the deployer has no coins, a transaction fails, or nothing is mined for `wait_s`.
    """
    deployer = address_of(deployer_key)
    sender = _Sender(client, deployer_key)
    addresses = _create_all(
        sender,
        deployer,
        {
            "OpenToken": [deployer, supply_wei],
            "Params": [governor or deployer, params, BOUNDS, windows],
        },
        treasury or deployer,
    )
    for name in ("NodeStaking", "PaymentChannels"):
        wiring = load_contract(name).encode("wire", addresses["AttributionRewards"])
        sender.send(ContractCall(to=addresses[name], data=wiring), WIRING_GAS)
    return addresses, min(sender.wait(pause, wait_s))


def _create_all(
    sender: "_Sender", deployer: Address, independent: Mapping[str, list[Any]], treasury: Address
) -> dict[str, Address]:
    at: dict[str, Address] = {}

    def create(name: str, *arguments: Any) -> None:
        at[name] = created_address(deployer, sender.nonce)
        sender.send(ContractCall(to=CREATE, data=load_contract(name).encode_creation(*arguments)), CREATION_GAS)

    for name, arguments in independent.items():
        create(name, *arguments)
    token, params = at["OpenToken"], at["Params"]
    create("NodeStaking", token, params)
    create("DatanetRegistry")
    create("ModelRegistry", token, params, at["DatanetRegistry"])
    create("PaymentChannels", token, params, at["NodeStaking"], at["ModelRegistry"], at["DatanetRegistry"])
    paying = [at["PaymentChannels"], at["NodeStaking"], at["DatanetRegistry"]]
    create("AttributionRewards", token, params, *paying, treasury)
    return at


class _Sender:
    """Sends one transaction after the other from a key that nobody else uses meanwhile."""

    def __init__(self, client: ChainClient, key: bytes) -> None:
        self._client = client
        self._key = key
        self._chain_id = client.chain_id()
        fees = client.fees()
        self._price = GasPrice(fee_max_wei=Wei(2 * fees.base_wei + fees.tip_wei), tip_max_wei=fees.tip_wei)
        self.nonce = client.nonce(address_of(key))
        self._sent: list[Digest] = []

    def send(self, call: ContractCall, gas_limit: int) -> None:
        unsigned = UnsignedTransaction(
            chain_id=self._chain_id, nonce=self.nonce, price=self._price, gas_limit=gas_limit, call=call
        )
        try:
            digest = self._client.send(encode_signed(unsigned, sign_digest(self._key, signing_digest(unsigned))))
        except SendRefusedError as error:
            raise ChainError(f"the chain takes no contracts from {address_of(self._key)}: {error}") from error
        self._sent.append(digest)
        self.nonce += 1

    def wait(self, pause: Callable[[], object], wait_s: float) -> list[int]:
        """The blocks that hold what was sent."""
        deadline_s = time.monotonic() + wait_s
        while time.monotonic() < deadline_s:
            receipts = [self._client.receipt(digest) for digest in self._sent]
            if failed := [receipt for receipt in receipts if receipt and not receipt.is_ok]:
                raise ChainError(f"the chain refuses a contract: see transaction {failed[0].transaction_hash}")
            mined = [receipt.block_number for receipt in receipts if receipt]
            if len(mined) == len(receipts):
                return mined
            pause()
        raise ChainError(f"the contracts are not mined after {wait_s:.0f} s: does the chain mine?")
