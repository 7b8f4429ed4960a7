"""Actions about cases on the chain: to open, contest and close one, and to withdraw what is credited."""

from dataclasses import dataclass

from openledger_protocol.chain import ContractCall
from openledger_protocol.primitives import Address, Digest, Wei

from ..chain.cases import Challenge, Disputes
from ..chain.deployment import Deployment
from ..chain.refusals import open_text


@dataclass(frozen=True, slots=True, kw_only=True)
class ChallengeReceipt:
    """Open a case about a receipt; its texts become public."""

    digest: Digest
    challenge: Challenge
    bond_wei: Wei


@dataclass(frozen=True, slots=True, kw_only=True)
class ContestCase:
    """Stand up for the node of a case."""

    digest: Digest
    bond_wei: Wei


@dataclass(frozen=True, slots=True, kw_only=True)
class CloseCase:
    """End a case that was not judged in time."""

    digest: Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class WithdrawBonds:
    """Withdraw all bonds and rewards of cases to an account."""

    to: Address


CaseAction = ChallengeReceipt | ContestCase | CloseCase | WithdrawBonds


def case_call(action: CaseAction, deployment: Deployment) -> tuple[str, str, ContractCall]:
    """Kind, summary and call of an action."""
    disputes = Disputes(deployment)
    match action:
        case ChallengeReceipt(digest=digest, bond_wei=bond):
            summary = f"challenge receipt {digest[:10]}… under a bond of {open_text(bond)}, and make its texts public"
            return "challenge", summary, disputes.challenge(action.challenge)
        case ContestCase(digest=digest, bond_wei=bond):
            summary = f"contest case {digest[:10]}… under a bond of {open_text(bond)}"
            return "contest", summary, disputes.contest(digest)
        case CloseCase(digest=digest):
            return "close case", f"close case {digest[:10]}… as a draw", disputes.close(digest)
        case WithdrawBonds(to=to):
            return "withdraw bonds", f"withdraw bonds and rewards of cases to {to}", disputes.withdraw(to)
