"""Who has a power that votes should have is named: over values, the timelock, the treasury."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from support.chain_world.deployed import DeployedChain, deployed_chain
from support.signed import account, digest

from openledger_node.audit.events import EventLog
from openledger_node.audit.governance import treasury_faults
from openledger_node.audit.report import audit
from openledger_node.chain.clients.simulated import SEED, open_client
from openledger_node.chain.dev import deploy
from openledger_node.chain.dev.constants import BANK
from openledger_node.chain.wiring import CANCELLER_ROLE, PROPOSER_ROLE
from openledger_protocol.events import Argument, BlockId, Event
from openledger_protocol.primitives import ZERO_DIGEST, Address

SOMEBODY, TREASURY = account(0x99), account(0x51)


def faults_of(chain: DeployedChain) -> list[str]:
    try:
        return list(audit(chain.client, chain.network).faults)
    finally:
        chain.client.close()


def test_a_deployer_that_is_guardian_of_real_money_is_named_and_no_other_guardian() -> None:
    chain = deployed_chain()
    faults = audit(chain.client, replace(chain.network, network="coast")).faults
    chain.client.close()
    assert faults == (f"{BANK} deployed the contracts and is their guardian, who can stop new deposits",)
    assert faults_of(deployed_chain(guardian=SOMEBODY)) == []


def test_a_treasury_in_other_hands_is_named() -> None:
    chain = deployed_chain(treasury=SOMEBODY)
    timelock = chain.contracts["Timelock"]
    assert faults_of(chain) == [f"AttributionRewards.protocolTreasury is {SOMEBODY}, and by network.json {timelock}"]


# ---- the timelock's roles, in a network whose deployer does otherwise

Wire = Callable[[Any, str, str, Any, Any], None]


def otherwise(monkeypatch: pytest.MonkeyPatch, change: Callable[[Wire, Any, str, Any], None]) -> DeployedChain:
    """Deploy a network whose deployer wires it another way."""
    honest = deploy._Deployment.call

    def call(self: Any, name: str, function: str, *arguments: Any) -> None:
        change(honest, self, function, (name, function, *arguments))

    monkeypatch.setattr(deploy._Deployment, "call", call)
    return deployed_chain(open_client(seed=SEED))  # on a chain of its own: no copy of one that is wired well


def test_a_deployer_that_stays_administrator_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def keep(honest: Any, deployment: Any, function: str, call: Any) -> None:
        if function != "renounceRole":
            honest(deployment, *call)

    chain = otherwise(monkeypatch, keep)
    timelock = chain.contracts["Timelock"]
    assert faults_of(chain) == [f"{BANK} is administrator of the timelock, and only {timelock} may be"]


@pytest.mark.parametrize(("role", "name"), [(PROPOSER_ROLE, "proposer"), (CANCELLER_ROLE, "canceller")])
def test_a_second_proposer_or_canceller_is_named(monkeypatch: pytest.MonkeyPatch, role: str, name: str) -> None:
    def add(honest: Any, deployment: Any, function: str, call: Any) -> None:
        if function == "renounceRole":
            honest(deployment, "Timelock", "grantRole", role, SOMEBODY)
        honest(deployment, *call)

    chain = otherwise(monkeypatch, add)
    governor = chain.contracts["OpenGovernor"]
    assert faults_of(chain) == [f"{SOMEBODY} is {name} of the timelock, and only {governor} may be"]


def test_a_governor_that_decides_nothing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def leave_out(honest: Any, deployment: Any, function: str, call: Any) -> None:
        if function != "grantRole":
            honest(deployment, *call)

    chain = otherwise(monkeypatch, leave_out)
    governor = chain.contracts["OpenGovernor"]
    assert faults_of(chain) == [f"{governor} is not {name} of the timelock" for name in ("proposer", "canceller")]


# ---- the treasury


def told(name: str, transaction: str, **arguments: Argument) -> Event:
    return Event(
        contract=TREASURY,
        name=name,
        arguments=arguments,
        block=BlockId(number=1, hash=ZERO_DIGEST),
        transaction_hash=digest(transaction),
        log_index=0,
    )


def moved(to: Address, value: int, transaction: str = "1", sender: Address = TREASURY) -> Event:
    return told("Transfer", transaction, **{"from": sender, "to": to, "value": value})


@pytest.mark.parametrize(
    ("events", "is_wrong"),
    [
        ([moved(SOMEBODY, 5)], True),
        ([moved(TREASURY, 5, sender=SOMEBODY)], False),
        ([moved(SOMEBODY, 5), told("CallExecuted", "1")], False),
        ([moved(SOMEBODY, 5), told("CallExecuted", "2")], True),
        ([told("Approval", "2", owner=TREASURY, spender=SOMEBODY, value=5), moved(SOMEBODY, 5)], False),
        ([told("Approval", "2", owner=TREASURY, spender=SOMEBODY, value=4), moved(SOMEBODY, 5)], True),
        ([told("Approval", "2", owner=SOMEBODY, spender=SOMEBODY, value=5), moved(SOMEBODY, 5)], True),
    ],
)
def test_tokens_that_leave_the_treasury_without_a_vote_are_named(events: list[Event], is_wrong: bool) -> None:
    faults = treasury_faults(EventLog(events), TREASURY)
    assert faults == [f"5 wei left the treasury in {digest('1')} without a vote"] * is_wrong
