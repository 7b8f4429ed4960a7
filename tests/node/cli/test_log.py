"""The log of a node goes to stderr: a terminal has what needs its owner, and a service manager also the rest."""

import logging
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from openledger_node.cli.node import log_to_stderr
from openledger_node.line_limit import ALIKE_MAX
from openledger_node.node_events import EventKind, note_event


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    root, ours = logging.getLogger(), logging.getLogger("openledger_node")
    handlers, level = root.handlers[:], ours.level
    yield
    for handler in set(root.handlers) - set(handlers):
        handler.close()
    root.handlers[:] = handlers
    ours.setLevel(level)


def test_a_terminal_shows_warnings_only(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    for is_terminal in (True, False):
        monkeypatch.setattr("sys.stderr.isatty", lambda given=is_terminal: given)
        log_to_stderr()
        logging.getLogger("openledger_node.chain.outbox").info("final: claim 3")
        logging.getLogger("openledger_node.engine").warning("the engine has died")
        logging.getLogger("httpx").info("a library's chatter")
        said = capsys.readouterr().err
        assert "the engine has died" in said
        assert "chatter" not in said
        assert ("final: claim 3" in said) == (not is_terminal)


def test_repeated_lines_fill_no_log_and_hide_no_event(capsys: pytest.CaptureFixture[str]) -> None:
    log_to_stderr()
    for number in range(1_000):
        logging.getLogger("openledger_node.market.bidder").warning("call %d is not answered", number)
        note_event(EventKind.CLAIM_MADE, f"claim {number}")
    lines = capsys.readouterr().err.splitlines()
    assert sum("is not answered" in line for line in lines) == ALIKE_MAX
    assert sum("claim_made" in line for line in lines) == 1_000


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no disk that is always full")
def test_a_full_disk_costs_lines_of_the_log_and_no_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    full = Path("/dev/full").open("w", buffering=1)  # noqa: SIM115  # its close fails as its writes do
    monkeypatch.setattr("sys.stderr", full)
    log_to_stderr()
    logging.getLogger("openledger_node.network").warning("the ledger can't be written")
    with suppress(OSError):
        full.close()
