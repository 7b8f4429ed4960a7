"""An endpoint that leaves out an event, tells it otherwise, or changes its chain meanwhile, is found out."""

from collections.abc import Sequence

import pytest
from audited_economy import Economy
from liars import Bent, Liar, Remembered, keys_read, name_of, with_a_wei_more, without
from support.tiers import depth

from openledger_node.audit.report import audit
from openledger_node.audit.storage_layout import StorageKey, show_key
from openledger_node.errors import ChainError
from openledger_node.network_file import CONTRACTS
from openledger_protocol.chain import Log

SAID = {
    "OpenToken": "Transfer",
    "Params": "ParamsQueued",
    "NodeStaking": "Bonded UnbondStarted StakeWithdrawn SignerRevoked Slashed",
    "DatanetRegistry": "DatanetCreated DatanetOwnerChanged",
    "ModelRegistry": "AdapterRegistered BondReclaimed",
    "PaymentChannels": "ChannelOpened ToppedUp DepositsStopped WithdrawStarted WithdrawFinished Refunded Claimed "
    "Released",
    "AttributionRewards": "Proposed Drawn Credited Finalized Withdrawn PayoutSet",
    "Timelock": "RoleGranted RoleRevoked MinDelayChange",
}
"""Events without which no line can be right."""

CASES = [(contract, event) for contract, events in SAID.items() for event in events.split()]
WITHOUT_AMOUNT = [
    "ParamsQueued",
    "PayoutSet",
    "DatanetCreated",
    "DatanetOwnerChanged",
    "Finalized",
    "RoleGranted",
    "RoleRevoked",
]
EACH_OF = ("OpenToken._balances",)
"""Variables of which each value has a line of its own; of the others one value is looked at."""


@pytest.mark.parametrize(("contract", "event"), CASES)
def test_a_missing_or_false_event_is_found(session: Economy, still: Remembered, contract: str, event: str) -> None:
    lies = [without(session, contract, event, slice(-1, None))]
    if event not in WITHOUT_AMOUNT:
        lies.append(with_a_wei_more(session, contract, event))
    for lie in lies:
        report = audit(Liar(still, lie), session.network)
        assert not report.holds
        assert report.faults


def test_a_wei_more_in_any_value_is_found_out_and_each_line_can_break(session: Economy, still: Remembered) -> None:
    missed, broken = [], set[str]()
    for key in told_otherwise(keys_read(still, session.network)):
        report = audit(Bent(still, session, {key: 1}), session.network)
        broken |= {line.id for line in report.lines if not line.holds}
        if report.holds:
            missed.append(show_key(key))
    assert missed == []
    assert broken == {line.id for line in report.lines}
    assert broken >= {f"tokens.{name}" for name in CONTRACTS if name != "Timelock"}


def told_otherwise(values: dict[StorageKey, int]) -> list[StorageKey]:
    """One key of each variable, of those that hold something if any does; all in a deep run."""
    found: dict[object, StorageKey] = {}
    for key in sorted(values, key=lambda key: values[key] != 0):
        is_alone = depth(light=name_of(key) in EACH_OF, deep=True)
        found[key if is_alone else name_of(key)] = key
    return list(found.values())


@pytest.mark.parametrize(
    ("name", "spot"), [("AttributionRewards._accounts.balance", 2), ("PaymentChannels.laneClaimed", 3)]
)
def test_a_wei_moved_between_accounts_is_found(session: Economy, still: Remembered, name: str, spot: int) -> None:
    keys = [key for key, value in keys_read(still, session.network).items() if name_of(key) == name and value]
    giver, taker = keys[0], next(key for key in keys if key[2:spot] == keys[0][2:spot] and key != keys[0])
    report = audit(Bent(still, session, {giver: -1, taker: 1}), session.network)
    assert all(line.holds for line in report.lines)
    assert len(report.faults) == 2
    assert all(fault.startswith(name.rpartition(".")[0]) for fault in report.faults)


def test_a_block_that_is_taken_back_while_it_is_read_is_noticed(session: Economy) -> None:
    session.client.mine()
    liar = Liar(session.client, meanwhile=lambda: session.client.reorganise(1))
    with pytest.raises(ChainError, match=r"took block \d+ back"):
        audit(liar, session.network)


def test_blocks_that_come_meanwhile_change_nothing(session: Economy) -> None:
    before = session.client.mine().number
    donations = audit(session.client, session.network).donations

    def meanwhile() -> None:
        assert session.chain.send("OpenToken", "transfer", session.network.contracts["Params"], 5).is_ok

    report = audit(Liar(session.client, meanwhile=meanwhile), session.network)
    assert (report.block, report.holds, report.donations) == (before, True, donations)


def test_an_endpoint_that_gives_few_blocks_at_once_is_asked_for_less(session: Economy, still: Remembered) -> None:
    asked: list[int] = []

    class Narrow(Liar):
        def logs(self, addresses: Sequence[str], first: int, last: int) -> list[Log]:
            asked.append(last - first + 1)
            if last - first >= 100:
                raise ChainError("the endpoint limits how much it is asked")
            return super().logs(addresses, first, last)

    assert audit(Narrow(still), session.network).holds
    assert asked[0] > 100 >= asked[-1]
