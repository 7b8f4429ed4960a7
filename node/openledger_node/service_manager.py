"""The service manager above this process: systemd, or any program that speaks the protocol of sd_notify.

It names a datagram socket in NOTIFY_SOCKET. The node tells it there when it is ready, what it does, that it still
lives, and that it stops. Without such a socket nothing is sent.
Source: https://www.freedesktop.org/software/systemd/man/latest/sd_notify.html
"""

import os
import socket
from collections.abc import Callable, MutableMapping
from contextlib import suppress
from typing import Final, Self

from .beats import sleep_to_beat
from .node_events import ENDS, EventKind, NodeEvent

SOCKET_VARIABLE: Final = "NOTIFY_SOCKET"
WATCHDOG_VARIABLES: Final = ("WATCHDOG_USEC", "WATCHDOG_PID")
USEC_PER_S: Final = 1_000_000

BEATS_PER_TIMEOUT: Final = 3
"""Signs of life within the time after which the service manager ends a node that gives none."""

LOADING_S: Final = 900.0
"""Time for a start's next step: a base is converted, or its kernels are compiled, without a word in between."""

STOP_MARGIN_S: Final = 90.0
"""Time beyond the grace of running answers: for cut-off answers, last receipts, the engine and the own chain."""

TEXT_CHARS_MAX: Final = 200

Send = Callable[[str], None]


class ServiceManager:
    """The manager that started this process; it is told nothing if there is none."""

    def __init__(self, send: Send | None, *, watchdog_s: float | None = None) -> None:
        self._send = send or (lambda _: None)
        self.is_here = send is not None
        self._watchdog_s = watchdog_s
        self._serving = ""
        self._troubles: dict[EventKind, str] = {}
        self._is_stopping = False

    @classmethod
    def find(cls, environment: MutableMapping[str, str] = os.environ) -> Self:
        """Find the manager, and remove its variables, so that no child process answers in the node's name."""
        address = environment.pop(SOCKET_VARIABLE, "")
        period, process = (environment.pop(name, "") for name in WATCHDOG_VARIABLES)
        if not address.startswith(("/", "@")):
            return cls(None)
        is_watched = period.isdecimal() and int(period) > 0 and process in ("", str(os.getpid()))
        return cls(datagrams_to(address), watchdog_s=int(period) / USEC_PER_S if is_watched else None)

    def load(self, step: str) -> None:
        """Tell a step of the start; the next one may take its time."""
        self._send(f"{_status(step)}\n{_extend(LOADING_S)}")

    @property
    def is_ready(self) -> bool:
        """True once the node accepts requests."""
        return bool(self._serving)

    def be_ready(self, text: str) -> None:
        """Tell that the node accepts requests; `text` says what it serves."""
        self._serving = text
        self._send(f"READY=1\n{self._state()}")

    def take_event(self, event: NodeEvent, *, grace_s: float) -> None:
        """Show troubles that last, and tell of a stop, which gets `grace_s` for its running answers."""
        if event.kind == EventKind.STOPPING:
            self._is_stopping = True
            self._send(f"STOPPING=1\n{_status(event.text)}\n{_extend(stop_timeout_s(grace_s))}")
            return
        if event.kind in ENDS:
            self._troubles[event.kind] = event.text
        else:
            self._troubles = {kind: text for kind, text in self._troubles.items() if ENDS[kind] != event.kind}
        if self._serving and not self._is_stopping:
            self._send(self._state())

    def _state(self) -> str:
        return _status("; ".join([self._serving, *self._troubles.values()]))

    async def give_signs_of_life(self) -> None:
        """Send signs of life until cancelled. This runs among the node's tasks, so it stops if they hang."""
        if self._watchdog_s is None:
            return
        while True:
            self._send("WATCHDOG=1")
            await sleep_to_beat(self._watchdog_s / BEATS_PER_TIMEOUT)


def datagrams_to(address: str) -> Send:
    """Return a function that sends texts to a Unix datagram socket; `@` begins an abstract address.

    A text that can't be delivered is lost: a manager that is restarting must not end the node.
    """
    name = "\0" + address[1:] if address.startswith("@") else address

    def send(text: str) -> None:
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.setblocking(False)
            sender.sendto(text.encode(errors="replace"), name)

    return send


def stop_timeout_s(grace_s: float) -> float:
    """The time after which a manager may kill a node that stops."""
    return grace_s + STOP_MARGIN_S


def _status(text: str) -> str:
    return f"STATUS={' '.join(text.split())[:TEXT_CHARS_MAX]}"


def _extend(seconds: float) -> str:
    return f"EXTEND_TIMEOUT_USEC={int(seconds * USEC_PER_S)}"
