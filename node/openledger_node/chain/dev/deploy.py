"""Deployment of the seven contracts: each knows those created before it, and roles are wired once."""

import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from openledger_protocol.chain import ContractCall
from openledger_protocol.epoch import Params, Windows
from openledger_protocol.primitives import Address, Digest, Wei
from openledger_protocol.signatures import address_of
from openledger_protocol.transactions import GasPrice

from ...errors import ChainError
from ..client import ChainClient, SendRefusedError
from ..contracts import load_contract
from ..encoding import UnsignedTransaction, created_address, sign_transaction
from .constants import DEVELOPMENT_PARAMS, DEVELOPMENT_SUPPLY_WEI, DEVELOPMENT_WINDOWS

CREATE: Final = Address("0x")
"""The empty recipient of a transaction that creates a contract."""

CREATION_GAS: Final = 7_000_000
"""Enough for the largest contract: 24,576 bytes at 200 gas each, and its creation code as call data."""

WIRING_GAS: Final = 200_000
NO_DISPUTES: Final = Address("0x000000000000000000000000000000000000dEaD")
"""The role that may slash a stake, as long as there is no contract for disputes: an account without a key."""

POLL_S: Final = 0.2
WAIT_S: Final = 120.0

BOUNDS: Final[Mapping[str, int]] = {
    "protocolPpmMax": 100_000,
    "stakersPpmMax": 100_000,
    "dataPpmMin": 100_000,
    "dataPpmMax": 300_000,
    "royaltyPpmMax": 200_000,
    "creditTokensMax": 4_096,
    "leastContextMax": 1_048_576,
    "guidePriceMax": 10**21,
    "minStakeMin": 10**18,
    "minStakeMax": 10**24,
    "minDepositMin": 10**12,
    "minDepositMax": 10**21,
    "adapterBondMin": 0,
    "adapterBondMax": 10**23,
}
"""Bounds on governance. After all shares the node keeps at least half of what the data can get, which is the fee of a
draw that lapses."""


def deploy_network(
    client: ChainClient,
    deployer_key: bytes,
    *,
    windows: Windows = DEVELOPMENT_WINDOWS,
    params: Params = DEVELOPMENT_PARAMS,
    supply_wei: Wei = DEVELOPMENT_SUPPLY_WEI,
    governor: Address | None = None,
    guardian: Address | None = None,
    treasury: Address | None = None,
    pause: Callable[[], object] = lambda: time.sleep(POLL_S),
    wait_s: float = WAIT_S,
) -> tuple[dict[str, Address], int]:
    """Create the contracts, wire the two that only AttributionRewards may call, and wait until everything is mined.

    Returns their addresses, and the first block that holds one. The deployer gets all OPEN. It is also governor,
    guardian and treasury if these are not given. `pause` waits between two looks at the chain.

    Raises:
        ChainError: the deployer has no coins, a transaction fails, or not everything is mined within `wait_s`.
    """
    deployer = address_of(deployer_key)
    sender = _Sender(client, deployer_key)
    addresses: dict[str, Address] = {}

    def create(name: str, *arguments: Any) -> Address:
        address = addresses[name] = created_address(deployer, sender.nonce)
        sender.send(ContractCall(to=CREATE, data=load_contract(name).encode_creation(*arguments)), CREATION_GAS)
        return address

    token = create("OpenToken", deployer, supply_wei)
    rules = create("Params", governor or deployer, params, BOUNDS, windows)
    staking = create("NodeStaking", token, rules)
    datanets = create("DatanetRegistry")
    models = create("ModelRegistry", token, rules, datanets)
    channels = create("PaymentChannels", token, rules, staking, models, datanets)
    rewards = create(
        "AttributionRewards", token, rules, channels, staking, datanets, guardian or deployer, treasury or deployer
    )
    for name, roles in (("NodeStaking", (rewards, NO_DISPUTES)), ("PaymentChannels", (rewards,))):
        wiring = load_contract(name).encode("wire", *roles)
        sender.send(ContractCall(to=addresses[name], data=wiring), WIRING_GAS)
    return addresses, min(sender.wait(pause, wait_s))


class _Sender:
    """Sends one transaction after the other from a key that nobody else uses at the same time."""

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
            digest = self._client.send(sign_transaction(unsigned, self._key))
        except SendRefusedError as error:
            raise ChainError(f"the chain rejects contracts of {address_of(self._key)}: {error}") from error
        self._sent.append(digest)
        self.nonce += 1

    def wait(self, pause: Callable[[], object], wait_s: float) -> list[int]:
        """Wait until everything is mined, and return the blocks that hold it."""
        deadline_s = time.monotonic() + wait_s
        while time.monotonic() < deadline_s:
            receipts = [self._client.receipt(digest) for digest in self._sent]
            if failed := [receipt for receipt in receipts if receipt and not receipt.is_ok]:
                raise ChainError(f"the chain reverted a contract: see transaction {failed[0].transaction_hash}")
            mined = [receipt.block_number for receipt in receipts if receipt]
            if len(mined) == len(receipts):
                return mined
            pause()
        raise ChainError(f"the contracts are not mined after {wait_s:.0f} s: check that the chain is mining")
