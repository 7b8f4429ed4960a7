"""Lines of the log: those that a peer causes are counted, and events are one each; and numbers in words."""

import logging

import pytest

from openledger_node.line_limit import ALIKE_MAX, ALIKE_WITHIN_S, PLACES_MAX, LineLimit
from openledger_node.node_events import WARNINGS, EventKind, note_event
from openledger_node.text import counted, duration_text


def record(text: str) -> logging.LogRecord:
    return logging.LogRecord("openledger_node", logging.INFO, __file__, 1, text, None, None)


class Lines(logging.Handler):
    """A handler that keeps its lines."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, line: logging.LogRecord) -> None:
        self.lines.append(line.getMessage())


def test_lines_that_a_peer_causes_are_counted_instead_of_written() -> None:
    now_s, first, second = 0.0, Lines(), Lines()
    limit = LineLimit(exempt=("openledger_node.event",), now_s=lambda: now_s)
    for handler in (first, second):
        handler.addFilter(limit)

    def write(line: logging.LogRecord) -> None:
        first.handle(line)
        second.handle(line)

    for number in range(ALIKE_MAX + 40):
        write(record(f"a call of peer {number} is refused"))
    event = record("disk_low")
    event.name = "openledger_node.event"
    write(event)
    now_s += ALIKE_WITHIN_S
    write(record("a call is refused"))
    assert first.lines == second.lines
    assert first.lines[0] == "a call of peer 0 is refused"
    assert first.lines[ALIKE_MAX - 1 :] == [
        f"a call of peer {ALIKE_MAX - 1} is refused (further lines like this are left out for 10 minutes)",
        "disk_low",
        "a call is refused (after 40 more lines like this)",
    ]


def test_the_limit_of_lines_takes_bounded_memory() -> None:
    limit = LineLimit()
    for number in range(3 * PLACES_MAX):
        line = record("%s is refused")
        line.lineno = number
        line.args = ("100 %",)
        assert limit.filter(line)
        assert line.getMessage() == "100 % is refused"
    assert len(limit._alike) <= PLACES_MAX


# ---- events of a node: one line of the log each


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


# ---- a number with its noun, and a length of time


def test_numbers_and_lengths_of_time_are_said_exactly() -> None:
    assert [counted(number, "share") for number in (0, 1, 1_234)] == ["0 shares", "1 share", "1,234 shares"]
    said = ["0 s", "1 h", "1 d 1 min", "1 d 2 h 3 min 4 s"]
    assert [duration_text(seconds) for seconds in (0, 3_600, 86_460, 93_784)] == said
