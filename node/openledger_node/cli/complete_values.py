"""Values that the Tab key offers, read from the data directory alone: no daemon, no chain, no network."""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from ..home import Home

SHOWN_DIGITS: Final = 10
"""Characters of a digest that are enough to name a batch."""


def _bases(home: Home) -> Iterator[str]:
    return (file.parent.name for file in sorted(home.models.glob("[!.]*/base.json")))


def _adapters(home: Home) -> Iterator[str]:
    """Yield the name of each adapter, with its id only where several share a name."""
    folders = [file.parent.name for file in sorted(home.adapters.glob("[!.]*/adapter.json"))]
    names = [folder.partition("@")[0] for folder in folders]
    for folder, name in zip(folders, names, strict=True):
        yield name if names.count(name) == 1 else folder


def _models(home: Home) -> Iterator[str]:
    yield from _bases(home)
    yield from _adapters(home)


def _datanets(home: Home) -> Iterator[str]:
    return (file.parent.parent.name for file in sorted(home.datanets.glob("*/own/datanet.json")))


def _batches(home: Home) -> Iterator[str]:
    for file in sorted(home.datanets.glob("*/own/datanet.json")):
        for batch in _read(file).get("batches", ()):
            yield batch["digest"][:SHOWN_DIGITS]


def _networks(home: Home) -> Iterator[str]:
    return (file.parent.name for file in sorted(home.network("").glob("*/network.json")))


def _accounts(home: Home) -> Iterator[str]:
    files = [*home.keys.glob("*.json"), *home.network("").glob("*/keys/*.json")]
    yield from sorted({file.stem for file in files})


def _keys(home: Home) -> Iterator[str]:
    return (key["name"] for key in _read(home.keys / "named-api.keys").get("keys", ()))


def _settings(home: Home) -> Iterator[str]:
    from dataclasses import fields

    from ..config import TABLES

    return (f"{table}.{spec.name}" for table, cls in TABLES.items() for spec in fields(cls))


VALUES: Final[Mapping[str, Callable[[Home], Iterator[str]]]] = {
    "BASE": _bases,
    "ADAPTER": _adapters,
    "MODEL": _models,
    "DATANET": _datanets,
    "BATCH": _batches,
    "NETWORK": _networks,
    "ACCOUNT": _accounts,
    "KEY": _keys,
    "SETTING": _settings,
}
"""The completer of each kind of value. A kind is the word that stands for the value in the help: `--model MODEL`."""


def values_of(metavar: str, home: Home) -> list[str]:
    """List the values of kinds that `|` separates, in which small letters are a value; none for unreadable files."""
    found: list[str] = []
    with suppress(OSError, ValueError, KeyError, TypeError):
        for kind in metavar.split("|"):
            found += VALUES[kind](home) if kind in VALUES else [kind] * kind.islower()
    return found


def _read(file: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return found
