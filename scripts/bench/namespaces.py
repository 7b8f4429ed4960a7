"""Network namespaces of Linux: machines with interfaces of their own, in one process.

A namespace has no name. It lives while its file descriptor is open or a process runs in it, so nothing is left behind
however this process ends.
"""

import ctypes
import os
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

CLONE_NEWNET = 0x40000000
THREAD_NAMESPACE = "/proc/thread-self/ns/net"
ESTABLISHED = "01"
"""A state in the kernel's table of TCP connections. It has addresses in hexadecimal, the last byte first."""

PIECE_BYTES = 64 * 1024


class NamespaceError(Exception):
    """This machine does not allow it; the message says why."""


class Machine:
    """A machine of the laboratory: a network namespace that this process holds open."""

    def __init__(self) -> None:
        with ThreadPoolExecutor(1) as pool:  # the thread leaves this program's namespace, and ends
            self._fd = pool.submit(_new_namespace).result()
        self.run("ip", "link", "set", "lo", "up")

    @property
    def path(self) -> str:
        """A path that names the namespace while this process runs."""
        return f"/proc/{os.getpid()}/fd/{self._fd}"

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Have this thread, and the processes that it starts, use the machine's network."""
        before = os.open(THREAD_NAMESPACE, os.O_RDONLY)
        try:
            _enter(self._fd)
            yield
        finally:
            _enter(before)
            os.close(before)

    def run(self, *words: str, text: str | None = None) -> str:
        """Run a command on the machine, and return what it prints.

        Raises:
            NamespaceError: it failed; the message has its last line.
        """
        with self.entered():
            try:
                ran = subprocess.run(words, input=text, capture_output=True, text=True, check=False)
            except FileNotFoundError as error:
                raise NamespaceError(f"{words[0]} is not installed") from error
        if ran.returncode:
            said = (ran.stderr or ran.stdout).strip().splitlines()[-1:] or [f"exit status {ran.returncode}"]
            raise NamespaceError(f"`{' '.join(words)}` failed: {said[0]}")
        return ran.stdout

    def plug(self, name: str, other: "Machine", other_name: str) -> None:
        """Connect an interface of this machine with one of another, as a cable does; both are up."""
        self.run("ip", "link", "add", name, "type", "veth", "peer", "name", other_name, "netns", other.path)
        self.run("ip", "link", "set", name, "up")
        other.run("ip", "link", "set", other_name, "up")

    def address(self, name: str, address: str) -> None:
        """Give an interface an address with the length of its network, such as 192.168.1.7/24."""
        self.run("ip", "addr", "add", address, "dev", name)

    def route_by(self, gateway: str) -> None:
        """Send what is for elsewhere to a gateway."""
        self.run("ip", "route", "add", "default", "via", gateway)

    def forward(self) -> None:
        """Pass on what is for others, as a router does."""
        with self.entered():
            try:
                Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
            except OSError as error:
                raise NamespaceError(f"the kernel's settings can't be changed here: {error.strerror}") from error

    def is_connected(self, address: str) -> bool:
        """True while a TCP connection with this IPv4 address is established."""
        with self.entered():
            lines = Path("/proc/thread-self/net/tcp").read_text().splitlines()[1:]
        sought = socket.inet_aton(address)[::-1].hex().upper()
        return any(far.startswith(sought) and state == ESTABLISHED for _, _, far, state, *_ in map(str.split, lines))

    def bytes_received(self, name: str) -> int:
        """Bytes that an interface has received."""
        with self.entered():
            lines = Path("/proc/thread-self/net/dev").read_text().splitlines()
        return next(int(line.split(":")[1].split()[0]) for line in lines if line.strip().startswith(f"{name}:"))

    def close(self) -> None:
        """Let go of the namespace; it is gone once its last process has ended."""
        with suppress(OSError):
            os.close(self._fd)


def why_not() -> str:
    """Return why machines can't be made here; empty if they can."""
    if not sys.platform.startswith("linux"):
        return "network namespaces are a feature of Linux"
    missing = [name for name in ("ip", "nft") if shutil.which(name) is None]
    if missing:
        return f"{' and '.join(missing)} is not installed"
    try:
        machine = Machine()
        machine.forward()
        machine.run("nft", "add", "table", "ip", "probe")
        machine.close()
    except (NamespaceError, OSError) as error:
        return str(error)
    return ""


def become_root() -> None:
    """Run this program again as root of a user namespace, unless it is root already or that is forbidden."""
    unshare = shutil.which("unshare")
    if os.geteuid() == 0 or unshare is None:
        return
    # Its own network too: a thread can only come back to one that belongs to the same user namespace.
    words = [unshare, "--user", "--map-root-user", "--net", "sh", "-c", 'ip link set lo up && exec "$@"', "sh"]
    if subprocess.run([*words, "true"], capture_output=True, check=False).returncode == 0:
        os.execv(unshare, [*words, sys.executable, *sys.argv])


# ---- a port of one machine that leads to another


@contextmanager
def forwarded(machine: Machine, port: int) -> Iterator[None]:
    """Connect a machine's loopback port with the same port of this process's own machine, as a tunnel does.

    A development chain listens on loopback only.
    """
    with machine.entered():
        listener = socket.create_server(("127.0.0.1", port))
    threading.Thread(target=_accept, args=(listener, port), daemon=True).start()
    try:
        yield
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()


def _accept(listener: socket.socket, port: int) -> None:
    with suppress(OSError):  # the listener is closed at the end
        while True:
            inner, _ = listener.accept()
            try:
                outer = socket.create_connection(("127.0.0.1", port))
            except OSError:
                inner.close()
                continue
            for source, target in ((inner, outer), (outer, inner)):
                threading.Thread(target=_copy, args=(source, target), daemon=True).start()


def _copy(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while piece := source.recv(PIECE_BYTES):
            target.sendall(piece)
    with suppress(OSError):
        target.shutdown(socket.SHUT_WR)


# ---- system calls


def _new_namespace() -> int:
    if _libc().unshare(CLONE_NEWNET):
        raise NamespaceError(f"this user may not make network namespaces: {os.strerror(ctypes.get_errno())}")
    return os.open(THREAD_NAMESPACE, os.O_RDONLY)


def _enter(fd: int) -> None:
    if _libc().setns(fd, CLONE_NEWNET):
        raise NamespaceError(f"this thread can't enter a network namespace: {os.strerror(ctypes.get_errno())}")


@cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)
