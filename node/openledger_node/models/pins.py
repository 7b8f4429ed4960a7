"""Pinned adapters stay in memory; a file in the data directory lists them, so that the next start loads them."""

import json
from collections.abc import Iterable
from pathlib import Path

from openledger_protocol.errors import ProtocolError
from openledger_protocol.primitives import AdapterId, check_digest

from ..errors import ConfigError
from ..home import Home
from ..text import size_text
from .adapter_files.plain_file import read_json
from .adapter_source import AdapterSource
from .adapters import Adapter
from .bases import Base
from .library import list_adapters

PINS_SCHEMA = "openledger.pins/1"
FILE_BYTES_MAX = 1 << 20
FLOAT32_BYTES, HALF_BYTES = 4, 2


def read_pins(home: Home) -> tuple[AdapterId, ...]:
    """The pinned ids, in the order in which they were pinned.

    Raises:
        ConfigError: the file is damaged; the message says what to do.
    """
    if not home.pins.exists():
        return ()
    try:
        fields = read_json(home.pins, size_bytes_max=FILE_BYTES_MAX)
        if fields["schema"] != PINS_SCHEMA:
            raise KeyError("schema")
        return tuple(AdapterId(check_digest(adapter_id)) for adapter_id in fields["adapters"])
    except (ProtocolError, KeyError, TypeError) as error:
        raise ConfigError(f"{home.pins} is damaged ({error}): delete it, and pin the adapters again") from error


def keep_pin(home: Home, adapter_id: AdapterId) -> None:
    """Add an adapter to the pinned ones of the next start."""
    _write(home.pins, [*(pin for pin in read_pins(home) if pin != adapter_id), adapter_id])


def drop_pin(home: Home, adapter_id: AdapterId) -> None:
    """Remove an adapter from the pinned ones."""
    pins = read_pins(home)
    if adapter_id in pins:
        _write(home.pins, [pin for pin in pins if pin != adapter_id])


def pinned_sources(home: Home, base: Base) -> tuple[AdapterSource, ...]:
    """The adapters to load at the start: pinned, in the library, and made for `base`."""
    pins = read_pins(home)
    found = {adapter.id: adapter for adapter in list_adapters(home)} if pins else {}
    fitting = (found[pin] for pin in pins if pin in found)
    return tuple(source_of(adapter) for adapter in fitting if adapter.manifest.base.digest == base.digest)


def pinned_among(home: Home, adapters: Iterable[Adapter]) -> list[Adapter]:
    """The pinned adapters among `adapters`."""
    pins = read_pins(home)
    return [adapter for adapter in adapters if adapter.id in pins]


def source_of(adapter: Adapter) -> AdapterSource:
    """The engine's source for one adapter of the library."""
    return AdapterSource(id=adapter.id, folder=str(adapter.folder))


def check_pin_fits(adapter: Adapter, pinned: Iterable[Adapter], *, dtype: str, budget_bytes: int) -> None:
    """Require that all pinned adapters and one more fit in the budget.

    Raises:
        ConfigError: they do not fit; the message has the numbers.
    """
    others = sum(size_in_memory(other, dtype) for other in pinned if other.id != adapter.id)
    needed = size_in_memory(adapter, dtype)
    if needed + others > budget_bytes:
        raise ConfigError(
            f"{adapter.full_name} needs {size_text(needed)} of memory and {size_text(others)} are pinned already, "
            f"but [inference] adapter_cache_bytes is {size_text(budget_bytes)}: raise it, or unpin another adapter"
        )


def size_in_memory(adapter: Adapter, dtype: str) -> int:
    """The bytes that an adapter takes in memory, which do not depend on the type in its file."""
    return adapter.num_parameters * (FLOAT32_BYTES if dtype == "float32" else HALF_BYTES)


def _write(file: Path, pins: list[AdapterId]) -> None:
    partial = file.with_suffix(".partial")
    partial.write_text(json.dumps({"schema": PINS_SCHEMA, "adapters": pins}, indent=2) + "\n")
    partial.replace(file)
