"""The node and its service manager: readiness and signs of life."""

import errno
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from openledger_node.cli.node import note_step
from openledger_node.home import note_doing
from openledger_node.service_manager import ServiceManager

THIRTY_S_USEC = "30000000"


@dataclass
class NotifySocket:
    """A datagram socket that collects what a service says."""

    address: str  # as NOTIFY_SOCKET has it
    receiver: socket.socket

    def messages(self) -> list[str]:
        """The datagrams that have arrived since the last call."""
        found = []
        while True:
            try:
                found.append(self.receiver.recv(4096).decode())
            except BlockingIOError:
                return found


@contextmanager
def open_notify_socket(address: str | Path) -> Iterator[NotifySocket]:
    """Listen at a path, or at an abstract address that begins with `@`."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.setblocking(False)
        text = str(address)
        receiver.bind("\0" + text[1:] if text.startswith("@") else text)
        yield NotifySocket(address=text, receiver=receiver)


@pytest.mark.parametrize("is_abstract", [False, True])
def test_a_node_tells_its_start_by_the_socket_that_it_is_given(tmp_path: Path, is_abstract: bool) -> None:
    if is_abstract and sys.platform != "linux":
        pytest.skip("abstract sockets are Linux's")
    address = f"@openledger-test-{os.getpid()}" if is_abstract else tmp_path / "notify"
    with open_notify_socket(address) as socket:
        environment = {"NOTIFY_SOCKET": socket.address, "HOME": "/"}
        manager = ServiceManager.find(environment)
        manager.load("loading the base,\n40 %")
        manager.be_ready("serving at http://127.0.0.1:8420")
        assert socket.messages() == [
            "STATUS=loading the base, 40 %\nEXTEND_TIMEOUT_USEC=900000000",
            "READY=1\nSTATUS=serving at http://127.0.0.1:8420",
        ]
    assert environment == {"HOME": "/"}  # a child process can't answer in the node's name


def test_a_load_after_the_start_leaves_the_words_of_a_node_that_serves(tmp_path: Path) -> None:
    with open_notify_socket(tmp_path / "notify") as socket, (tmp_path / "node.lock").open("a+") as lock:
        manager = ServiceManager(socket.address)
        note_step(lock, manager, "loading the base, 40 %")
        assert "loading the base, 40 %" in (tmp_path / "node.lock").read_text()
        note_doing(lock, "")
        manager.be_ready("serving at http://127.0.0.1:8420")
        note_step(lock, manager, "loading the base, 89 %")
        assert socket.messages()[-1] == "READY=1\nSTATUS=serving at http://127.0.0.1:8420"
    assert "loading" not in (tmp_path / "node.lock").read_text()


def test_a_manager_that_is_gone_ends_nothing(tmp_path: Path) -> None:
    manager = ServiceManager.find({"NOTIFY_SOCKET": str(tmp_path / "nobody")})
    manager.be_ready("serving")
    assert manager.is_here


def test_a_node_without_free_files_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_socket(*_: object) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    manager = ServiceManager.find({"NOTIFY_SOCKET": "/run/notify"})
    monkeypatch.setattr("socket.socket", no_socket)
    manager.be_ready("serving")
    assert manager.is_here


@pytest.mark.parametrize("address", ["", "relative", "vsock:2:1"])
def test_without_a_socket_that_it_knows_nothing_is_told(address: str) -> None:
    manager = ServiceManager.find({"NOTIFY_SOCKET": address})
    manager.be_ready("serving")
    assert not manager.is_here


async def test_three_signs_of_life_fit_the_watchdogs_time(autojump_clock: MockClock, tmp_path: Path) -> None:
    with open_notify_socket(tmp_path / "notify") as socket:
        manager = ServiceManager.find({"NOTIFY_SOCKET": socket.address, "WATCHDOG_USEC": THIRTY_S_USEC})
        with trio.move_on_after(65.0):
            await manager.give_signs_of_life()
        assert socket.messages() == ["WATCHDOG=1"] * 7


async def test_a_hanging_loop_gives_no_sign(autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch) -> None:
    told_s: list[float] = []
    manager = ServiceManager("/run/notify", watchdog_s=30.0)
    monkeypatch.setattr(manager, "_send", lambda _: told_s.append(trio.current_time()))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(manager.give_signs_of_life)
        await trio.sleep(15.0)
        autojump_clock.jump(100.0)  # a task computes for 100 s without a checkpoint
        await trio.sleep(17.0)
        nursery.cancel_scope.cancel()
    assert told_s == pytest.approx([0.0, 10.0, 115.0, 120.0, 130.0])


@pytest.mark.parametrize(
    "variables",
    [{}, {"WATCHDOG_USEC": "0"}, {"WATCHDOG_USEC": "soon"}, {"WATCHDOG_USEC": THIRTY_S_USEC, "WATCHDOG_PID": "1"}],
)
async def test_without_a_watchdog_of_its_own_a_node_gives_no_signs(
    tmp_path: Path, variables: dict[str, str], autojump_clock: MockClock
) -> None:
    with open_notify_socket(tmp_path / "notify") as socket:
        await ServiceManager.find({"NOTIFY_SOCKET": socket.address, **variables}).give_signs_of_life()
        assert socket.messages() == []
