"""Events of a node: one line of the log each, and the same event for those that listen."""

import logging

import pytest

from openledger_node.node_events import ENDS, WARNINGS, EventKind, NodeEvent, listening_to_events, note_event


@pytest.fixture(autouse=True)
def as_the_daemon_logs(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="openledger_node")


def test_an_event_is_one_line_of_the_log_and_one_call(caplog: pytest.LogCaptureFixture) -> None:
    heard: list[NodeEvent] = []
    with listening_to_events(heard.append):
        note_event(EventKind.CLAIM_MADE, "claim 3 of\n4 receipts")
        logging.getLogger("openledger_node.engine").warning("not an event")
    note_event(EventKind.CLAIM_FINAL, "claim 3")
    assert [(event.kind, event.text) for event in heard] == [(EventKind.CLAIM_MADE, "claim 3 of 4 receipts")]
    assert heard[0].time_s == caplog.records[0].created
    assert [record.getMessage() for record in caplog.records] == [
        "claim_made: claim 3 of 4 receipts",
        "not an event",
        "claim_final: claim 3",
    ]


@pytest.mark.parametrize("kind", EventKind)
def test_only_troubles_reach_the_terminal(kind: EventKind, caplog: pytest.LogCaptureFixture) -> None:
    note_event(kind, "it happened")
    assert (caplog.records[-1].levelno >= logging.WARNING) == (kind in WARNINGS)


def test_what_ends_a_trouble_is_none_itself() -> None:
    assert not WARNINGS & set(ENDS.values())
