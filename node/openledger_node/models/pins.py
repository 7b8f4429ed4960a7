"""Adapters that are to stay in memory: kept in the home, so that the next start begins with them."""

import json
from collections.abc import Iterable
from pathlib import Path

from openledger_protocol.errors import ProtocolError
from openledger_protocol.primitives import AdapterId, check_digest

from ..errors import ConfigError
from ..home import Home
from .adapter_files.plain_file import read_json
from .adapter_source import AdapterPart, AdapterSource
from .adapters import Adapter, list_adapters
from .bases import Base

PINS_SCHEMA = "openledger.pins/1"
FILE_BYTES_MAX = 1 << 20
FLOAT32_BYTES, HALF_BYTES = 4, 2
MIB = 1 << 20


def read_pins(home: Home) -> tuple[AdapterId, ...]:
    """The ids that are pinned, in the order in which they were.

    Raises:
        ConfigError: the file is torn; the message says what to do.
    """
    if not home.pins.exists():
        return ()
    try:
        fields = read_json(home.pins, size_bytes_max=FILE_BYTES_MAX)
        if fields["schema"] != PINS_SCHEMA:
            raise KeyError("schema")
        return tuple(AdapterId(check_digest(adapter_id)) for adapter_id in fields["adapters"])
    except (ProtocolError, KeyError, TypeError) as error:
        raise ConfigError(f"{home.pins} is torn ({error}): delete it, and pin again what is to stay") from error


def keep_pin(home: Home, adapter_id: AdapterId) -> None:
    """Pin an adapter, from the next start on."""
    _write(home.pins, [*(pin for pin in read_pins(home) if pin != adapter_id), adapter_id])


def drop_pin(home: Home, adapter_id: AdapterId) -> None:
    """Pin an adapter no more."""
    pins = read_pins(home)
    if adapter_id in pins:
        _write(home.pins, [pin for pin in pins if pin != adapter_id])


def pinned_sources(home: Home, base: Base) -> tuple[AdapterSource, ...]:
    """What a start is to bring to memory: the pinned adapters that are here and were made for `base`."""
    pins = read_pins(home)
    found = {adapter.id: adapter for adapter in list_adapters(home)} if pins else {}
    fitting = (found[pin] for pin in pins if pin in found)
    return tuple(source_of(adapter) for adapter in fitting if adapter.manifest.base.digest == base.digest)


def pinned_among(home: Home, adapters: Iterable[Adapter]) -> list[Adapter]:
    """Those of `adapters` that are pinned."""
    pins = read_pins(home)
    return [adapter for adapter in adapters if adapter.id in pins]


def source_of(adapter: Adapter) -> AdapterSource:
    """An adapter of the shelf, by itself, as the engine is told of it."""
    return AdapterSource(id=adapter.id, parts=(AdapterPart(folder=str(adapter.folder)),))


def check_pin_fits(adapter: Adapter, pinned: Iterable[Adapter], *, dtype: str, budget_bytes: int) -> None:
    """Require that all pinned adapters and one more fit in the budget.

    Raises:
        ConfigError: with the numbers.
    """
    others = sum(size_in_memory(other, dtype) for other in pinned if other.id != adapter.id)
    needed = size_in_memory(adapter, dtype)
    if needed + others > budget_bytes:
        raise ConfigError(
            f"{adapter.full_name} needs {_mib(needed)} of memory and {_mib(others)} are pinned already, but "
            f"[inference] adapter_cache_bytes is {_mib(budget_bytes)}: raise it, or unpin another adapter"
        )


def size_in_memory(adapter: Adapter, dtype: str) -> int:
    """What an adapter takes there, in bytes, whatever the type of its file."""
    return adapter.num_parameters * (FLOAT32_BYTES if dtype == "float32" else HALF_BYTES)


def _write(file: Path, pins: list[AdapterId]) -> None:
    partial = file.with_suffix(".partial")
    partial.write_text(json.dumps({"schema": PINS_SCHEMA, "adapters": pins}, indent=2) + "\n")
    partial.replace(file)


def _mib(size_bytes: int) -> str:
    return f"{size_bytes / MIB:.1f} MiB"
