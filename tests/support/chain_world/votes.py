"""Votes of a network, from the proposal to what it does; the bank has the votes and delegates them to itself."""

from collections.abc import Sequence
from itertools import count

from eth_hash.auto import keccak

from openledger_node.chain.contracts import load_contract
from openledger_node.chain.dev.constants import DEVELOPMENT_VOTING
from openledger_node.network_file import WRAPPED_VOTES
from openledger_protocol.chain import TransactionReceipt

from .deployed import DeployedChain

FOR = 1
WRAPPED_WEI = DEVELOPMENT_VOTING.quorum_floor_wei + 7
Call = tuple[str, str, tuple[object, ...]]  # a contract, its function, and arguments

_numbers = count(1)


def propose(chain: DeployedChain, *calls: Call) -> tuple[object, ...]:
    """Propose these calls, and return the arguments of the proposal."""
    proposal = _proposal(chain, calls)
    _get_votes(chain)
    assert chain.send("OpenGovernor", "propose", *proposal).is_ok
    return proposal


def decide(chain: DeployedChain, *calls: Call) -> TransactionReceipt:
    """Propose these calls, vote for them, wait, and execute them, which takes 50 seconds of the chain."""
    proposal = propose(chain, *calls)
    *actions, description = proposal
    decided = (*actions, keccak(str(description).encode()))
    number = chain.read("OpenGovernor", "getProposalId", *decided)
    chain.client.advance(DEVELOPMENT_VOTING.delay_s + 1)
    assert chain.send("OpenGovernor", "castVote", number, FOR).is_ok
    chain.client.advance(DEVELOPMENT_VOTING.period_s)
    assert chain.send("OpenGovernor", "queue", *decided).is_ok
    chain.client.advance(DEVELOPMENT_VOTING.timelock_s)
    return chain.send("OpenGovernor", "execute", *decided)


def _get_votes(chain: DeployedChain) -> None:
    """Let the bank vote with its tokens, or with wrapped ones if the token has no votes."""
    contract = "OpenToken"
    if WRAPPED_VOTES in chain.contracts:
        contract = WRAPPED_VOTES
        assert chain.send("OpenToken", "approve", chain.contracts[WRAPPED_VOTES], WRAPPED_WEI).is_ok
        assert chain.send(WRAPPED_VOTES, "depositFor", chain.bank, WRAPPED_WEI).is_ok
    assert chain.send(contract, "delegate", chain.bank).is_ok


def _proposal(chain: DeployedChain, calls: Sequence[Call]) -> tuple[object, ...]:
    """The arguments of `propose`; the description makes it another one each time."""
    data = [load_contract(contract).encode(function, *arguments) for contract, function, arguments in calls]
    targets = [chain.contracts[contract] for contract, _, _ in calls]
    return targets, [0] * len(calls), data, f"proposal {next(_numbers)}"
