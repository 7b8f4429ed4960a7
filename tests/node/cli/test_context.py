"""A verb that asks a daemon which is just starting, or just ending."""

import socketserver
import threading
from collections.abc import Callable
from contextlib import ExitStack
from types import SimpleNamespace

import pytest

from openledger_node.cli import context
from openledger_node.cli.context import ask_daemon
from openledger_node.errors import NodeError
from openledger_node.home import Home, claim_home

ANSWER = b'HTTP/1.1 200 OK\r\nContent-Length: 16\r\n\r\n{"state":"idle"}'


class Daemon(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        while self.rfile.readline().strip():
            pass
        self.wfile.write(ANSWER)


def instead_of_waiting(monkeypatch: pytest.MonkeyPatch, act: Callable[[], object]) -> None:
    """While a verb waits for a daemon, something happens to that."""
    monkeypatch.setattr(context, "time", SimpleNamespace(monotonic=lambda: 0.0, sleep=lambda seconds: act()))


def test_a_daemon_that_is_starting_is_asked_once_it_listens(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    with ExitStack() as stack:

        def listen() -> None:
            server = stack.enter_context(socketserver.UnixStreamServer(str(home.socket), Daemon))
            thread = threading.Thread(target=server.serve_forever)
            thread.start()
            stack.callback(thread.join)
            stack.callback(server.shutdown)

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
