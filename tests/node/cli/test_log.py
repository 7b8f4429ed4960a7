"""The log of a node: what it did is in its file, for its owner's eyes, and the terminal has what needs them."""

import logging
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from openledger_node.cli.node import keep_log
from openledger_node.errors import DiskError
from openledger_node.home import Home
from openledger_node.log_files import ALIKE_MAX, NodeLog
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


def test_the_file_has_what_the_node_did_and_the_terminal_what_needs_its_owner(
    home: Home, capsys: pytest.CaptureFixture[str]
) -> None:
    keep_log(home)
    logging.getLogger("openledger_node.chain.outbox").info("final: claim 3")
    logging.getLogger("openledger_node.engine").warning("the engine has died")
    logging.getLogger("httpx").info("a library's chatter")
    said, file = capsys.readouterr().err, home.logs / "node.log"
    assert "final: claim 3" in file.read_text()
    assert "the engine has died" in file.read_text()
    assert "chatter" not in file.read_text()
    assert "the engine has died" in said
    assert "claim 3" not in said


def test_a_peer_that_causes_a_line_again_and_again_fills_no_log_and_hides_no_event(home: Home) -> None:
    keep_log(home)
    for number in range(1_000):
        logging.getLogger("openledger_node.market.bidder").warning("call %d is not answered", number)
        note_event(EventKind.CLAIM_MADE, f"claim {number}")
    lines = (home.logs / "node.log").read_text().splitlines()
    assert sum("is not answered" in line for line in lines) == ALIKE_MAX
    assert sum("claim_made" in line for line in lines) == 1_000


def test_only_its_owner_reads_the_log_also_one_of_an_earlier_release(home: Home) -> None:
    home.logs.mkdir()
    file = home.logs / "node.log"
    file.touch(0o644)
    keep_log(home)
    assert file.stat().st_mode & 0o777 == 0o600


def test_a_read_only_home_is_named_with_what_helps(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(30, "Read-only file system", str(home.logs))

    monkeypatch.setattr("pathlib.Path.mkdir", refuse)
    with pytest.raises(DiskError, match="is read-only: make it writable, or set OPENLEDGER_HOME"):
        keep_log(home)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no disk that is always full")
def test_a_full_disk_costs_lines_of_the_log_and_no_tracebacks(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    keep_log(home)
    (handler,) = (each for each in logging.getLogger().handlers if isinstance(each, NodeLog))
    handler.stream.close()
    full = handler.stream = Path("/dev/full").open("w")  # noqa: SIM115  # its close fails as its writes do
    logging.getLogger("openledger_node.network").warning("the ledger can't be written")
    with suppress(OSError):
        full.close()
    handler.stream = None  # type: ignore[assignment]
    said = capsys.readouterr().err
    assert "the ledger can't be written" in said
    assert "Logging error" not in said
