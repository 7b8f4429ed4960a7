"""The service manager above this process: systemd, or any program that speaks the protocol of sd_notify.

It names a datagram socket in NOTIFY_SOCKET. The node tells it there when it is ready, and that it still lives.
Without such a socket nothing is sent.
Source: https://www.freedesktop.org/software/systemd/man/latest/sd_notify.html
"""

import os
import socket
from collections.abc import MutableMapping
from contextlib import suppress
from typing import Final, Self

from .beats import sleep_to_beat

SOCKET_VARIABLE: Final = "NOTIFY_SOCKET"
WATCHDOG_VARIABLES: Final = ("WATCHDOG_USEC", "WATCHDOG_PID")
USEC_PER_S: Final = 1_000_000

BEATS_PER_TIMEOUT: Final = 3
"""Signs of life within the time after which the service manager ends a node that gives none."""

LOADING_S: Final = 900.0
"""Time for a start's next step: a base is converted, or its kernels are compiled, without a word in between."""


class ServiceManager:
    """The manager that started this process; it is told nothing if there is none."""

    def __init__(self, address: str = "", *, watchdog_s: float | None = None) -> None:
        """`address` is a path, or an abstract name behind `@`; empty: there is no manager."""
        self._name = "\0" + address[1:] if address.startswith("@") else address
        self._watchdog_s = watchdog_s
        self.is_ready = False  # the node accepts requests

    @classmethod
    def find(cls, environment: MutableMapping[str, str] = os.environ) -> Self:
        """Find the manager, and remove its variables, so that no child process answers in the node's name."""
        address = environment.pop(SOCKET_VARIABLE, "")
        period, process = (environment.pop(name, "") for name in WATCHDOG_VARIABLES)
        is_watched = period.isdecimal() and int(period) > 0 and process in ("", str(os.getpid()))
        watchdog_s = int(period) / USEC_PER_S if is_watched else None
        return cls(address if address.startswith(("/", "@")) else "", watchdog_s=watchdog_s)

    @property
    def is_here(self) -> bool:
        """True if a manager started this process."""
        return bool(self._name)

    def load(self, step: str) -> None:
        """Tell a step of the start; the next one may take its time."""
        self._send(f"STATUS={' '.join(step.split())}\nEXTEND_TIMEOUT_USEC={int(LOADING_S * USEC_PER_S)}")

    def be_ready(self, text: str) -> None:
        """Tell that the node accepts requests; `text` says what it serves."""
        self.is_ready = True
        self._send(f"READY=1\nSTATUS={text}")

    async def give_signs_of_life(self) -> None:
        """Send signs of life until cancelled. This runs among the node's tasks, so it stops if they hang."""
        if self._watchdog_s is None:
            return
        while True:
            self._send("WATCHDOG=1")
            await sleep_to_beat(self._watchdog_s / BEATS_PER_TIMEOUT)

    def _send(self, text: str) -> None:
        """Send a text. One that can't be delivered is lost: a manager that restarts must not end the node."""
        if self._name:
            with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
                sender.setblocking(False)
                sender.sendto(text.encode(errors="replace"), self._name)
