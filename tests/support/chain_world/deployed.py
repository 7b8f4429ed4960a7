"""The real contracts on a chain, which is simulated in a few milliseconds, or is any other that a test has."""

import json
from contextlib import closing
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from openledger_node.chain.client import ChainClient, SendRefusedError
from openledger_node.chain.clients.evm import open_client as open_evm_client
from openledger_node.chain.clients.simulated import SEED, open_client
from openledger_node.chain.contracts import ContractInterface, explain_revert, load_contract
from openledger_node.chain.dev.constants import BANK, BANK_KEY, DEVELOPMENT_SUPPLY_WEI
from openledger_node.chain.dev.deploy import deploy_network
from openledger_node.chain.encoding import UnsignedTransaction, created_address, sign_transaction
from openledger_node.network_file import Network, Token, network_id_for_development
from openledger_protocol.chain import CREATE, ContractCall, TransactionReceipt
from openledger_protocol.errors import RevertedError
from openledger_protocol.events import Event
from openledger_protocol.primitives import Address, Digest, Wei
from openledger_protocol.signatures import address_of
from openledger_protocol.transactions import GasPrice

from .kept import copied_chain, keep_chain

GWEI = 10**9
PRICE = GasPrice(fee_max_wei=Wei(10 * GWEI), tip_max_wei=Wei(GWEI))
GAS_LIMIT = 8_000_000


@dataclass(frozen=True, kw_only=True)
class DeployedChain:
    """A chain, its contracts, and the bank that deployed them and holds all coins and all OPEN."""

    client: Any  # a SimulatedClient, or another one whose chain mines when it is told to
    contracts: dict[str, Address]
    deploy_block: int
    bank: Address = BANK
    bank_key: bytes = BANK_KEY

    @property
    def network(self) -> Network:
        """The network that a node would join here."""
        return network_of(self.client, self.contracts, self.deploy_block)

    def read(self, contract: str, function: str, *arguments: object) -> Any:
        """Call a view at the latest block."""
        interface = load_contract(contract)
        call = ContractCall(to=self.contracts[contract], data=interface.encode(function, *arguments))
        return interface.decode_result(function, self.client.call(call))

    def send(self, contract: str, function: str, *arguments: object, key: bytes = BANK_KEY) -> TransactionReceipt:
        """Send a call and mine it; the receipt says whether the contract refused it."""
        data = load_contract(contract).encode(function, *arguments)
        return self.transact(ContractCall(to=self.contracts[contract], data=data), key=key)

    def transact(self, call: ContractCall, *, key: bytes = BANK_KEY) -> TransactionReceipt:
        """Send any call and mine it."""
        digest = send_call(self.client, call, key=key)
        self.client.mine()
        receipt = self.client.receipt(digest)
        assert receipt is not None
        return receipt

    def error_of(self, contract: str, function: str, *arguments: object, key: bytes = BANK_KEY) -> str:
        """Try a call without sending it, and return the name of the contract's error; empty if it would succeed."""
        data = load_contract(contract).encode(function, *arguments)
        try:
            self.client.call(ContractCall(to=self.contracts[contract], data=data), sender=address_of(key))
        except RevertedError as error:
            return explain_revert(error).name
        return ""

    def fund(self, account: Address, *, coin_wei: int = 10**18, open_wei: int = 0) -> None:
        """Give an account coins and OPEN."""
        self.transact(ContractCall(to=account, value_wei=Wei(coin_wei)))
        if open_wei:
            assert self.send("OpenToken", "transfer", account, open_wei).is_ok

    def events(self, contract: str, *, first: int = 0) -> list[Event]:
        """Events of a contract since block `first`."""
        interface = load_contract(contract)
        logs = self.client.logs([self.contracts[contract]], first, self.client.head().number)
        return [event for log in logs if (event := interface.decode_log(log))]


TOKEN = "BlockingToken"
TOKEN_FILE = Path(__file__).parent / "artifacts" / f"{TOKEN}.json"


def deploy_token(client: Any) -> Address:
    """Deploy the token of a stranger, which the bank has all of: one without permits and votes."""
    artifact = json.loads(TOKEN_FILE.read_text())
    interface = ContractInterface(TOKEN, artifact["abi"], bytes.fromhex(artifact["bytecode"][2:]))
    return deploy_contract(client, interface.encode_creation(BANK, DEVELOPMENT_SUPPLY_WEI))


def deploy_contract(client: Any, creation: bytes, *, key: bytes = BANK_KEY) -> Address:
    """Create any contract."""
    address = created_address(address_of(key), client.nonce(address_of(key)))
    digest = send_call(client, ContractCall(to=CREATE, data=creation), key=key)
    client.mine()
    receipt = client.receipt(digest)
    assert receipt is not None
    assert receipt.is_ok
    return address


def deployed_chain(client: Any = None, *, seed: bytes = SEED, **settings: Any) -> DeployedChain:
    """Deploy on a chain, or on one that begins now; `settings` are those of `deploy_network`: windows, params.

    To deploy takes half a second, so a chain that begins now is a copy of the first one with its seed and settings.
    """
    if client is None:
        rows, contracts, deploy_block = _deployed(seed, tuple(sorted(settings.items())))
        return DeployedChain(client=copied_chain(rows), contracts=dict(contracts), deploy_block=deploy_block)
    contracts, deploy_block = deploy_network(client, BANK_KEY, pause=client.mine, **settings)
    return DeployedChain(client=client, contracts=contracts, deploy_block=deploy_block)


@cache
def _deployed(seed: bytes, settings: tuple[tuple[str, Any], ...]) -> tuple[bytes, dict[str, Address], int]:
    with closing(open_client(seed=seed)) as client:
        deployed = deployed_chain(client, **dict(settings))
        return keep_chain(client), deployed.contracts, deployed.deploy_block


def network_of(client: ChainClient, contracts: dict[str, Address], deploy_block: int, *rpc: str) -> Network:
    """Describe what was deployed on a chain; a simulated one has no endpoint."""
    genesis = client.block(0)
    assert genesis is not None
    return Network(
        network=network_id_for_development(genesis.hash),
        chain_id=client.chain_id(),
        rpc=rpc or ("http://127.0.0.1:1",),
        genesis_hash=genesis.hash,
        deploy_block=deploy_block,
        contracts=contracts,
        bootstrap=(),
        token=Token(symbol="OPEN", decimals=18),
    )


def deploy_over(url: str) -> Network:
    """Deploy on a development chain behind an endpoint."""
    with closing(open_evm_client(url)) as client:
        return network_of(client, *deploy_network(client, BANK_KEY), url)


def signed_call(
    client: Any,
    call: ContractCall,
    *,
    key: bytes,
    nonce: int | None = None,
    price: GasPrice = PRICE,
    gas_limit: int = GAS_LIMIT,
) -> bytes:
    """The bytes of a transaction, ready to be sent."""
    unsigned = UnsignedTransaction(
        chain_id=client.chain_id(),
        nonce=client.nonce(address_of(key)) if nonce is None else nonce,
        price=price,
        gas_limit=gas_limit,
        call=call,
    )
    return sign_transaction(unsigned, key)


def send_call(client: Any, call: ContractCall, *, key: bytes = BANK_KEY, **fields: Any) -> Digest:
    """Sign and send."""
    digest: Digest = client.send(signed_call(client, call, key=key, **fields))
    return digest


def refusal(client: Any, raw: bytes) -> str:
    """The reason why a transaction is refused."""
    try:
        client.send(raw)
    except SendRefusedError as error:
        return error.reason
    raise AssertionError("it was taken")
