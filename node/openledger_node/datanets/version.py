"""A Datanet's version on disk: whose each row is, and which rows nearly repeat each other.

It comes from whoever publishes the Datanet, never from an adapter's maker, who would name himself. Rows stand in the
order in which they were registered. What a contributor without an address is due goes to the Datanet's treasury.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from eth_hash.auto import keccak

from openledger_protocol.codec import canonical_digest, to_plain
from openledger_protocol.datanet import Row
from openledger_protocol.eip712 import address_word, type_hash
from openledger_protocol.errors import MalformedError
from openledger_protocol.merkle import Tree
from openledger_protocol.primitives import ZERO_ADDRESS, Address, Digest, check_address, check_digest, check_name

from ..errors import ConfigError, NodeError
from ..home import Home, write_private
from .rows import find_clusters, rows_digest

VERSION_SCHEMA = "openledger.datanet_version/1"
TAG_CONTRIBUTOR = type_hash("openledger.contributor-leaf/1")
ADDRESS_LENGTH = len(ZERO_ADDRESS)


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnedRow:
    """One row of a version."""

    digest: Digest  # of its canonical JSON
    account: Address  # who gave it; zero: nobody who could be paid
    cluster: int  # the place of the first row that it resembles, or its own


@dataclass(frozen=True, slots=True, kw_only=True)
class DatanetVersion:
    """The whole of `datanets/<id>/<version>.json`."""

    id: str
    version: str
    rows_root: Digest
    contributors_root: Digest
    rows: tuple[OwnedRow, ...]
    schema: str = VERSION_SCHEMA


def make_version(
    id: str, version: str, rows: Sequence[Row], accounts: Mapping[str, Address] | None = None
) -> DatanetVersion:
    """Name the owner of each row; `accounts` are those of contributors who are called by a name.

    Raises:
        MalformedError: the id or version is no name, or a contributor looks like an address and is mistyped.
    """
    known = accounts or {}
    found = {name: account_of(name, known) for name in {row.contributor for row in rows}}
    clusters = find_clusters(rows)
    return DatanetVersion(
        id=check_name(id),
        version=check_name(version),
        rows_root=rows_digest(rows),
        contributors_root=contributors_root(found.values()),
        rows=tuple(
            OwnedRow(digest=canonical_digest(row), account=found[row.contributor], cluster=cluster)
            for row, cluster in zip(rows, clusters, strict=True)
        ),
    )


def account_of(contributor: str, accounts: Mapping[str, Address]) -> Address:
    """Who is paid for a contributor's rows: whoever the name stands for, else the address that it is, else nobody.

    Raises:
        MalformedError: it looks like an address and is mistyped.
    """
    if known := accounts.get(contributor):
        return known
    is_address = contributor.startswith("0x") and len(contributor) == ADDRESS_LENGTH
    return check_address(contributor) if is_address else ZERO_ADDRESS


def contributors_root(accounts: Iterable[Address]) -> Digest:
    """The root of the tree over all accounts but zero, each once, ascending; zero if there are none.

    A leaf is keccak(keccak(tag ‖ address word)), the tree that of a claim's receipts: an account's two neighbours
    show that it is missing.
    """
    distinct = sorted({account for account in accounts if account != ZERO_ADDRESS}, key=str.lower)
    return Tree.of([keccak(keccak(TAG_CONTRIBUTOR + address_word(account))) for account in distinct]).root


def version_file(home: Home, id: str, version: str) -> Path:
    """Where a version lies."""
    return home.datanets / check_name(id) / f"{check_name(version)}.json"


def keep_version(home: Home, version: DatanetVersion) -> DatanetVersion:
    """Put a version into the home if it is not there yet; one that is there stays, with the owners that it names.

    Raises:
        ConfigError: a version of this name is there and has other rows.
        NodeError: the home can't be written to, or the version there is torn.
    """
    file = version_file(home, version.id, version.version)
    if not file.exists():
        write_version(home, version)
        return version
    found = read_version(home, version.id, version.version)
    if found.rows_root != version.rows_root:
        raise ConfigError(
            f"{file} is of other rows, and adapters may have been trained on them: "
            "give the new rows another version, or remove that file"
        )
    return found


def write_version(home: Home, version: DatanetVersion) -> Path:
    """Put a version into the home, in place of any of its name, through a temporary file.

    Raises:
        NodeError: the home can't be written to.
    """
    file = version_file(home, version.id, version.version)
    try:
        write_private(file, json.dumps(to_plain(version), indent=1) + "\n", is_new=False)
    except OSError as error:
        raise NodeError(f"cannot write {file}: {error.strerror}") from error
    return file


def read_version(home: Home, id: str, version: str) -> DatanetVersion:
    """Read a version of the home.

    Raises:
        NodeError: there is none, or it is torn.
    """
    file = version_file(home, id, version)
    try:
        found = version_from_json(json.loads(file.read_text(encoding="utf-8")))
    except OSError as error:
        raise NodeError(f"version {version} of Datanet {id} is not here ({file}): {error.strerror}") from error
    except (ValueError, RecursionError, MalformedError) as error:
        raise NodeError(f"{file} is torn ({error}): remove it, and publish or fetch the version again") from error
    if (found.id, found.version) != (id, version):
        raise NodeError(f"{file} is of version {found.version} of Datanet {found.id}: remove it")
    return found


def version_from_json(content: object) -> DatanetVersion:
    """Read a version, whoever sent it.

    Raises:
        MalformedError: another schema, an unknown field, a missing one, one of the wrong form, or a contributors_root
            that is not of the rows' accounts.
    """
    found = _checked_fields(DatanetVersion, content)
    if found["schema"] != VERSION_SCHEMA:
        raise MalformedError(f"a version has schema {repr(found['schema'])[:80]}, not {VERSION_SCHEMA!r}")
    if not isinstance(found["rows"], list):
        raise MalformedError("a version's rows must be a list")
    rows = tuple(_row_from_json(place, row) for place, row in enumerate(found["rows"]))
    if any(rows[row.cluster].cluster != row.cluster for row in rows):
        raise MalformedError("a row's cluster must be the place of one that resembles none before it")
    if contributors_root(row.account for row in rows) != check_digest(found["contributors_root"]):
        raise MalformedError("a version's contributors_root is not that of its rows' accounts")
    return DatanetVersion(
        id=check_name(found["id"]),
        version=check_name(found["version"]),
        rows_root=check_digest(found["rows_root"]),
        contributors_root=found["contributors_root"],
        rows=rows,
    )


def _row_from_json(place: int, content: object) -> OwnedRow:
    found = _checked_fields(OwnedRow, content)
    cluster = found["cluster"]
    if type(cluster) is not int or not 0 <= cluster <= place:
        raise MalformedError(f"row {place}: its cluster must be its own place or an earlier one")
    return OwnedRow(digest=check_digest(found["digest"]), account=check_address(found["account"]), cluster=cluster)


def _checked_fields(cls: type[DatanetVersion] | type[OwnedRow], content: object) -> dict[str, Any]:
    names = {field.name for field in fields(cls)}
    if not isinstance(content, dict) or set(content) != names:
        raise MalformedError(f"a version must have objects of {', '.join(sorted(names))}")
    return content
