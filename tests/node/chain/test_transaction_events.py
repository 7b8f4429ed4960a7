"""Transactions that an operator waits for are events; the others are plain lines of the log."""

import logging

import pytest

from openledger_node.chain.outbox import note_final, note_mined
from openledger_protocol.chain import ContractCall
from openledger_protocol.primitives import Address
from openledger_protocol.transactions import Intent

ACCOUNT = Address("0x" + "c" * 40)


def intent(kind: str) -> Intent:
    call = ContractCall(to=ACCOUNT, data=b"")
    return Intent(key="1", kind=kind, summary=f"{kind} of a test", sender=ACCOUNT, call=call, deadline_s=None)


@pytest.mark.parametrize(
    ("kind", "mined", "final"),
    [
        ("claim", "claim_made: claim of a test, in block 7", "final: claim of a test"),
        ("finalize late", "mined in block 7: finalize late of a test", "claim_final: finalize late of a test"),
        ("stake", "mined in block 7: stake of a test", "final: stake of a test"),
    ],
)
def test_what_an_operator_waits_for_is_an_event(
    caplog: pytest.LogCaptureFixture, kind: str, mined: str, final: str
) -> None:
    caplog.set_level(logging.INFO, logger="openledger_node")
    note_mined(intent(kind), 7, None)
    note_final(intent(kind), None)
    assert caplog.messages == [mined, final]


def test_a_transaction_that_the_contract_refused_is_no_event(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="openledger_node")
    note_mined(intent("claim"), 7, "NotDue()")
    note_final(intent("claim"), "NotDue()")
    assert caplog.messages == ["refused (NotDue()) in block 7: claim of a test", "final: claim of a test"]
