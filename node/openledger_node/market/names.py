"""Resolving a model's name on the network: pure, from the names in advertisements."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from openledger_protocol.advertisement import OfferedAdapter
from openledger_protocol.errors import MalformedError, UnavailableError, UnknownModelError
from openledger_protocol.primitives import BASE_ONLY, AdapterId, Digest, check_digest

SHORT_ID_DIGITS = 8

Named = tuple[Digest, OfferedAdapter]
"""A base, and an adapter for it with its name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolved:
    """One adapter of one base, or the base alone."""

    base: Digest
    adapter: AdapterId
    name: str  # unique: `name@<8 hex>`, or the base's name


@dataclass(frozen=True, slots=True, kw_only=True)
class Names:
    """Everything that a name may refer to."""

    base_names: Mapping[Digest, str]  # as configured here: an advertisement names its base by digest only
    named: Iterable[Named]
    bases: frozenset[Digest]  # that some node serves
    is_offered: Callable[[Digest, AdapterId], bool]


def resolve(name: str, names: Names) -> Resolved:
    """Resolve `adapter`, `adapter@<8 hex of its id>`, `base:adapter`, `base` or an adapter's whole id.

    Raises:
        UnknownModelError: no node offers it, or it is ambiguous (all meanings named).
        UnavailableError: it is a known base that no node serves now.
    """
    base_name, separator, adapter_name = name.rpartition(":")
    bases = {base for base in names.bases if not separator or names.base_names.get(base) == base_name}
    if separator and not bases:
        raise UnknownModelError(f"nobody on the network serves a base {base_name!r}{_known(names)}")
    meant = {base for base in bases if names.base_names.get(base) == name}
    if len(meant) == 1:  # a base comes before an adapter of the same name, as on this node itself
        return Resolved(base=meant.pop(), adapter=BASE_ONLY, name=name)
    found = {
        Resolved(base=base, adapter=adapter, name=unique)
        for base in bases
        for adapter, unique in _candidates(adapter_name, base, names)
        if names.is_offered(base, adapter)
    }
    if not found and name in names.base_names.values():  # right after startup, or while its nodes are down
        raise UnavailableError(f"nobody on the network serves {name!r} just now: try again soon")
    return _only(name, found)


def full_name(offered: OfferedAdapter) -> str:
    """`name@<8 hex of the id>`."""
    return f"{offered.name}@{offered.id[2 : 2 + SHORT_ID_DIGITS]}"


def _candidates(name: str, base: Digest, names: Names) -> Iterable[tuple[AdapterId, str]]:
    if is_id(name):
        return ((AdapterId(name), name),)
    return [
        (offered.id, full_name(offered))
        for known, offered in names.named
        if known == base and name in (offered.name, full_name(offered))
    ]


def is_id(name: str) -> bool:
    """True if a name is an adapter's whole id."""
    try:
        return AdapterId(check_digest(name)) != BASE_ONLY
    except MalformedError:
        return False


def _only(name: str, found: set[Resolved]) -> Resolved:
    if len({(one.base, one.adapter) for one in found}) == 1:
        return min(found, key=lambda one: one.name)
    if found:
        meant = ", ".join(sorted(one.name for one in found))
        raise UnknownModelError(f"{name!r} means several adapters on the network: {meant}")
    raise UnknownModelError(f"nobody on the network offers {name!r} just now")


def _known(names: Names) -> str:
    served = sorted(names.base_names[base] for base in names.bases if base in names.base_names)
    return f", only {', '.join(served)}" if served else ""
