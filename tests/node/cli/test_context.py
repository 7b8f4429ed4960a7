"""A verb that asks a daemon which is just starting, or just ending."""

import socketserver
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from types import SimpleNamespace

import pytest

from openledger_node.cli import daemon_client as context
from openledger_node.cli.commands import typed_command
from openledger_node.cli.daemon_client import SilentError, ask_daemon
from openledger_node.errors import NodeError
from openledger_node.home import Home, claim_home


class Daemon(socketserver.StreamRequestHandler):
    answer = b'HTTP/1.1 200 OK\r\nContent-Length: 16\r\n\r\n{"state":"idle"}'

    def handle(self) -> None:
        while self.rfile.readline().strip():
            pass
        self.wfile.write(self.answer)


@contextmanager
def listening(home: Home, daemon: type[Daemon] = Daemon) -> Iterator[None]:
    with socketserver.UnixStreamServer(str(home.socket), daemon) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield
        finally:
            server.shutdown()
            thread.join()


def instead_of_waiting(monkeypatch: pytest.MonkeyPatch, act: Callable[[], object]) -> None:
    """While a verb waits for a daemon, something happens to that."""
    monkeypatch.setattr(context, "time", SimpleNamespace(monotonic=lambda: 0.0, sleep=lambda seconds: act()))


def test_a_daemon_that_is_starting_is_asked_once_it_listens(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    with ExitStack() as stack:

        def listen() -> None:
            stack.enter_context(listening(home))

        instead_of_waiting(monkeypatch, listen)
        stack.enter_context(claim_home(home))
        assert ask_daemon(home, "GET", "/status") == {"state": "idle"}


def test_a_daemon_that_ends_meanwhile_is_none(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    with claim_home(home) as lock:
        instead_of_waiting(monkeypatch, lock.close)
        assert ask_daemon(home, "GET", "/status") is None


def test_a_daemon_that_never_listens_is_named_with_what_to_do(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(context, "UP_WITHIN_S", 0.0)
    with (
        claim_home(home),
        pytest.raises(NodeError, match=r"holds .* but does not answer .*: wait a moment if it has just"),
    ):
        ask_daemon(home, "GET", "/status")


@pytest.mark.parametrize(
    ("status", "says"),
    [
        ("500 Internal Server Error", r"failed at GET /limits \(status 500\); to see why, read its log: `journalctl"),
        ("404 Not Found", r"refuses GET /limits \(status 404\): it may be of another version"),
    ],
)
def test_a_daemon_that_answers_badly_is_not_called_silent(
    home: Home, monkeypatch: pytest.MonkeyPatch, status: str, says: str
) -> None:
    monkeypatch.setattr(Daemon, "answer", f"HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n".encode())
    with claim_home(home), listening(home), pytest.raises(NodeError, match=says) as refused:
        ask_daemon(home, "GET", "/limits")
    assert not isinstance(refused.value, SilentError)


@pytest.mark.parametrize(
    ("line", "verb"),
    [
        ("rewards withdraw 12 --yes", "rewards withdraw"),
        ("--home here stake show --json", "stake show"),
        ("--version", "openledger-node"),
    ],
)
def test_a_verb_knows_its_name_without_what_is_behind_it(
    line: str, verb: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["/usr/bin/openledger-node", *line.split()])
    assert typed_command() == verb
