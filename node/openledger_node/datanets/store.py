"""Datanets owned here: files below `datanets/<name>/own/`; each change is written completely or not at all.

`datanet.json` lists the batches; each batch is a file of rows that is named by its digest and never changes.
"""

import contextlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from openledger_protocol.codec import to_plain
from openledger_protocol.datanet import Row
from openledger_protocol.errors import MalformedError
from openledger_protocol.primitives import ZERO_DIGEST, Address, Digest, check_name

from ..errors import ConfigError, NodeError
from ..home import Home, take_lock, write_private
from .appeals import cleared, decided
from .copies import clusters_of, find_copies
from .own import (
    Datanet,
    Published,
    RowBatch,
    add_batch,
    appeals_of,
    approve,
    check_batch,
    datanet_from_json,
    find_batch,
    has_terms_of,
    name_accounts,
    note_version,
    replace_batch,
)
from .rows import read_rows, rows_digest, write_rows
from .version import DatanetVersion, make_version, read_version, version_file, write_version

OWN_FOLDER = "own"
DATANET_FILE = "datanet.json"
LOCK_FILE = ".lock"
DRAFT = "draft"
"""The name of a version before it has its number."""


ChangeBatch = Callable[[Datanet, RowBatch, Sequence[Sequence[Row]], tuple[Row, ...]], RowBatch]


