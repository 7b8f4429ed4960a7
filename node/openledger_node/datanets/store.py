"""Datanets owned here: files below `datanets/<name>/own/`; each change is written completely or not at all.

`datanet.json` lists the batches; each batch is a file of rows that is named by its digest and never changes.
"""

import contextlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from openledger_protocol.codec import to_plain
from openledger_protocol.datanet import Row
from openledger_protocol.errors import BadSignatureError, MalformedError
from openledger_protocol.offer import RowOffer, check_offer, offer_from_json
from openledger_protocol.primitives import ZERO_DIGEST, Address, Digest, check_name

from ..errors import ConfigError, NodeError
from ..home import Home, take_lock, write_private
from ..text import counted
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
    rows_left,
    withdraw,
)
from .rows import read_rows, rows_digest, write_rows
from .version import DatanetVersion, make_version, read_version, version_file, write_version
from .withdrawn import find_withdrawn, withdrawn_here

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

    def contribute(
        self, name: str, rows: Sequence[Row], accounts: Mapping[str, Address], offer: RowOffer | None = None
    ) -> RowBatch:
        """Add a batch of rows for approval, and return the figures of its check; `offer` is the contributor's own.

        Raises:
            NodeError: there is no such Datanet, or these rows were approved already.
        """
        with self._locked(name):
            datanet = name_accounts(self.get(name), accounts)
            changed = add_batch(datanet, self._whole_batches(datanet), rows)
            batch = changed.batches[-1]
            write_rows(self._batch_file(name, batch.digest), rows)  # first, so that every listed batch can be read
            if offer is not None:
                self._write_json(self._offer_file(name, batch.digest), offer)
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
            rows = self.batch_rows(name, batch.digest)
            if batch.digest not in datanet.approved and batch.gate.approved_before != len(datanet.approved):
                batch = check_batch(
                    datanet, self._whole_batches(datanet), rows
                )  # others were approved since the last check
            self._write(approve(replace_batch(datanet, batch), batch.digest))
        return batch

    def change_batch(self, name: str, beginning: str, change: ChangeBatch) -> RowBatch:
        """Replace the record of the batch whose digest begins so; its rows never change.

        `change` takes the Datanet, the record, the whole batches approved before it, and its own rows.

        Raises:
            NodeError: there is no such Datanet or batch, its rows are damaged, or `change` refuses.
        """
        with self._locked(name):
            datanet = self.get(name)
            batch = find_batch(datanet, beginning)
            place = datanet.approved.index(batch.digest) if batch.digest in datanet.approved else None
            seen = replace(datanet, approved=datanet.approved[:place])
            changed = change(seen, batch, self._whole_batches(seen), self.batch_rows(name, batch.digest))
            self._write(replace_batch(datanet, changed))
        return changed

    def rows_of_batch(self, name: str, beginning: str) -> tuple[Row, ...]:
        """The rows of the batch whose digest begins so.

        Raises:
            NodeError: there is no such Datanet or batch, or its rows are damaged.
        """
        return self.batch_rows(name, find_batch(self.get(name), beginning).digest)

    def withdraw(self, name: str, digests: Iterable[Digest]) -> Datanet:
        """Leave rows out of all later versions, for good.

        Raises:
            NodeError: there is no such Datanet.
        """
        with self._locked(name):
            datanet = self.get(name)
            changed = withdraw(datanet, digests)
            if changed != datanet:
                self._write(changed)
        return changed

    def learn_withdrawals(self, name: str) -> Datanet:
        """Withdraw what contributors have withdrawn on the networks that this data directory knows.

        Raises:
            NodeError: there is no such Datanet.
        """
        datanet = self.get(name)
        withdrawn = withdrawn_here(self._home, [each.rows_root for each in datanet.versions])
        if not withdrawn:
            return datanet
        versions = (read_version(self._home, name, each.version) for each in datanet.versions)
        learned = [digest for each in versions for digest in find_withdrawn(each.rows, withdrawn)]
        return datanet if set(learned) <= set(datanet.withdrawn) else self.withdraw(name, learned)

    def rows(
        self, datanet: Datanet, num_batches: int | None = None, num_withdrawn: int | None = None
    ) -> tuple[Row, ...]:
        """The rows of the first `num_batches` approved batches without the first `num_withdrawn` withdrawn rows.

        None means all.

        Raises:
            NodeError: a file is missing or damaged.
        """
        return tuple(row for batch in self.batches(datanet, num_batches, num_withdrawn) for row in batch)

    def batches(
        self, datanet: Datanet, num_batches: int | None = None, num_withdrawn: int | None = None
    ) -> list[tuple[Row, ...]]:
        """The same rows, batch by batch.

        Raises:
            NodeError: a file is missing or damaged.
        """
        seen = replace(datanet, approved=datanet.approved[:num_batches], withdrawn=datanet.withdrawn[:num_withdrawn])
        return [tuple(each.values()) for each in rows_left(seen, self._whole_batches(seen))]

    def _whole_batches(self, datanet: Datanet) -> list[tuple[Row, ...]]:
        return [self.batch_rows(datanet.name, digest) for digest in datanet.approved]

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
        chosen = found[-1]
        rows = self.rows(datanet, chosen.batches, chosen.withdrawn)
        return read_version(self._home, name, chosen.version), rows

    def training_rows(self, name: str, version: str | None = None) -> tuple[DatanetVersion, tuple[Row, ...]]:
        """Read a version and its rows to train on; if none is named, the newest, without withdrawn rows.

        Raises:
            NodeError: as in `version_rows`, or some of its rows were withdrawn.
        """
        gone = set(self.learn_withdrawals(name).withdrawn)
        found, rows = self.version_rows(name, version)
        num_gone = sum(row.digest in gone for row in found.rows)
        if num_gone and version is None:  # a withdrawal may have led back to an earlier version
            wanted = self.next_version(name)[0].version
            if wanted in [each.version for each in self.get(name).versions]:
                return self.version_rows(name, wanted)
        if num_gone:
            raise NodeError(
                f"{counted(num_gone, 'row')} of version {found.version} of {name} were withdrawn, so no adapter is "
                f"trained on it: `openledger-node datanet publish {name}` publishes a version without them"
            )
        return found, rows

    def next_version(self, name: str) -> tuple[DatanetVersion, int, int]:
        """Make the version to publish, and count its batches and the withdrawn rows that it leaves out.

        If nothing has changed, it is the last version again.

        Raises:
            NodeError: nothing is approved, or no contributor can be paid.
        """
        datanet = self.get(name)
        if not datanet.approved:
            raise NodeError(
                f"nothing of {name} is approved yet: `openledger-node datanet contribute {name} FILE`, "
                f"then `openledger-node datanet approve {name} BATCH`"
            )
        draft = self._make_version(datanet)
        if not draft.rows:
            raise NodeError(
                f"all approved rows of {name} were withdrawn: approve others before you publish a version"
            )
        version = self._name(datanet, draft)
        if version.contributors_root == ZERO_DIGEST:
            raise NodeError(
                f"no contributor of {name} has an address, so nobody could be paid: name one with --account NAME=0x… "
                f"at `openledger-node datanet approve {name} BATCH`"
            )
        return version, len(datanet.approved), len(datanet.withdrawn)

    def keep_version(self, version: DatanetVersion, num_batches: int, num_withdrawn: int = 0) -> None:
        """Write a version and add it to its Datanet; doing so twice changes nothing.

        Raises:
            NodeError: another version has taken its name meanwhile.
        """
        with self._locked(version.id):
            changed = note_version(self.get(version.id), version, num_batches, num_withdrawn)
            write_version(self._home, version)
            self._write(changed)

    def _make_version(self, datanet: Datanet) -> DatanetVersion:
        batches, appeals = self.batches(datanet), appeals_of(datanet)
        rows = [row for batch in batches for row in batch]
        clusters = clusters_of(find_copies(batches, cleared(appeals)))
        return make_version(
            datanet.name,
            DRAFT,
            rows,
            datanet.accounts,
            self.offers(datanet),
            clusters=clusters,
            appeals=decided(appeals),
        )

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

    def batch_rows(self, name: str, digest: Digest) -> tuple[Row, ...]:
        """The rows of a batch, approved or not.

        Raises:
            NodeError: its file is missing or damaged.
        """
        file = self._batch_file(name, digest)
        rows = read_rows(file, is_ours=True)
        if rows_digest(rows) != digest:
            raise NodeError(f"{file} is damaged: contribute these rows again, or restore the file from a backup")
        return rows

    def offers(self, datanet: Datanet, *, only_approved: bool = True) -> tuple[RowOffer, ...]:
        """The offers of batches that their contributors have signed.

        Raises:
            NodeError: a file is damaged.
        """
        digests = datanet.approved if only_approved else [batch.digest for batch in datanet.batches]
        files = [self._offer_file(datanet.name, digest) for digest in digests]
        return tuple(_read_offer(file) for file in files if file.exists())

    def _offer_file(self, name: str, digest: Digest) -> Path:
        return self._folder(name) / f"{digest[2:]}.offer.json"

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
        self._write_json(self._folder(datanet.name) / DATANET_FILE, datanet)

    def _write_json(self, file: Path, content: Datanet | RowOffer) -> None:
        try:
            write_private(file, json.dumps(to_plain(content), indent=1) + "\n", is_new=False)
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


def _read_offer(file: Path) -> RowOffer:
    try:
        return check_offer(offer_from_json(json.loads(file.read_text(encoding="utf-8"))))
    except (OSError, ValueError, RecursionError, MalformedError, BadSignatureError) as error:
        raise NodeError(f"{file} is damaged ({error}): contribute the signed batch again") from error


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
