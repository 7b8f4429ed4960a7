"""Deployment of a network's contracts: each knows those created before it, and roles are wired once."""

import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

from openledger_protocol.chain import CREATE, ContractCall
from openledger_protocol.epoch import Params, Voting, Windows
from openledger_protocol.primitives import Address, Digest, Wei
from openledger_protocol.signatures import address_of
from openledger_protocol.transactions import GasPrice

from ...errors import ChainError
from ...network_file import WRAPPED_VOTES
from ..client import ChainClient, SendRefusedError
from ..contracts import load_contract
from ..encoding import UnsignedTransaction, created_address, sign_transaction
from ..wiring import ADMIN_ROLE, CANCELLER_ROLE, PROPOSER_ROLE
from .constants import DEVELOPMENT_PARAMS, DEVELOPMENT_SUPPLY_WEI, DEVELOPMENT_VOTING, DEVELOPMENT_WINDOWS

CREATION_GAS: Final = 7_000_000
"""Enough for the largest contract: 24,576 bytes at 200 gas each, and its creation code as call data."""

WIRING_GAS: Final = 200_000
NUM_WIRINGS: Final = 4

POLL_S: Final = 0.2
WAIT_S: Final = 120.0

BOUNDS: Final[Mapping[str, int]] = {
    "protocolPpmMax": 100_000,
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


@dataclass(frozen=True, slots=True, kw_only=True)
class GivenToken:
    """A token that exists already, for a network to pay in."""

    address: Address
    has_votes: bool


def deploy_network(
    client: ChainClient,
    deployer_key: bytes,
    *,
    windows: Windows = DEVELOPMENT_WINDOWS,
    params: Params = DEVELOPMENT_PARAMS,
    voting: Voting = DEVELOPMENT_VOTING,
    token: GivenToken | None = None,
    supply_wei: Wei = DEVELOPMENT_SUPPLY_WEI,
    holder: Address | None = None,
    guardian: Address | None = None,
    treasury: Address | None = None,
    pause: Callable[[], object] = lambda: time.sleep(POLL_S),
    wait_s: float = WAIT_S,
) -> tuple[dict[str, Address], int]:
    """Create the contracts, wire them, and wait until everything is mined.

    Returns their addresses, and the first block that holds one. Without a `token`, OPEN is created, and `holder` gets
    all of it. The deployer is holder and guardian, and the timelock the treasury, if these are not given. What the
    timelock does takes a vote. `pause` waits between two looks at the chain.

    Raises:
        ChainError: the deployer has no coins, a transaction fails, or not everything is mined within `wait_s`.
    """
    deployer = address_of(deployer_key)
    deployment = _Deployment(_Sender(client, deployer_key), deployer)
    create, call = deployment.create, deployment.call
    if token:
        deployment.addresses["OpenToken"] = token.address
    else:
        create("OpenToken", holder or deployer, supply_wei)
    money = votes = deployment.addresses["OpenToken"]
    if token and not token.has_votes:
        votes = create(WRAPPED_VOTES, money)
    timelock = create("Timelock", voting.timelock_s, deployer)
    limits = (voting.delay_s, voting.period_s, voting.threshold_wei, voting.quorum_floor_wei)
    rules = create("Params", timelock, params, BOUNDS, windows)
    votes_counter = create("OpenGovernor", votes, timelock, rules, *limits)
    staking = create("NodeStaking", money, rules)
    treasury = treasury or timelock
    datanets = create("DatanetRegistry", rules)
    models = create("ModelRegistry", money, rules, datanets)
    channels = create("PaymentChannels", money, rules, staking, models, datanets, guardian or deployer)
    rewards = create("AttributionRewards", money, rules, channels, staking, datanets, treasury)
    call("PaymentChannels", "wire", rewards)
    call("Timelock", "grantRole", PROPOSER_ROLE, votes_counter)
    call("Timelock", "grantRole", CANCELLER_ROLE, votes_counter)
    call("Timelock", "renounceRole", ADMIN_ROLE, deployer)
    return deployment.addresses, min(deployment.sender.wait(pause, wait_s))


class _Deployment:
    """Contracts that one account creates and calls, by name."""

    def __init__(self, sender: "_Sender", deployer: Address) -> None:
        self.sender = sender
        self.addresses: dict[str, Address] = {}
        self._deployer = deployer

    def create(self, name: str, *arguments: Any) -> Address:
        address = self.addresses[name] = created_address(self._deployer, self.sender.nonce)
        creation = load_contract(name).encode_creation(*arguments)
        self.sender.send(ContractCall(to=CREATE, data=creation), CREATION_GAS)
        return address

    def call(self, name: str, function: str, *arguments: Any) -> None:
        data = load_contract(name).encode(function, *arguments)
        self.sender.send(ContractCall(to=self.addresses[name], data=data), WIRING_GAS)


class _Sender:
    """Sends one transaction after the other from a key that nobody else uses at the same time."""

    def __init__(self, client: ChainClient, key: bytes) -> None:
        self._client = client
        self._key = key
        self._chain_id = client.chain_id()
        fees = client.fees()
        self._price = GasPrice(fee_max_wei=Wei(2 * fees.base_wei + fees.tip_wei), tip_max_wei=fees.tip_wei)
        self.nonce = client.nonce(address_of(key))
        self._sent: dict[Digest, bytes] = {}

    def send(self, call: ContractCall, gas_limit: int) -> None:
        unsigned = UnsignedTransaction(
            chain_id=self._chain_id, nonce=self.nonce, price=self._price, gas_limit=gas_limit, call=call
        )
        raw = sign_transaction(unsigned, self._key)
        try:
            self._sent[self._client.send(raw)] = raw
        except SendRefusedError as error:
            raise ChainError(f"the chain rejects contracts of {address_of(self._key)}: {error}") from error
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
            self._send_again(digest for digest, receipt in zip(self._sent, receipts, strict=True) if not receipt)
            pause()
        raise ChainError(f"the contracts are not mined after {wait_s:.0f} s: check that the chain is mining")

    def _send_again(self, missing: Iterable[Digest]) -> None:
        """Send what the endpoint has dropped: some keep few transactions of an account at a time."""
        for digest in missing:
            if not self._client.is_known(digest):
                with suppress(SendRefusedError):  # mined meanwhile, or the next look tries again
                    self._client.send(self._sent[digest])
