"""A check that votes rule a network, and that its deployer keeps no power."""

from typing import Any, Final

from openledger_protocol.chain import ContractCall
from openledger_protocol.eip712 import keccak_digest
from openledger_protocol.errors import MalformedError, RevertedError
from openledger_protocol.primitives import Address, Digest

from ..errors import ChainError
from ..network_file import Network
from .client import ChainClient
from .contracts import load_contract

ADMIN_ROLE: Final = Digest("0x" + "0" * 64)
PROPOSER_ROLE, CANCELLER_ROLE = (keccak_digest(name) for name in (b"PROPOSER_ROLE", b"CANCELLER_ROLE"))
"""Roles of the timelock: to grant roles, to queue what was decided, and to cancel it."""

RULED: Final = (
    ("OpenGovernor", "timelock", "Timelock"),
    ("Params", "governor", "Timelock"),
    ("AttributionRewards", "protocolTreasury", "Timelock"),
    ("PaymentChannels", "rewards", "AttributionRewards"),
)
"""Powers by contract: the view that tells who has it, and the contract that must."""


def check_wiring(client: ChainClient, network: Network) -> None:
    """Require that each power of a network is with the contract that should have it.

    Raises:
        ChainError: one is elsewhere, or the endpoint does not answer.
    """
    asked = _Contracts(client, network)
    for contract, view, other in RULED:
        found, expected = asked.ask(contract, view), network.contracts[other]
        if found != expected:
            raise ChainError(
                f"{contract}.{view} of {network.network} is {found}, not its {other} {expected}: whoever deployed it "
                "wired it wrongly, so do not use it"
            )
    for role, name in ((PROPOSER_ROLE, "propose"), (CANCELLER_ROLE, "cancel")):
        if not asked.ask("Timelock", "hasRole", role, network.contracts["OpenGovernor"]):
            raise ChainError(f"the votes of {network.network} can't {name} anything at its timelock: do not use it")


def check_has_no_power(client: ChainClient, network: Network, account: Address) -> None:
    """Require that an account, such as the deployer, can neither rule a network nor stop its deposits.

    Raises:
        ChainError: it can, or the endpoint does not answer.
    """
    asked = _Contracts(client, network)
    roles = {"administrator": ADMIN_ROLE, "proposer": PROPOSER_ROLE, "canceller": CANCELLER_ROLE}
    held = [name for name, role in roles.items() if asked.ask("Timelock", "hasRole", role, account)]
    if asked.ask("PaymentChannels", "guardian") == account:
        held.append("guardian")
    if held:
        raise ChainError(f"{account} is still {' and '.join(held)} of {network.network}: do not use this deployment")


class _Contracts:
    def __init__(self, client: ChainClient, network: Network) -> None:
        self._client = client
        self._network = network

    def ask(self, contract: str, view: str, *arguments: object) -> Any:
        interface = load_contract(contract)
        call = ContractCall(to=self._network.contracts[contract], data=interface.encode(view, *arguments))
        try:
            return interface.decode_result(view, self._client.call(call))
        except (RevertedError, MalformedError) as error:
            raise ChainError(
                f"{contract} of {self._network.network} does not answer {view} ({error.message}): it is another "
                "contract, so do not use this network"
            ) from error
