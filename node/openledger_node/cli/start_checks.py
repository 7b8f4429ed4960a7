"""Checks of `start` before it downloads or converts anything: each fails within a second, and says what to do."""

import errno
import socket
import sys
import tempfile

from openledger_protocol.constants import DEMO_BASE_NAME

from ..config import Config
from ..engine.base_fit import PLANNED_BACKENDS
from ..engine.budget import check_disk_room, number_bytes_of
from ..errors import ConfigError, ModelError
from ..home import HOME_VARIABLE, Home
from ..machine import look_at_machine
from ..models.bases import find_base, is_here, is_new_file
from ..models.download import DEMO_FILE_BYTES
from ..models.known_bases import known_base
from ..operator.port_holder import find_port_holder
from .base_check import BaseCheck

NEXT_PORTS, PORT_MAX = 100, 65_535


def check_start(home: Home, config: Config) -> None:
    """Check the port, the engine's device, and the room for a base that is not here yet.

    Raises:
        ConfigError: one of them can't do; the message says why and what to change.
        ModelError: the base is not on this machine, or does not fit into its memory.
    """
    check_port(config.api.host, config.api.port)
    if config.node.serve:
        check_device(config)
    if is_bringing(home, config):
        check_room(home, config)
    else:
        find_base(home, config.inference.base)


def is_bringing(home: Home, config: Config) -> bool:
    """Return True if `start` itself brings the base: it downloads the demo base, and describes a GGUF file."""
    base = config.inference.base
    return not is_here(home, base) if base == DEMO_BASE_NAME else is_new_file(home, base)


def check_writable(home: Home) -> None:
    """Check that the data directory can be written.

    Raises:
        ConfigError: it can't.
    """
    try:
        with tempfile.TemporaryFile(dir=home.root) as file:
            file.write(b"room")
            file.flush()
    except OSError as error:
        raise ConfigError(
            f"the data directory {home.root} can't be written ({error.strerror}): free its disk, change its owner or "
            f"mode, or choose another directory by --home or {HOME_VARIABLE}"
        ) from error


def check_port(host: str, port: int) -> None:
    """Check that nobody listens on the API's port.

    Raises:
        ConfigError: a program does; the message names it if the system does.
    """
    error = _error_of_port(host, port)
    if error and error.errno != errno.EADDRINUSE:
        raise ConfigError(
            f"cannot listen on {host}:{port} ({error.strerror}): choose another by --port or [api] host"
        )
    if error:
        holder = find_port_holder(port)
        others = range(port + 1, min(port + NEXT_PORTS, PORT_MAX + 1))
        free = next((each for each in others if not _error_of_port(host, each)), 0)
        raise ConfigError(
            f"cannot listen on {host}:{port} ({error.strerror}), because {holder or 'another program'} uses the "
            f'port. Stop it, or start with `--port {free}` (through make: `make start ARGS="--port {free}"`)'
        )


def _error_of_port(host: str, port: int) -> OSError | None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
            listener.listen(1)
        except OSError as error:
            return error
    return None


def check_device(config: Config) -> None:
    """Check that this machine has the device that is set.

    Raises:
        ConfigError: this kind of machine can't have it.
        ModelError: there is no such card that the engine can use.
    """
    if config.inference.device == "mps" and sys.platform != "darwin":
        raise ConfigError(
            '[inference] device is "mps", which is the GPU of an Apple computer: set it to "auto", "cuda" or "cpu"'
        )
    if config.inference.device == "cuda" and config.inference.backend in PLANNED_BACKENDS:
        machine = look_at_machine()
        if machine.usable_card and machine.usable_card.vendor != "apple":
            return
        trouble = machine.trouble
        why = f"{trouble.found}: {trouble.fix}" if trouble else "no NVIDIA or AMD card is here"
        raise ModelError(
            f'[inference] device is "cuda", and {why}; with device = "auto" the node takes what there is'
        )


def check_room(home: Home, config: Config) -> None:
    """Check that the disk and the memory have room for the base that the start brings.

    Raises:
        ConfigError: the disk is too full.
        ModelError: no memory plan has room for the base.
    """
    base = config.inference.base
    check = BaseCheck(home, config, is_anyway=False)
    if known := known_base(base):
        number_bytes = number_bytes_of(config.inference.dtype, on_gpu=check.room.on_gpu)
        # The wheel is deleted after its file was extracted, and the engine keeps the base in its own layout as well.
        more_bytes = known.download_bytes + DEMO_FILE_BYTES + known.num_parameters * number_bytes
        check_disk_room(home, config.limits.disk_bytes, more_bytes=more_bytes)
    check.check_memory(base)
