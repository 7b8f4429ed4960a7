"""Lines that a peer causes again and again are counted instead of written."""

import logging

from openledger_node.line_limit import ALIKE_MAX, ALIKE_WITHIN_S, PLACES_MAX, LineLimit


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
