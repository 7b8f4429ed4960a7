"""A service manager's end of the sd_notify protocol."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path


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
