"""Each event of a case that does not follow from those before it is a fault, however well the sums agree."""

from collections.abc import Mapping
from typing import Any

import pytest
from support.rows import event_of
from support.signed import NODE, PAYER, account, digest

from openledger_node.audit.cases import CaseBooks, Fixed
from openledger_node.audit.splits import EpochTerms, RegistryState
from openledger_node.audit.staking import Stakes
from openledger_protocol.events import Argument
from openledger_protocol.primitives import Address

EPOCH_S, JUDGE_S, PAUSE_S, UNBONDING_S = 30, 60, 30, 120
STAKE, BOND = 1_001, 51
TREASURY, STRANGER, OTHER = account(0x51), account(0x52), account(0x53)
START_S = 3_000
HELD_S = START_S + JUDGE_S + PAUSE_S


class Told:
    """What the contracts tell of node and payer, a transaction each second; the node has bonded 1,500 wei."""

    def __init__(self) -> None:
        stakes, registry = Stakes(), RegistryState()
        terms = EpochTerms(protocol_ppm=0, data_ppm=0, min_stake_wei=STAKE)
        registry.terms.append((0, terms))
        windows = {"epoch": EPOCH_S, "judge": JUDGE_S, "pauseMax": PAUSE_S, "unbonding": UNBONDING_S}
        fixed = Fixed(treasury=TREASURY, windows=windows, seconds_of=lambda block: block.number)
        self.stakes, self.cases = stakes, CaseBooks(fixed, stakes, registry)
        self.now_s = START_S
        self.tell("Bonded", node=NODE, amount=1_500)

    def tell(self, name: str, **arguments: Argument) -> "Told":
        event = event_of(name, arguments, block=self.now_s, contract=NODE)
        self.cases.read(event)
        self.stakes.read(event)
        return self

    def wait(self, seconds: int) -> "Told":
        self.now_s += seconds
        return self

    def open(self, case: str = "a", *, bond: int = BOND, held_s: int | None = None) -> "Told":
        until_s = self.now_s + JUDGE_S + PAUSE_S if held_s is None else held_s
        self.tell("Challenged", digest=digest(case), node=NODE, challenger=PAYER, bond=bond, heldUntil=until_s)
        return self.tell("Held", node=NODE, until=until_s) if until_s else self

    def contest(self, by: Address = STRANGER, case: str = "a") -> "Told":
        return self.tell("Contested", digest=digest(case), contester=by)

    def end(self, name: str, *credits: tuple[Address, int], case: str = "a", **arguments: Argument) -> "Told":
        self.tell("Held", node=NODE, until=0)
        for account_, amount in credits:
            self.tell("CaseCredited", account=account_, amount=amount)
        return self.tell(name, digest=digest(case), **arguments)

    def slash(self, amount: int = STAKE) -> "Told":
        return self.tell("Slashed", node=NODE, amount=amount)

    def judge(self, *credits: tuple[Address, int], guilty: bool, slashed: int = 0, reward: int = 0) -> "Told":
        return self.end("Judged", *credits, guilty=guilty, slashed=slashed, reward=reward)

    @property
    def faults(self) -> list[str]:
        return self.cases.all_faults()


GUILTY = {"guilty": True, "slashed": STAKE, "reward": 100}
SPLIT = ((PAYER, 100), (TREASURY, 901))

