"""Actions about registered adapters: to retire one, and to take its bond back."""

from dataclasses import dataclass

from openledger_protocol.chain import ContractCall
from openledger_protocol.primitives import AdapterId, Wei

from ..chain.deployment import Deployment
from ..chain.refusals import open_text

CONTRACT = "ModelRegistry"


@dataclass(frozen=True, slots=True, kw_only=True)
class RetireAdapter:
    """End the sale of an adapter for good, so that its bond becomes free."""

    adapter_id: AdapterId
    name: str
    bond_wei: Wei


@dataclass(frozen=True, slots=True, kw_only=True)
class ReclaimBond:
    """Take back the bond of an adapter that was retired long enough ago."""

    adapter_id: AdapterId
    name: str
    bond_wei: Wei


AdapterAction = RetireAdapter | ReclaimBond


def adapter_call(action: AdapterAction, deployment: Deployment) -> tuple[str, str, ContractCall]:
    """Kind, summary and call of an action."""
    match action:
        case RetireAdapter(adapter_id=adapter_id, name=name):
            return (
                "retire adapter",
                f"retire adapter {name} for good",
                deployment.call(CONTRACT, "retire", adapter_id),
            )
        case ReclaimBond(adapter_id=adapter_id, name=name, bond_wei=bond):
            summary = f"take back the bond of {open_text(bond)} of adapter {name}"
            return "reclaim bond", summary, deployment.call(CONTRACT, "reclaimBond", adapter_id)


def returned_wei(action: AdapterAction) -> int:
    """The OPEN that an action brings to its sender."""
    return action.bond_wei if isinstance(action, ReclaimBond) else 0
