"""Files of Datanets that are owned here, below `datanets/<name>/own/`: read whole, and written whole or not at all.

`datanet.json` lists the batches; each batch is a file of rows that is named by its digest and never changes.
"""

import contextlib
import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from openledger_protocol.codec import to_plain
from openledger_protocol.datanet import Row
from openledger_protocol.errors import BadSignatureError, MalformedError
from openledger_protocol.offer import RowOffer, check_offer, offer_from_json
from openledger_protocol.primitives import Digest, check_address, check_digest, check_name
from openledger_protocol.rules import DATANET_RULES

from ..errors import ConfigError, NodeError
from ..home import Home, take_lock, write_private
from .about import about_from_json
from .commitments import Committed
from .gate import checked_fields, gate_from_json
from .own import DATANET_SCHEMA, Datanet, Published, RowBatch, new_datanet
from .rows import damaged_rows, read_rows, rows_digest

OWN_FOLDER = "own"
DATANET_FILE = "datanet.json"
LOCK_FILE = ".lock"


class DatanetFiles:
    """Reads and writes the files of one data directory's Datanets."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._holder: int | None = None  # the thread that holds the lock by this object

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

    def batch_rows(self, name: str, digest: Digest) -> tuple[Row, ...]:
        """The rows of a batch, approved or not.

        Raises:
            NodeError: its file is missing or damaged.
        """
        file = self.batch_file(name, digest)
        rows = read_rows(file, is_ours=True)
        if rows_digest(rows) != digest:
            raise damaged_rows(file)
        return rows

    def batch_file(self, name: str, digest: Digest) -> Path:
        """The file with the rows of a batch."""
        return self._folder(name) / f"{digest[2:]}.jsonl"

    def offers(self, datanet: Datanet, *, only_approved: bool = True) -> tuple[RowOffer, ...]:
        """The offers of batches that their contributors have signed.

        Raises:
            NodeError: a file is damaged.
        """
        return tuple(self.offers_of(datanet, only_approved=only_approved).values())

    def offers_of(self, datanet: Datanet, *, only_approved: bool = True) -> dict[Digest, RowOffer]:
        """The same offers by their batches.

        Raises:
            NodeError: a file is damaged.
        """
        digests = datanet.approved if only_approved else [batch.digest for batch in datanet.batches]
        files = {digest: self._offer_file(datanet.name, digest) for digest in digests}
        return {digest: _read_offer(file) for digest, file in files.items() if file.exists()}

    def signed_batches(self, datanet: Datanet) -> set[Digest]:
        """The batches that their contributors have signed."""
        digests = [batch.digest for batch in datanet.batches]
        return {digest for digest in digests if self._offer_file(datanet.name, digest).exists()}

    def _is_offered(self, name: str, digest: Digest, offer: RowOffer) -> bool:
        """True if a batch was signed here before, for the same registry."""
        file = self._offer_file(name, digest)
        if not file.exists():
            return False
        with contextlib.suppress(NodeError):  # a damaged one is written again
            found = _read_offer(file)
            return (found.chain_id, found.contract) == (offer.chain_id, offer.contract)
        return True

    def _offer_file(self, name: str, digest: Digest) -> Path:
        return self._folder(name) / f"{digest[2:]}.offer.json"

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

    def _write_json(self, file: Path, content: object) -> None:
        try:
            write_private(file, json.dumps(to_plain(content), indent=1) + "\n", is_new=False)
        except OSError as error:
            raise NodeError(f"cannot write {file}: {error.strerror}") from error

    @contextlib.contextmanager
    def locked(self, name: str) -> Iterator[None]:
        """Hold the lock of all changes; a change by the same thread joins it, so that several are one.

        Raises:
            ConfigError: another command is changing a Datanet.
        """
        if self._holder == threading.get_ident():
            yield
            return
        self._home.datanets.mkdir(mode=0o700, parents=True, exist_ok=True)
        with (self._home.datanets / LOCK_FILE).open("a") as lock:
            try:
                take_lock(lock)
            except BlockingIOError as error:
                raise ConfigError(f"another command is changing {name}: try again in a moment") from error
            self._holder = threading.get_ident()
            try:
                yield
            finally:
                self._holder = None


def _read_offer(file: Path) -> RowOffer:
    try:
        return check_offer(offer_from_json(json.loads(file.read_text(encoding="utf-8"))))
    except (OSError, ValueError, RecursionError, MalformedError, BadSignatureError) as error:
        raise NodeError(f"{file} is damaged ({error}): contribute the signed batch again") from error


def datanet_from_json(content: object) -> Datanet:
    """Read `datanet.json`.

    Raises:
        MalformedError: it is not as `store` writes it.
    """
    found = checked_fields(Datanet, content)
    batches = tuple(_batch_from_json(each) for each in found["batches"])
    versions = tuple(Published(**checked_fields(Published, each)) for each in found["versions"])
    approved = tuple(check_digest(each) for each in found["approved"])
    if found["schema"] != DATANET_SCHEMA or not set(approved) <= {check_digest(each.digest) for each in batches}:
        raise MalformedError("it has another schema, or approves a batch that was never contributed")
    datanet = new_datanet(
        found["name"], licence=found["licence"], treasury=found["treasury"], owner_ppm=found["owner_ppm"]
    )
    accounts = {check_name(name): check_address(account) for name, account in found["accounts"].items()}
    withdrawn = tuple(check_digest(each) for each in found["withdrawn"])
    return replace(
        datanet,
        rules=_rules_from_json(found["rules"]),
        accounts=accounts,
        batches=batches,
        approved=approved,
        versions=versions,
        withdrawn=withdrawn,
        about=about_from_json(found["about"]),
    )


def _rules_from_json(content: object) -> tuple[int, ...]:
    if not isinstance(content, list) or not all(type(each) is int for each in content):
        raise MalformedError("its rules are a list of numbers")
    if unknown := sorted(set(content) - DATANET_RULES.keys()):
        raise MalformedError(f"this release knows no attribution rule {unknown[0]}")
    return tuple(sorted(set(content)))


def _batch_from_json(content: object) -> RowBatch:
    found = checked_fields(RowBatch, content)
    committed = found["committed"]
    return RowBatch(
        **{
            **found,
            "gate": gate_from_json(found["gate"]),
            "committed": None if committed is None else Committed(**checked_fields(Committed, committed)),
        }
    )
