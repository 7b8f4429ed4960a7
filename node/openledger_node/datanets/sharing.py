"""Sharing of a Datanet's rows with peers: with everybody, or, if it is private, with the wallets of a list.

`datanets/<name>/own/sharing.json` says it. Without the file, a Datanet is public: its licence is on the chain, and
the indexes of adapters that were trained on it hold its texts.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from openledger_protocol.codec import to_plain
from openledger_protocol.errors import MalformedError
from openledger_protocol.primitives import Address, Digest, check_address, check_name

from ..errors import NodeError
from ..home import Home, write_private
from ..text import counted
from .held import is_private_here
from .own_files import OWN_FOLDER
from .store import OwnDatanets
from .version import find_made_here

SHARING_FILE: Final = "sharing.json"
SHARING_SCHEMA: Final = "openledger.sharing/1"
ALLOWED_MAX: Final = 4_096

NO_CALLING_BACK: Final = (
    "A copy that somebody has pulled can't be called back: it stays with them when you change the list or withdraw "
    "rows."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sharing:
    """The readers of a Datanet's rows: everybody, or the listed wallets if it is private."""

    is_private: bool = False
    allowed: tuple[Address, ...] = ()
    schema: str = SHARING_SCHEMA

    def allows(self, account: Address) -> bool:
        """Return True if a wallet may read the rows."""
        return not self.is_private or account in self.allowed


def sharing_of(home: Home, name: str) -> Sharing:
    """The readers of a Datanet.

    Raises:
        NodeError: its file is damaged, so that nobody gets its rows.
    """
    file = _file(home, name)
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        if not isinstance(content, dict) or content.get("schema") != SHARING_SCHEMA:
            raise MalformedError(f"its schema is not {SHARING_SCHEMA}")
        if type(content.get("is_private")) is not bool or not isinstance(content.get("allowed"), list):
            raise MalformedError("it has no is_private or no list of allowed wallets")
        return Sharing(is_private=content["is_private"], allowed=tuple(map(check_address, content["allowed"])))
    except FileNotFoundError:
        return Sharing()
    except (OSError, ValueError, RecursionError, MalformedError) as error:
        raise NodeError(
            f"{file} can't be read ({error}), so nobody gets the rows of {name}: write it again with "
            f"`openledger-node datanet share {name} --private --allow ADDRESS`, or with --public"
        ) from error


def changed(
    sharing: Sharing, *, is_private: bool | None, allow: Iterable[str] = (), remove: Iterable[str] = ()
) -> Sharing:
    """Change the readers; `is_private` None keeps it.

    Raises:
        MalformedError: an address is none.
        NodeError: the Datanet would be public, so a list means nothing; a removed wallet is not listed; or the list
            is full.
    """
    added, gone = [check_address(each) for each in allow], [check_address(each) for each in remove]
    private = sharing.is_private if is_private is None else is_private
    if not private and (added or gone):
        raise NodeError("everybody may pull a public Datanet, so its list means nothing: add --private")
    if unknown := [each for each in gone if each not in sharing.allowed]:
        raise NodeError(f"{unknown[0]} is not on the list, so it can't be removed from it")
    allowed = tuple(each for each in dict.fromkeys((*sharing.allowed, *added)) if each not in gone)
    if len(allowed) > ALLOWED_MAX:
        raise NodeError(f"a list holds at most {ALLOWED_MAX:,} wallets: remove some with --remove")
    return replace(sharing, is_private=private, allowed=allowed if private else ())


def says_readers(home: Home, name: str) -> str:
    """The readers of a version that is about to be published, as a sentence for its owner.

    Raises:
        NodeError: the file that names them is damaged.
    """
    sharing = sharing_of(home, name)
    if sharing.is_private:
        return f"{counted(len(sharing.allowed), 'wallet')} may pull its rows from your node, and nobody else"
    return (
        "everybody may pull its rows from your node, for good. If only some people may have them, first run "
        f"`openledger-node datanet share {name} --private`"
    )


def write_sharing(home: Home, name: str, sharing: Sharing) -> None:
    """Write how a Datanet is shared.

    Raises:
        NodeError: there is no such Datanet, or its folder can't be written.
    """
    OwnDatanets(home).get(name)
    file = _file(home, name)
    try:
        write_private(file, json.dumps(to_plain(sharing), indent=1) + "\n", is_new=False)
    except OSError as error:
        raise NodeError(f"cannot write {file}: {error.strerror}") from error


def is_private(home: Home, rows_root: Digest) -> bool:
    """Return True if these rows are of a private Datanet, owned here or pulled.

    An unreadable file counts as private: no text must leave by mistake. That of a Datanet with other rows does not.
    """
    for file in home.datanets.glob(f"*/{OWN_FOLDER}/{SHARING_FILE}"):
        name = file.parent.parent.name
        try:
            if _has_version(home, name, rows_root) and sharing_of(home, name).is_private:
                return True
        except NodeError:
            return True
    return is_private_here(home, rows_root)


def _has_version(home: Home, name: str, rows_root: Digest) -> bool:
    """Return True if a Datanet owned here has a version of these rows; its versions tell if its record is damaged."""
    try:
        datanet = OwnDatanets(home).find(name)
        return datanet is not None and any(each.rows_root == rows_root for each in datanet.versions)
    except (NodeError, MalformedError):
        return any(version.id == name for version in find_made_here(home, rows_root))


def _file(home: Home, name: str) -> Path:
    return home.datanets / check_name(name) / OWN_FOLDER / SHARING_FILE
