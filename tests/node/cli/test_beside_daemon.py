"""Commands beside a daemon or another command: each is waited for, and nobody waits in vain."""

import os
import socketserver
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from types import SimpleNamespace

import pytest
from node.cli.verbs import Run

from openledger_node.cli import daemon_client, node, status
from openledger_node.cli.commands import typed_command
from openledger_node.cli.daemon_client import SilentError, ask_daemon
from openledger_node.errors import NodeError
from openledger_node.home import Home, claim_home, find_holder


class Daemon(socketserver.StreamRequestHandler):
    answer = b'HTTP/1.1 200 OK\r\nContent-Length: 16\r\n\r\n{"state":"idle"}'

    def handle(self) -> None:
        while self.rfile.readline().strip():
            pass
        self.wfile.write(self.answer)


@contextmanager
def listening(home: Home) -> Iterator[None]:
    with socketserver.UnixStreamServer(str(home.socket), Daemon) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield
        server.shutdown()
        thread.join()


def instead_of_waiting(monkeypatch: pytest.MonkeyPatch, act: Callable[[], object]) -> None:
    """While a verb waits for a daemon, something happens to that."""
    monkeypatch.setattr(daemon_client, "time", SimpleNamespace(monotonic=lambda: 0.0, sleep=lambda seconds: act()))


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
    monkeypatch.setattr(daemon_client, "UP_WITHIN_S", 0.0)
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
def test_a_daemon_that_answers_badly_is_not_silent(
    home: Home, monkeypatch: pytest.MonkeyPatch, status: str, says: str
) -> None:
    monkeypatch.setattr(Daemon, "answer", f"HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n".encode())
    with claim_home(home), listening(home), pytest.raises(NodeError, match=says) as refused:
        ask_daemon(home, "GET", "/limits")
    assert not isinstance(refused.value, SilentError)


def test_a_verb_knows_its_name_without_what_is_behind_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for line, verb in (("--home here stake show --json", "stake show"), ("--version", "openledger-node")):
        monkeypatch.setattr(sys, "argv", ["/usr/bin/openledger-node", *line.split()])
        assert typed_command() == verb


SLEPT_S_MAX = 1.0  # less than anybody waits for a daemon that starts


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds for which this process has slept."""
    naps: list[float] = []
    monkeypatch.setattr(time, "sleep", naps.append)
    return naps


def test_status_names_the_command_at_work_and_proposes_nothing(run: Run, home: Home) -> None:
    with claim_home(home, "rewards withdraw"):
        fields = run("status", "--json").json
        said = run("status").stdout
    assert (fields["state"], fields["suggestion"]) == ("stopped", None)
    at_work = f"`rewards withdraw` (process {os.getpid()}) is at work in this home; wait until it ends"
    assert at_work in fields["why_idle"]
    assert " ".join(fields["why_idle"].split()) in " ".join(said.split())


def test_status_says_that_a_daemon_is_starting(run: Run, home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    assert status.UP_WITHIN_S <= 0.5
    monkeypatch.setattr(status, "UP_WITHIN_S", 0.1)
    with claim_home(home):
        ran = run("status", "--json")
    assert (ran.status, ran.json["state"], ran.json["suggestion"]) == (0, "starting", None)
    assert f"the daemon (process {os.getpid()}) is starting or ending" in ran.json["why_idle"]


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        ({"requests": {"running": 2, "waiting": 1}}, "3 answers still run, and get up to [node] drain_grace_s"),
        (None, "signs its last receipts and waits for the chain's answers"),
    ],
)
def test_stop_waits_until_the_daemon_has_ended_and_says_what_it_waits_for(
    run: Run, home: Home, monkeypatch: pytest.MonkeyPatch, answer: object, says: str
) -> None:
    daemon = {"/status": answer, "/stop": {"state": "draining"}}
    monkeypatch.setattr(node, "ask_daemon", lambda _, __, path, **___: daemon.get(path, daemon["/stop"]))
    monkeypatch.setattr(node, "USUAL_END_S", -1.0)
    monkeypatch.setattr(node, "LAST_WORDS_S", 0.0)  # the holder is this process, which does not end
    with claim_home(home) as lock:
        monkeypatch.setattr(time, "sleep", lambda _: lock.close())
        assert run("stop", "--no-wait", "--json").json["state"] == "draining"
        assert find_holder(home) is not None
        ran = run("stop")
        assert (ran.status, find_holder(home)) == (0, None)
    said = " ".join(ran.stderr.split())
    assert says in said
    assert said.endswith("Ctrl-C ends this command only; the node ends by itself stopped")


@pytest.mark.parametrize("line", ["stake show", "benchmark", "connect", "open", "chat hello"])
def test_a_busy_home_is_reported_at_once(run: Run, home: Home, line: str, slept: list[float]) -> None:
    home.config_file.write_text("[inference]\nbackend = 'fake'\nbase = 'fake'\n")
    with claim_home(home, "rewards withdraw"):
        ran = run(*line.split())
    assert ran.status == 75
    at_work = f"`rewards withdraw` (process {os.getpid()}) is at work in this home: wait until it has ended"
    assert at_work in " ".join(ran.stderr.split())
    assert sum(slept) < SLEPT_S_MAX


def test_what_needs_neither_does_its_work(run: Run, home: Home, slept: list[float]) -> None:
    with claim_home(home, "benchmark"):
        for line in ("limits show", "price show", "jobs", "adapters list", "stop", "pause", "resume"):
            assert run(*line.split()).status == 0, line
    assert sum(slept) < SLEPT_S_MAX
