"""A Datanet as the chain's events say: its terms, description, curators and versions.

The texts are a stranger's, so they are short, on one line and without control characters.
"""

from dataclasses import dataclass
from typing import Any, Final

from openledger_protocol.primitives import Address, DatanetId, Digest

from ..ledger.events import EventRows
from ..text import on_one_line
from .about import DatanetAbout, licence_of, read_about

NAME_SHOWN: Final = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class RegisteredVersion:
    """A version that the chain has published."""

    version: int
    rows_root: Digest
    contributors_root: Digest
    approvers: tuple[Address, ...]  # curators who approved it; none if the owner published it alone


@dataclass(frozen=True, slots=True, kw_only=True)
class RegisteredDatanet:
    """A Datanet on the chain."""

    datanet_id: DatanetId
    name: str
    owner: Address
    treasury: Address
    owner_ppm: int
    licence: str
    about: DatanetAbout | None  # None: it has no description that can be read
    curators: tuple[Address, ...]
    need: int  # approvals that a version needs
    versions: tuple[RegisteredVersion, ...]


def read_registered(events: EventRows, datanet_id: DatanetId) -> RegisteredDatanet | None:
    """A Datanet as far as its events were read; None if its creation was not."""
    created = events.find("DatanetCreated", {"id": datanet_id})
    if not created:
        return None
    given: Any = created[0].arguments
    owners = events.find("DatanetOwnerChanged", {"id": datanet_id})
    curators, need = read_curators(events, datanet_id)
    return RegisteredDatanet(
        datanet_id=datanet_id,
        name=on_one_line(str(given["name"])[:NAME_SHOWN]),
        owner=Address(str((owners[-1] if owners else created[0]).arguments["owner"])),
        treasury=Address(given["treasury"]),
        owner_ppm=given["ownerPpm"],
        licence=licence_of(given["licence"]),
        about=read_about(events, datanet_id),
        curators=curators,
        need=need,
        versions=read_versions(events, datanet_id),
    )


def read_curators(events: EventRows, datanet_id: DatanetId) -> tuple[tuple[Address, ...], int]:
    """The curators of a Datanet now, and how many of them a version needs."""
    changed = events.find("CuratorsChanged", {"id": datanet_id})
    if not changed:
        return (), 0
    given: Any = changed[-1].arguments
    return tuple(map(Address, given["curators"])), given["need"]


def read_versions(events: EventRows, datanet_id: DatanetId) -> tuple[RegisteredVersion, ...]:
    """The versions of a Datanet, in their order."""
    approved: Any = {
        each.arguments["version"]: each.arguments["curators"]
        for each in events.find("VersionApproved", {"id": datanet_id})
    }
    found: list[RegisteredVersion] = []
    for event in events.find("DatanetVersion", {"id": datanet_id}):
        given: Any = event.arguments
        found.append(
            RegisteredVersion(
                version=given["version"],
                rows_root=Digest(given["rowsRoot"]),
                contributors_root=Digest(given["contributorsRoot"]),
                approvers=tuple(map(Address, approved.get(given["version"], ()))),
            )
        )
    return tuple(found)
