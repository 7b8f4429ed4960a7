"""Endpoints that tell an audit's chain otherwise, and what an audit reads there."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from audited_economy import Economy

from openledger_node.audit.books import books_of
from openledger_node.audit.chain import pin_chain
from openledger_node.audit.claims import read_all
from openledger_node.audit.events import EventLog, amount_of
from openledger_node.audit.report import read_fixed
from openledger_node.audit.storage import read_storage
from openledger_node.audit.storage_layout import StorageKey, layout_of
from openledger_node.chain.contracts import load_contract
from openledger_node.network_file import Network
from openledger_node.settlement.records import integer
from openledger_protocol.chain import Log
from openledger_protocol.primitives import Address

OTHER_NUMBERS = {
    "Proposed": "readyAt",
    "Drawn": "drawBlock",
    "DepositsStopped": "until",
    "SignerRevoked": "punishableUntil",
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


class Bent(Liar):
    """A client that tells so much more of some values in storage."""

    def __init__(self, client: Any, session: Economy, more: dict[StorageKey, int]) -> None:
        super().__init__(client)
        self._more: dict[tuple[Address, int], int] = {}
        for (contract, variable, *path), change in more.items():
            place = layout_of(str(contract)).place(str(variable), *path)
            self._more[session.chain.contracts[str(contract)], place.slot] = change << 8 * place.offset

    def storage(self, address: Address, slot: int, **named: Any) -> bytes:
        word: bytes = self._client.storage(address, slot, **named)
        return (int.from_bytes(word, "big") + self._more.get((address, slot), 0)).to_bytes(32, "big")


def keys_read(client: Any, network: Network) -> dict[StorageKey, int]:
    """All that the audit reads in storage."""
    chain = pin_chain(client, network)
    reader = read_all(chain.events(), read_fixed(chain))
    books = books_of(chain, EventLog(chain.events()), reader)
    return dict(read_storage(chain, books, list(reader.claims.values())).values)


def name_of(key: StorageKey) -> str:
    """A value's variable, its keys left out."""
    return ".".join(str(step) for step in key if isinstance(step, str) and not step.startswith("0x"))


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
