"""Commands of the program, each forked from one process that has loaded them all: 50 ms instead of a second.

A command has an environment, a folder, streams and memory of its own, as if it had been started alone. A node can be
forked too, which spares it three seconds of imports. Tests of how the program itself starts and ends run
`python -m openledger_node` instead.
"""

import atexit
import json
import os
import random
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import traceback
from collections.abc import Mapping
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import IO, Any

ROOT = Path(__file__).resolve().parents[2]
TIMEOUT_S = 600.0
MESSAGE_BYTES = 1 << 16
NUM_STREAMS = 3
OF_A_NODE = b'{"words": ["start"'
"""A request for a node begins with this. Its modules are loaded by the first one."""

STARTING = threading.Lock()

FORKED_S: list[float] = []
"""Seconds of the processor that each forked process took, unless it was killed: it is no child of this one."""


SHELL_COMMAND = """#!{python} -IS
import json, os, socket, sys
connection = socket.socket(socket.AF_UNIX)
connection.connect({path!r})
request = {{"words": sys.argv[1:], "env": dict(os.environ), "cwd": os.getcwd()}}
socket.send_fds(connection, [json.dumps(request).encode() + b"\\n"], [0, 1, 2])
answers = connection.makefile()
answers.readline()
sys.exit(int(answers.readline().split()[0]))
"""


def write_shell_command(folder: Path) -> None:
    """Write the program as a shell finds it by its name, which asks for a fork; the streams are the shell's."""
    file = folder / "openledger-node"
    file.write_text(SHELL_COMMAND.format(python=sys.executable, path=_server()))
    file.chmod(0o755)


def run_command(
    *words: str, env: Mapping[str, str], merge: bool = False, timeout_s: float = TIMEOUT_S
) -> "subprocess.CompletedProcess[str]":
    """Run one command to its end. `merge` writes both streams to the first, in their order."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        ran = ForkedCommand(*words, env=env, out=out, err=out if merge else err)
        try:
            status = ran.wait(timeout_s)
        except subprocess.TimeoutExpired:
            ran.kill()
            ran.wait()
            raise
        return subprocess.CompletedProcess(list(words), status, _text(out), _text(err))


class ForkedCommand:
    """A running command, with what tests use of a `Popen`."""

    def __init__(self, *words: str, env: Mapping[str, str], out: IO[Any], err: IO[Any]) -> None:
        self.args = list(words)
        self.returncode: int | None = None
        request = {"words": words, "env": dict(env), "cwd": str(Path.cwd())}
        self._connection = socket.socket(socket.AF_UNIX)
        self._connection.connect(_server())
        with open(os.devnull) as null:
            streams = [null.fileno(), out.fileno(), err.fileno()]
            socket.send_fds(self._connection, [json.dumps(request).encode() + b"\n"], streams)
        self._answers = self._connection.makefile()
        self.pid = int(self._answers.readline())

    def poll(self) -> int | None:
        """Its exit status, or None while it runs."""
        return self._status_within(0)

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end and return its exit status.

        Raises:
            subprocess.TimeoutExpired: it runs on.
        """
        status = self._status_within(timeout)
        if status is None:
            assert timeout is not None
            raise subprocess.TimeoutExpired(self.args, timeout)
        return status

    def send_signal(self, number: int) -> None:
        """Send it a signal, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """End it at once."""
        self.send_signal(signal.SIGKILL)

    def _status_within(self, timeout_s: float | None) -> int | None:
        """Read the status that it writes last, and what it took. One that was killed writes none."""
        if self.returncode is None and select.select([self._connection], [], [], timeout_s)[0]:
            status, took_s = (self._answers.readline() or f"{-signal.SIGKILL} 0").split()
            self.returncode = int(status)
            FORKED_S.append(float(took_s))
            self._answers.close()
            self._connection.close()
        return self.returncode


def _text(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode()


def _server() -> str:
    """The socket of the process that commands are forked from."""
    with STARTING:
        return _start_server()


@cache
def _start_server() -> str:
    """Start it, and return its socket. It ends with this process."""
    folder = tempfile.TemporaryDirectory(prefix="commands-")
    path = str(Path(folder.name) / "socket")
    env = {**os.environ, "PYTHONPATH": str(ROOT / "tests")}
    command = [sys.executable, "-m", "support.commands", path]
    server = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=env)

    def end() -> None:
        server.communicate()  # closes its stdin, which ends it
        folder.cleanup()

    atexit.register(end)
    assert server.stdout is not None
    assert server.stdout.readline() == b"ready\n"
    return path


# ---- in the process that is forked


def serve(path: str) -> None:
    """Fork a process for each connection, until stdin is closed. What still runs then is ended."""
    from openledger_node.cli.app import build_app
    from openledger_node.keystore import eth_account

    from .derived_keys import make_cheap

    make_cheap()
    build_app()
    eth_account()
    running: set[int] = set()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen(64)
        print("ready", flush=True)
        while True:
            ready, _, _ = select.select([listener, sys.stdin], [], [], 0.5)
            _reap(running)
            if sys.stdin in ready:
                break
            if listener in ready:
                connection, _ = listener.accept()
                if connection.recv(len(OF_A_NODE), socket.MSG_PEEK) == OF_A_NODE:
                    import_module("openledger_node.daemon")
                child = os.fork()
                if child == 0:
                    _answer(connection)
                running.add(child)
                connection.close()
    for process_id in running:
        os.kill(process_id, signal.SIGKILL)  # not reaped yet, so the number is still its own


def _reap(running: set[int]) -> None:
    """Forget the commands that have ended."""
    while running:
        process_id, _ = os.waitpid(-1, os.WNOHANG)
        if not process_id:
            return
        running.discard(process_id)


def _answer(connection: socket.socket) -> None:
    message, streams, _, _ = socket.recv_fds(connection, MESSAGE_BYTES, NUM_STREAMS)
    while not message.endswith(b"\n"):
        message += connection.recv(MESSAGE_BYTES)
    request: dict[str, Any] = json.loads(message)
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    connection.sendall(f"{os.getpid()}\n".encode())
    os.environ.clear()
    os.environ.update(request["env"])
    os.chdir(request["cwd"])
    random.seed()  # else each command would draw the same
    sys.argv = ["openledger-node", *request["words"]]
    sys.modules["__main__"].__package__ = None  # else a usage error would name this module as the program
    status = _run_main()
    connection.sendall(f"{status} {sum(os.times()[:4]):.2f}\n".encode())
    os._exit(0)


def _run_main() -> int:
    from openledger_node.cli.main import main

    try:
        main()
    except SystemExit as ended:
        return int(ended.code or 0)
    except BaseException:
        traceback.print_exc()
        return 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
    return 0


if __name__ == "__main__":
    serve(sys.argv[1])
