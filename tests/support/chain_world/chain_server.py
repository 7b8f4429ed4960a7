"""A chain of this process that other processes use over a socket; it lives on when they are killed."""

import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing.connection import Client, Connection, Listener
from pathlib import Path
from typing import Any

from openledger_node.chain.client import SendRefusedError
from openledger_node.errors import ChainError
from openledger_protocol.errors import RevertedError

END = "end"


@contextmanager
def lend(chain: Any) -> Iterator[str]:
    """Serve a chain over a Unix socket, to one process after the other; yields the socket's path."""
    with tempfile.TemporaryDirectory(prefix="chain-") as folder:
        socket = str(Path(folder) / "s")  # a socket's path may have about a hundred characters
        with Listener(socket, family="AF_UNIX") as listener:
            thread = threading.Thread(target=_serve, args=(listener, chain))
            thread.start()
            try:
                yield socket
            finally:
                Client(socket, family="AF_UNIX").send((END, (), {}))
                thread.join()


class RemoteChain:
    """The other end: every method of the chain, asked over the socket."""

    def __init__(self, socket: str) -> None:
        self._connection: Connection = Client(socket, family="AF_UNIX")

    def __getattr__(self, method: str) -> Any:
        def ask(*values: Any, **named: Any) -> Any:
            self._connection.send((method, values, named))
            answer = self._connection.recv()
            match answer:
                case ("refused", reason):
                    raise SendRefusedError(reason, reason)
                case ("reverted", (message, data)):
                    raise RevertedError(message, data=data)
                case ("down", message):
                    raise ChainError(message)
            return answer[1]

        return ask


def _serve(listener: Listener, chain: Any) -> None:
    while True:
        # A process that is killed leaves half a question, or an answer that nobody reads.
        with listener.accept() as connection, suppress(EOFError, OSError):
            while True:
                method, values, named = connection.recv()
                if method == END:
                    return
                connection.send(_answer(chain, method, values, named))


def _answer(chain: Any, method: str, values: Any, named: Any) -> tuple[str, Any]:
    try:
        return "value", getattr(chain, method)(*values, **named)
    except SendRefusedError as error:
        return "refused", error.reason
    except RevertedError as error:
        return "reverted", (error.message, error.data)
    except ChainError as error:
        return "down", str(error)
