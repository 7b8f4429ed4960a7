"""The adapter library of a running node: inspect, add and remove adapters."""

from pathlib import Path
from typing import Any

import trio

from openledger_protocol.errors import MalformedError

from ..home import Home
from ..models.adapters import Adapter, adapter_to_json, add_adapter, find_adapter
from ..models.bases import Base, find_base
from ..models.library import list_adapters, remove_adapter
from ..models.pins import drop_pin
from ..serving.pinning import AdapterPins
from .adapters import details_to_plain


class LibraryService:
    """Answers the routes of the adapter library."""

    def __init__(self, home: Home, base: Base, pins: AdapterPins) -> None:
        self._home = home
        self._base = base
        self._pins = pins

    def inspect(self, name: str) -> dict[str, Any]:
        """The details of one adapter; blocks.

        Raises:
            UnknownModelError: it is not in the library.
            AdapterRefusedError: its files are damaged.
        """
        return details_to_plain(find_adapter(list_adapters(self._home), name), self._base)

    def add(self, folder: str, name: str | None, base: str | None) -> dict[str, Any]:
        """Check a folder and add it to the library; blocks.

        Raises:
            MalformedError: it is not the absolute path of a folder.
            AdapterRefusedError: the files are invalid, or belong to another base.
        """
        path = Path(folder).expanduser()
        if not path.is_absolute() or not path.is_dir():
            raise MalformedError(f"{folder[:200]!r} is no folder: give its absolute path on the node's machine")
        chosen = find_base(self._home, base) if base else self._base
        return adapter_to_json(add_adapter(self._home, path, chosen, name=name or None))

    async def remove(self, name: str) -> dict[str, Any]:
        """Delete an adapter's files and unload it.

        Raises:
            UnknownModelError: it is not in the library.
        """
        adapter = await trio.to_thread.run_sync(self._remove, name)
        self._pins.unload(adapter.id)
        return adapter_to_json(adapter)

    def _remove(self, name: str) -> Adapter:
        adapter = find_adapter(list_adapters(self._home), name)
        drop_pin(self._home, adapter.id)
        return remove_adapter(self._home, adapter.full_name)