RIGHT: Mapping[str, Any] = {
    "guilty, with less than the minimum stake": lambda: (
        Told()
        .tell("UnbondStarted", node=NODE, amount=1_400, readyAt=1)
        .tell("StakeWithdrawn", node=NODE, amount=1_400)
        .open()
        .wait(1)
        .slash(100)
        .judge((PAYER, BOND), (PAYER, 10), (TREASURY, 90), guilty=True, slashed=100, reward=10)
    ),
    "not guilty, contested by a stranger": lambda: (
        Told().open().contest().wait(1).judge((STRANGER, BOND), (STRANGER, BOND), guilty=False)
    ),
    "taken over by the node, which is not guilty": lambda: (
        Told()
        .open()
        .contest()
        .wait(1)
        .contest(NODE)
        .tell("CaseCredited", account=STRANGER, amount=BOND)
        .wait(1)
        .judge((NODE, BOND), (NODE, BOND), guilty=False)
    ),
    "a draw, and a case that holds nothing after it": lambda: (
        Told().open().contest().wait(61).end("Lapsed", (PAYER, BOND), (STRANGER, BOND)).wait(1).open("b", held_s=0)
    ),
    "a case half of the judge's time after a slash": lambda: slashed().wait(JUDGE_S // 2).open("b"),
}


def slashed() -> Told:
    return Told().open().wait(1).slash().judge((PAYER, BOND), *SPLIT, **GUILTY)


def acquitted() -> Told:
    return Told().open().wait(1).judge((NODE, BOND), guilty=False)


@pytest.mark.parametrize("how", RIGHT)
def test_a_case_that_goes_right_has_no_fault(how: str) -> None:
    assert RIGHT[how]().faults == []


WRONG: Mapping[str, tuple[Any, str]] = {
    "the bond is a wei less": (lambda: Told().open(bond=BOND - 1), f"has a bond of {BOND - 1} wei, not {BOND}"),
    "the stake is held longer": (lambda: Told().open(held_s=HELD_S + 1), f"until {HELD_S + 1}, not {HELD_S}"),
    "a hold without a case": (lambda: Told().tell("Held", node=NODE, until=9), "an event tells of 9 as the time"),
    "two cases at once": (lambda: Told().open().wait(1).open("b"), "was opened while another"),
    "the same case twice": (lambda: acquitted().wait(1).open(), "was opened twice"),
    "a case too soon after a slash": (lambda: slashed().wait(29).open("b"), "too soon after a slash"),
    "judged twice": (lambda: acquitted().wait(1).judge((NODE, BOND), guilty=False), "which is not open"),
    "contested by two": (lambda: Told().open().contest().wait(1).contest(OTHER), "two who are not its node"),
    "the node wins a bond though somebody contested": (
        lambda: Told().open().contest().wait(1).judge((NODE, BOND), (NODE, BOND), guilty=False),
        f"an event tells of {BOND} wei credited to {NODE}",
    ),
    "a contester replaced without the bond back": (
        lambda: Told().open().contest().wait(1).contest(NODE),
        f"no event tells of {BOND} wei credited to {STRANGER}",
    ),
    "the bond goes to somebody else": (
        lambda: Told().open().wait(1).judge((OTHER, BOND), guilty=False),
        f"an event tells of {BOND} wei credited to {OTHER}",
    ),
    "a slash without a verdict": (lambda: Told().slash(7), f"7 wei of {NODE}'s stake were slashed by no verdict"),
    "a slash of a wei too little": (
        lambda: (
            Told()
            .open()
            .wait(1)
            .slash(STAKE - 1)
            .judge((PAYER, BOND), (PAYER, 100), (TREASURY, 900), guilty=True, slashed=STAKE - 1, reward=100)
        ),
        f"took {STAKE - 1} wei of {NODE}'s stake, not {STAKE}",
    ),
    "a reward of a wei more": (
        lambda: (
            Told()
            .open()
            .wait(1)
            .slash()
            .judge((PAYER, BOND), (PAYER, 101), (TREASURY, 900), guilty=True, slashed=STAKE, reward=101)
        ),
        "with a reward of 101, not 1001 with 100",
    ),
    "the protocol's part goes to the challenger": (
        lambda: Told().open().wait(1).slash().judge((PAYER, BOND), (PAYER, 100), (PAYER, 901), **GUILTY),
        f"no event tells of 901 wei credited to {TREASURY}",
    ),
}


@pytest.mark.parametrize("how", WRONG)
def test_a_case_that_goes_wrong_is_found_out(how: str) -> None:
    told, fault = WRONG[how]
    faults = told().faults
    assert [each for each in faults if fault in each], faults