class OwnDatanets:
    """Reads and changes the Datanets of one data directory; several processes may do so at once."""

    def __init__(self, home: Home) -> None:
        self._home = home

    def all(self) -> list[Datanet]:
        """All Datanets owned here, by name."""
        files = self._home.datanets.glob(f"*/{OWN_FOLDER}/{DATANET_FILE}")
        return [self._read(file) for file in sorted(files)]

    def find(self, name: str) -> Datanet | None:
        """Find the Datanet of this name, or None.

        Raises:
            NodeError: its file is damaged.
        """
        file = self._folder(name) / DATANET_FILE
        return self._read(file) if file.exists() else None

    def get(self, name: str) -> Datanet:
        """Return the Datanet of this name.

        Raises:
            NodeError: there is none.
        """
        if found := self.find(name):
            return found
        raise NodeError(
            f"you have no Datanet {name!r}: `openledger-node datanet list` shows yours, "
            f"`openledger-node datanet create {name}` creates it"
        )

    def create(self, datanet: Datanet) -> Datanet:
        """Create a Datanet; one with the same name and terms stays as it is.

        Raises:
            NodeError: a Datanet of this name has other terms.
        """
        with self._locked(datanet.name):
            found = self.find(datanet.name)
            if found is None:
                self._write(datanet)
            return check_same_terms(found, datanet) if found else datanet

    def contribute(self, name: str, rows: Sequence[Row], accounts: Mapping[str, Address]) -> RowBatch:
        """Add a batch of rows for approval, and return the figures of its check.

        Raises:
            NodeError: there is no such Datanet, or these rows were approved already.
        """
        with self._locked(name):
            datanet = name_accounts(self.get(name), accounts)
            changed = add_batch(datanet, self.batches(datanet), rows)
            batch = changed.batches[-1]
            write_rows(self._batch_file(name, batch.digest), rows)  # first, so that every listed batch can be read
            self._write(changed)
        return batch

    def approve(self, name: str, beginning: str, accounts: Mapping[str, Address]) -> RowBatch:
        """Approve the batch whose digest begins so, after all earlier ones; approving it twice changes nothing.

        Raises:
            NodeError: there is no such Datanet or batch, or its rows are damaged.
        """
        with self._locked(name):
            datanet = name_accounts(self.get(name), accounts)
            batch = find_batch(datanet, beginning)
            rows = self._batch_rows(name, batch.digest)
            if batch.digest not in datanet.approved and batch.gate.approved_before != len(datanet.approved):
                batch = check_batch(datanet, self.batches(datanet), rows)  # others were approved since the last check
            self._write(approve(replace_batch(datanet, batch), batch.digest))
        return batch

    def change_batch(self, name: str, beginning: str, change: ChangeBatch) -> RowBatch:
        """Replace the record of the batch whose digest begins so; its rows never change.

        `change` takes the Datanet, the record, the rows of the batches approved before it, and its own rows.

        Raises:
            NodeError: there is no such Datanet or batch, its rows are damaged, or `change` refuses.
        """
        with self._locked(name):
            datanet = self.get(name)
            batch = find_batch(datanet, beginning)
            place = datanet.approved.index(batch.digest) if batch.digest in datanet.approved else None
            seen = replace(datanet, approved=datanet.approved[:place])
            changed = change(seen, batch, self.batches(seen), self._batch_rows(name, batch.digest))
            self._write(replace_batch(datanet, changed))
        return changed

    def rows_of_batch(self, name: str, beginning: str) -> tuple[Row, ...]:
        """The rows of the batch whose digest begins so.

        Raises:
            NodeError: there is no such Datanet or batch, or its rows are damaged.
        """
        return self._batch_rows(name, find_batch(self.get(name), beginning).digest)

    def rows(self, datanet: Datanet, num_batches: int | None = None) -> tuple[Row, ...]:
        """The rows of the first `num_batches` approved batches, in order; of all if it is None.

        Raises:
            NodeError: a file is missing or damaged.
        """
        return tuple(row for batch in self.batches(datanet, num_batches) for row in batch)

    def batches(self, datanet: Datanet, num_batches: int | None = None) -> list[tuple[Row, ...]]:
        """The rows of each of the first `num_batches` approved batches, in order; of all if it is None.

        Raises:
            NodeError: a file is missing or damaged.
        """
        return [self._batch_rows(datanet.name, digest) for digest in datanet.approved[:num_batches]]

    def version_rows(self, name: str, version: str | None = None) -> tuple[DatanetVersion, tuple[Row, ...]]:
        """Read a version and its rows; the newest if none is named.

        Raises:
            NodeError: there is no such Datanet or version, or it is damaged.
        """
        datanet = self.get(name)
        found = [each for each in datanet.versions if version in (None, each.version)]
        if not found:
            what = f"version {version} of {name}" if version else f"version of {name}"
            raise NodeError(f"no {what} was published: `openledger-node datanet publish {name}`")
        return read_version(self._home, name, found[-1].version), self.rows(datanet, found[-1].batches)

    def next_version(self, name: str) -> tuple[DatanetVersion, int]:
        """Make the version to publish and count its batches; without new batches it is the last version again.

        Raises:
            NodeError: nothing is approved, or no contributor can be paid.
        """
        datanet = self.get(name)
        if not datanet.approved:
            raise NodeError(
                f"nothing of {name} is approved yet: `openledger-node datanet contribute {name} FILE`, "
                f"then `openledger-node datanet approve {name} BATCH`"
            )
        version = self._name(datanet, self._make_version(datanet))
        if version.contributors_root == ZERO_DIGEST:
            raise NodeError(
                f"no contributor of {name} has an address, so nobody could be paid: name one with --account NAME=0x… "
                f"at `openledger-node datanet approve {name} BATCH`"
            )
        return version, len(datanet.approved)

    def keep_version(self, version: DatanetVersion, num_batches: int) -> None:
        """Write a version and add it to its Datanet; doing so twice changes nothing.

        Raises:
            NodeError: another version has taken its name meanwhile.
        """
        with self._locked(version.id):
            changed = note_version(self.get(version.id), version, num_batches)
            write_version(self._home, version)
            self._write(changed)

    def _make_version(self, datanet: Datanet) -> DatanetVersion:
        batches, appeals = self.batches(datanet), appeals_of(datanet)
        rows = [row for batch in batches for row in batch]
        clusters = clusters_of(find_copies(batches, cleared(appeals)))
        return make_version(datanet.name, DRAFT, rows, datanet.accounts, clusters=clusters, appeals=decided(appeals))

    def _name(self, datanet: Datanet, version: DatanetVersion) -> DatanetVersion:
        """Give a version its earlier name if it was published before, else the next number that is free here.

        A number may be taken by rows of the same name that an adapter here was trained on before.
        """
        if known := [each.version for each in datanet.versions if _is_same(each, version)]:
            with contextlib.suppress(NodeError):
                return read_version(self._home, datanet.name, known[-1])  # with the copies that were found then
            return replace(version, version=known[-1])
        number = len(datanet.versions) + 1
        while version_file(self._home, datanet.name, str(number)).exists():
            if _is_same(read_version(self._home, datanet.name, str(number)), version):
                break
            number += 1
        return replace(version, version=str(number))

    def _batch_rows(self, name: str, digest: Digest) -> tuple[Row, ...]:
        file = self._batch_file(name, digest)
        rows = read_rows(file, is_ours=True)
        if rows_digest(rows) != digest:
            raise NodeError(f"{file} is damaged: contribute these rows again, or restore the file from a backup")
        return rows

    def _batch_file(self, name: str, digest: Digest) -> Path:
        return self._folder(name) / f"{digest[2:]}.jsonl"

    def _folder(self, name: str) -> Path:
        return self._home.datanets / check_name(name) / OWN_FOLDER

    def _read(self, file: Path) -> Datanet:
        try:
            datanet = datanet_from_json(json.loads(file.read_text(encoding="utf-8")))
        except OSError as error:
            raise NodeError(f"cannot read {file}: {error.strerror}") from error
        except (ValueError, TypeError, AttributeError, RecursionError, MalformedError) as error:
            raise NodeError(f"{file} is damaged ({error}): restore it from a backup") from error
        if datanet.name != file.parent.parent.name:
            raise NodeError(f"{file} is of Datanet {datanet.name}: move it back to that Datanet's folder")
        return datanet

    def _write(self, datanet: Datanet) -> None:
        file = self._folder(datanet.name) / DATANET_FILE
        try:
            write_private(file, json.dumps(to_plain(datanet), indent=1) + "\n", is_new=False)
        except OSError as error:
            raise NodeError(f"cannot write {file}: {error.strerror}") from error

    @contextlib.contextmanager
    def _locked(self, name: str) -> Iterator[None]:
        self._home.datanets.mkdir(mode=0o700, parents=True, exist_ok=True)
        with (self._home.datanets / LOCK_FILE).open("a") as lock:
            try:
                take_lock(lock)
            except BlockingIOError as error:
                raise ConfigError(f"another command is changing {name}: try again in a moment") from error
            yield


def check_same_terms(found: Datanet, wanted: Datanet) -> Datanet:
    """Return `found` if it has the wanted terms.

    Raises:
        NodeError: its terms differ.
    """
    if has_terms_of(found, wanted):
        return found
    raise NodeError(
        f"your Datanet {found.name} has other terms: licence {found.licence}, treasury {found.treasury}, "
        f"owner's share {found.owner_ppm / 10_000:g} %; terms can't be changed, so choose another name"
    )


def _is_same(ours: Published | DatanetVersion, theirs: DatanetVersion) -> bool:
    return (ours.rows_root, ours.contributors_root) == (theirs.rows_root, theirs.contributors_root)
