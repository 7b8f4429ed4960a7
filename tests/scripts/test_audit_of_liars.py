"""An endpoint that leaves out an event, tells it otherwise, or changes its chain meanwhile, is found out."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
from audited_economy import Economy

from openledger_node.audit.books import books_of
from openledger_node.audit.chain import pin_chain
from openledger_node.audit.claims import read_all
from openledger_node.audit.events import EventLog, amount_of
from openledger_node.audit.report import audit, read_fixed
from openledger_node.audit.storage import read_storage
from openledger_node.audit.storage_layout import StorageValue, layout_of, show_key
from openledger_node.chain.contracts import load_contract
from openledger_node.errors import ChainError
from openledger_node.settlement.records import integer
from openledger_protocol.chain import Log
from openledger_protocol.primitives import Address

SAID = {
    "OpenToken": "Transfer",
    "Params": "ParamsQueued",
    "NodeStaking": "Bonded UnbondStarted StakeWithdrawn PayoutSet SignerRevoked RewardsNotified RewardsPaid Slashed "
    "Held RolesWired",
    "DatanetRegistry": "DatanetCreated DatanetOwnerChanged BondPosted BondLeaving BondTakenBack BondForfeited",
    "ModelRegistry": "AdapterRegistered BondReclaimed",
    "PaymentChannels": "ChannelOpened ToppedUp WithdrawStarted WithdrawFinished Refunded Claimed Released",
    "AttributionRewards": "Proposed Drawn Paused Credited Finalized StakersNotified Withdrawn",
    "Disputes": "Challenged Contested Judged Lapsed Credited Withdrawn",
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
    "RolesWired",
    "Contested",
    "Lapsed",
    "RoleGranted",
    "RoleRevoked",
]
OTHER_NUMBERS = {
    "Proposed": "readyAt",
    "Drawn": "drawBlock",
    "Paused": "until",
    "Held": "until",
    "BondLeaving": "leaving",
    "SignerRevoked": "punishableUntil",
    "Judged": "slashed",
    "MinDelayChange": "newDuration",
}

Tell = Callable[[list[Log]], list[Log]]


class Remembered:
    """A client that asks each thing once: the chain stands still meanwhile."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self._answers: dict[str, Any] = {}

    def __getattr__(self, name: str) -> Any:
        def ask(*arguments: Any, **named: Any) -> Any:
            question = f"{name}{arguments}{named}"
            if question not in self._answers:
                self._answers[question] = getattr(self._client, name)(*arguments, **named)
            return self._answers[question]

        return ask


class Liar:
    """A client that tells logs its own way, and does something at the first look into storage."""

    def __init__(self, client: Any, tell: Tell = list, meanwhile: Callable[[], object] = lambda: None) -> None:
        self._client = client
        self._tell = tell
        self._meanwhile: Callable[[], object] | None = meanwhile

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    def logs(self, addresses: Sequence[str], first: int, last: int) -> list[Log]:
        return self._tell(self._client.logs(addresses, first, last))

    def storage(self, *arguments: Any, **named: Any) -> bytes:
        meanwhile, self._meanwhile = self._meanwhile, None
        if meanwhile:
            meanwhile()
        word: bytes = self._client.storage(*arguments, **named)
        return word


@pytest.fixture(scope="module")
def still(session: Economy) -> Remembered:
    return Remembered(session.client)


def without(session: Economy, contract: str, event: str, which: slice) -> Tell:
    def tell(logs: list[Log]) -> list[Log]:
        left_out = of(session, logs, contract, event)[which]
        return [log for log in logs if log not in left_out]

    return tell


def with_a_wei_more(session: Economy, contract: str, event: str) -> Tell:
    """The amount, or other number, that the audit reads is another one in the last log of its kind."""

    def tell(logs: list[Log]) -> list[Log]:
        changed = of(session, logs, contract, event)[-1]
        decoded = load_contract(contract).decode_log(changed)
        assert decoded is not None
        field = OTHER_NUMBERS.get(event)
        amount = integer(decoded, field) if field else amount_of(decoded)
        assert amount
        data = changed.data.replace(amount.to_bytes(32, "big"), (amount + 1).to_bytes(32, "big"), 1)
        assert data != changed.data
        return [replace(log, data=data) if log is changed else log for log in logs]

    return tell


def of(session: Economy, logs: list[Log], contract: str, event: str) -> list[Log]:
    topic = load_contract(contract).topic_of(event)
    at = session.chain.contracts[contract]
    found = [log for log in logs if log.address == at and log.topics[0] == topic]
    assert found, f"the economy has no {event}"
    return found


@pytest.mark.parametrize(("contract", "event"), CASES)
def test_an_event_that_is_left_out_or_says_a_wei_more_is_found_out(
    session: Economy, still: Remembered, contract: str, event: str
) -> None:
    lies = [without(session, contract, event, slice(-1, None))]
    if event not in WITHOUT_AMOUNT:
        lies.append(with_a_wei_more(session, contract, event))
    for lie in lies:
        report = audit(Liar(still, lie), session.network)
        assert not report.holds
        assert report.faults


class Bent(Liar):
    """A client that tells the lowest bit of one value in storage otherwise."""

    def __init__(self, client: Any, contract: Address, place: StorageValue) -> None:
        super().__init__(client)
        self._contract, self._place = contract, place

    def storage(self, address: Address, slot: int, **named: Any) -> bytes:
        word: bytes = self._client.storage(address, slot, **named)
        is_it = (address, slot) == (self._contract, self._place.slot)
        return (int.from_bytes(word, "big") ^ is_it << 8 * self._place.offset).to_bytes(32, "big")


def test_a_bit_of_any_value_that_is_told_otherwise_is_found_out(session: Economy, still: Remembered) -> None:
    client: Any = still
    chain = pin_chain(client, session.network)
    reader = read_all(chain.events(), read_fixed(chain))
    books = books_of(chain, EventLog(chain.events()), reader)
    missed = []
    for key in read_storage(chain, books, list(reader.claims.values())).values:
        contract, variable, *path = key
        place = layout_of(str(contract)).place(str(variable), *path)
        if audit(Bent(still, session.chain.contracts[str(contract)], place), session.network).holds:
            missed.append(show_key(key))
    assert missed == []


def test_a_block_that_is_taken_back_while_it_is_read_is_noticed(session: Economy) -> None:
    session.client.mine()
    liar = Liar(session.client, meanwhile=lambda: session.client.reorganise(1))
    with pytest.raises(ChainError, match=r"took block \d+ back"):
        audit(liar, session.network)
    assert audit(session.client, session.network).holds


def test_blocks_that_come_meanwhile_change_nothing(session: Economy) -> None:
    before = session.client.mine().number

    def meanwhile() -> None:
        assert session.chain.send("OpenToken", "transfer", session.network.contracts["Params"], 5).is_ok

    report = audit(Liar(session.client, meanwhile=meanwhile), session.network)
    assert (report.block, report.holds, report.donations) == (before, True, {})


def test_an_endpoint_that_gives_few_blocks_at_once_is_asked_for_less(session: Economy) -> None:
    asked: list[int] = []

    class Narrow(Liar):
        def logs(self, addresses: Sequence[str], first: int, last: int) -> list[Log]:
            asked.append(last - first + 1)
            if last - first >= 20:
                raise ChainError("the endpoint limits how much it is asked")
            return super().logs(addresses, first, last)

    assert audit(Narrow(session.client), session.network).holds
    assert asked[0] > 20 >= asked[-1]
