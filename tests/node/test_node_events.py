"""Events of a node: one line of the log each."""

import logging

import pytest

from openledger_node.node_events import WARNINGS, EventKind, note_event


@pytest.fixture(autouse=True)
def as_the_daemon_logs(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="openledger_node")


def test_an_event_is_one_line_of_the_log(caplog: pytest.LogCaptureFixture) -> None:
    note_event(EventKind.CLAIM_MADE, "claim 3 of\n4 receipts")
    note_event(EventKind.CLAIM_FINAL, "claim 3")
    assert [record.getMessage() for record in caplog.records] == [
        "claim_made: claim 3 of 4 receipts",
        "claim_final: claim 3",
    ]


def test_only_troubles_reach_the_terminal(caplog: pytest.LogCaptureFixture) -> None:
    for kind in EventKind:
        note_event(kind, "it happened")
        assert (caplog.records[-1].levelno >= logging.WARNING) == (kind in WARNINGS)
