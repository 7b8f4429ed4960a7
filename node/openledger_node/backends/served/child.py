"""A model server that the node starts, and that ends with this process however it ends."""

import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO

from ...engine.opening import tell
from ...errors import ModelError
from .client import POLL_INTERVAL_S, client_of_socket, is_healthy

SOCKET_NAME = "server.sock"
"""llama-server takes its address for a socket file only if it ends like this."""

TAIL_LINES = 40


class ChildServer:
    """A server behind a socket file in a private folder, so it needs no port and no key.

    Its log goes to the engine's log. It ends with this process, even if that is killed.
    """

    def __init__(
        self,
        name: str,
        command: Callable[[str], list[str]],
        *,
        environment: Mapping[str, str],
        grace_s: float,
        reason_in: Callable[[list[str]], str],
        folder: Path | None = None,
    ) -> None:
        """Start `command`, which gets the path of the socket file; `reason_in` finds the reason in a log's tail.

        `grace_s`: the seconds that the server has to end before it is killed. `folder`: its working folder, if it is
        not ours.
        """
        private = tempfile.mkdtemp(prefix="openledger-server-")
        socket = str(Path(private, SOCKET_NAME))
        self.client = client_of_socket(name, socket)
        self._reason_in = reason_in
        parent_watch = str(Path(__file__).with_name("parent_watch.py"))
        self._process = subprocess.Popen(
            [sys.executable, "-I", parent_watch, str(grace_s), private, *command(socket)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env=environment,
            cwd=folder,
        )
        self._tail: deque[str] = deque(maxlen=TAIL_LINES)
        assert self._process.stdout is not None, "it is a pipe"
        self._logging = threading.Thread(target=self._keep_log, args=(self._process.stdout,), daemon=True)
        self._logging.start()

    def wait_ready(self) -> None:
        """Wait until the server is ready, without a time limit.

        Raises:
            ModelError: it ended before; the message has its last errors.
        """
        tell("server")
        while not is_healthy(self.client):
            if self._process.poll() is not None:
                self.close()
                name = self.client.name
                raise ModelError(f"the {name} server ended while it started: {self._reason_in(list(self._tail))}")
            time.sleep(POLL_INTERVAL_S)

    def close(self) -> None:
        """End the server and wait for its end."""
        assert self._process.stdin is not None, "it is a pipe"
        self._process.stdin.close()
        self._process.wait()
        self._logging.join()

    def _keep_log(self, output: IO[bytes]) -> None:
        with output:
            for line in output:
                sys.stderr.buffer.write(line)
                sys.stderr.buffer.flush()
                self._tail.append(line.decode(errors="replace").strip())
