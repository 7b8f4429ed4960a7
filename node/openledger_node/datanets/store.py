"""Datanets owned here: files below `datanets/<name>/own/`; each change is written completely or not at all.

`datanet.json` lists the batches; each batch is a file of rows that is named by its digest and never changes.
"""

import contextlib
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

from openledger_protocol.codec import canonical_digest
from openledger_protocol.datanet import Row
from openledger_protocol.offer import RowOffer, offer_commitment
from openledger_protocol.primitives import ZERO_DIGEST, Address, Digest

from ..errors import NodeError
from ..text import counted
from .about import Breach, DatanetAbout, DatanetPolicy, find_breaches
from .appeals import decided
from .commitments import Committed, ShownCommitment, find_committed
from .own import (
    Datanet,
    Published,
    RowBatch,
    add_batch,
    appeals_of,
    approve,
    check_batch,
    check_policy,
    check_same_terms,
    find_batch,
    judge_batch,
    judge_rows,
    kept_rows,
    replace_batch,
    rows_left,
)
from .own_changes import name_accounts, note_version, withdraw
from .own_files import DatanetFiles
from .rows import write_rows
from .verdicts import Verdicts
from .version import DatanetVersion, join_decisions, make_version, read_version, version_file, write_version
from .withdrawn import find_withdrawn, withdrawn_here

DRAFT = "draft"
"""The name of a version before it has its number."""


ChangeBatch = Callable[[Datanet, RowBatch, Sequence[Sequence[Row]], tuple[Row, ...]], RowBatch]
JudgeBatch = Callable[[Datanet, RowBatch, Sequence[Row]], RowBatch]


def keep_rejected(_: Datanet, batch: RowBatch, __: Sequence[Row]) -> RowBatch:
    """Leave out the rows that were rejected before; the batch as a whole is rejected no more."""
    return judge_batch(batch, batch.gate.rejected)


class OwnDatanets(DatanetFiles):
    """Reads and changes the Datanets of one data directory; several processes may do so at once."""

    def now_s(self) -> float:
        """The time of this machine."""
        return time.time()

    def create(self, datanet: Datanet) -> Datanet:
        """Create a Datanet; one with the same name and terms stays as it is.

        Raises:
            NodeError: a Datanet of this name has other terms.
        """
        with self.locked(datanet.name):
            found = self.find(datanet.name)
            if found is None:
                self._write(datanet)
            return check_same_terms(found, datanet) if found else datanet

    def change(
        self,
        name: str,
        *,
        about: DatanetAbout | None = None,
        treasury: Address | None = None,
        rules: tuple[int, ...] = (),
    ) -> Datanet:
        """Change the description and policy, or the treasury and rules with which networks that follow register it.

        Raises:
            NodeError: there is no such Datanet.
        """
        with self.locked(name):
            datanet = self.get(name)
            changed = replace(
                datanet,
                about=about or datanet.about,
                treasury=treasury or datanet.treasury,
                rules=rules or datanet.rules,
            )
            if changed != datanet:
                self._write(changed)
        return changed

    def contribute(
        self, name: str, rows: Sequence[Row], accounts: Mapping[str, Address], offer: RowOffer | None = None
    ) -> RowBatch:
        """Add a batch of rows for approval, and return the figures of its check; `offer` is the contributor's own.

        Raises:
            NodeError: there is no such Datanet, these rows were approved already, or they break its policy.
        """
        with self.locked(name):
            datanet = name_accounts(self.get(name), accounts)
            committed = None if offer is None else self._find_committed(datanet, offer, self.now_s())
            changed = add_batch(
                datanet, self._whole_batches(datanet), rows, is_signed=offer is not None, committed=committed
            )
            batch = changed.batches[-1]
            write_rows(self.batch_file(name, batch.digest), rows)  # first, so that every listed batch can be read
            if offer is not None:
                self._write_json(self._offer_file(name, batch.digest), offer)
            self._write(changed)
        return batch

    def breaches(self, name: str, rows: Sequence[Row], accounts: Mapping[str, Address]) -> list[Breach]:
        """Find the rows of an unsigned batch that the policy of the Datanet does not take.

        Raises:
            NodeError: there is no such Datanet.
        """
        datanet = name_accounts(self.get(name), accounts)
        if datanet.about.policy == DatanetPolicy():
            return []
        left = rows_left(datanet, self._whole_batches(datanet))
        earlier = [row for batch in left for row in batch.values()]
        known = datanet.accounts
        return find_breaches(datanet.about.policy, rows, earlier=earlier, accounts=known, is_signed=False)

    def approve(
        self, name: str, beginning: str, accounts: Mapping[str, Address], judge: JudgeBatch = keep_rejected
    ) -> RowBatch:
        """Approve the batch whose digest begins so, after all earlier ones; approving it twice changes nothing.

        `judge` takes the Datanet, the record of the batch and its rows, and may reject some of them.

        Raises:
            NodeError: there is no such Datanet or batch, its rows are damaged, or they break the policy.
        """
        with self.locked(name):
            datanet = name_accounts(self.get(name), accounts)
            found = find_batch(datanet, beginning)
            rows = self.batch_rows(name, found.digest)
            batch = judge(datanet, found, rows)
            changed = approve(replace_batch(datanet, batch), batch.digest)
            is_new = changed.approved != datanet.approved
            if is_new:
                is_signed = batch.digest in self.signed_batches(datanet)
                check_policy(datanet, self._whole_batches(datanet), kept_rows(batch, rows), is_signed=is_signed)
            was_compared_so = batch.gate.approved_before == len(datanet.approved) and not batch.gate.rejected
            if accounts or (is_new and not was_compared_so):
                is_signed = batch.digest in self.signed_batches(datanet)
                batch = check_batch(changed, self._whole_batches(changed), rows, is_signed=is_signed)
            self._write(replace_batch(changed, batch))
        return batch

    def change_batch(self, name: str, beginning: str, change: ChangeBatch) -> RowBatch:
        """Replace the record of the batch whose digest begins so; its rows never change.

        `change` takes the Datanet, the record, the whole approved batches, and its own rows.

        Raises:
            NodeError: there is no such Datanet or batch, its rows are damaged, or `change` refuses.
        """
        with self.locked(name):
            datanet = self.get(name)
            batch = find_batch(datanet, beginning)
            changed = change(datanet, batch, self._whole_batches(datanet), self.batch_rows(name, batch.digest))
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
        with self.locked(name):
            datanet = self.get(name)
            changed = withdraw(datanet, digests)
            if changed != datanet:
                self._write(changed)
        return changed

    def learn_withdrawals(self, name: str) -> Datanet:
        """Withdraw what contributors have withdrawn in final blocks of the networks that this data directory knows.

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

    def learn_commitments(self, name: str) -> Datanet:
        """Find since when signed batches are proven to exist, and check those again of which it was not known.

        Raises:
            NodeError: there is no such Datanet, or a file is damaged.
        """
        with self.locked(name):
            datanet = before = self.get(name)
            offers = self.offers_of(datanet, only_approved=False)
            for batch in datanet.batches:
                offer = offers.get(batch.digest)
                offered_s = self._offered_s(name, batch.digest)
                found = self._find_committed(datanet, offer, offered_s) if offer else None
                if found is not None and found != batch.committed:
                    datanet = replace_batch(datanet, replace(batch, committed=found))
                    rows = self.batch_rows(name, batch.digest)
                    checked = check_batch(datanet, self._whole_batches(datanet), rows, is_signed=True)
                    datanet = replace_batch(datanet, checked)
            if datanet != before:
                self._write(datanet)
        return datanet

    def _find_committed(self, datanet: Datanet, offer: RowOffer, offered_s: float) -> Committed | None:
        published = {each.rows_root: each.batches for each in datanet.versions}
        return find_committed(self._home, offer, published, offered_s=offered_s)

    def _offered_s(self, name: str, digest: Digest) -> float:
        """The time at which a signed batch was offered here, by its file; its commitment may become final later."""
        file = self._offer_file(name, digest)
        return min(self.now_s(), file.stat().st_mtime) if file.exists() else self.now_s()

    def rows(self, datanet: Datanet) -> tuple[Row, ...]:
        """The rows that the next version would hold.

        Raises:
            NodeError: a file is missing or damaged.
        """
        verdicts = self.judge(datanet)
        return tuple(verdicts.rows[place] for place in verdicts.kept)

    def judge(self, datanet: Datanet) -> Verdicts:
        """Judge all approved rows.

        Raises:
            NodeError: a file is missing or damaged.
        """
        return judge_rows(datanet, self._whole_batches(datanet))

    def left_out(self, datanet: Datanet) -> frozenset[Digest]:
        """The rows that later versions leave out because they copy withdrawn rows of other contributors.

        Raises:
            NodeError: a file is missing or damaged.
        """
        if not datanet.withdrawn:
            return frozenset()
        verdicts = self.judge(datanet)
        return frozenset(canonical_digest(verdicts.rows[place]) for place in verdicts.left_out)

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
        approved = (self.batch_rows(name, digest) for digest in datanet.approved[: chosen.batches])
        rows = {canonical_digest(row): row for batch in approved for row in batch}
        chosen_version = read_version(self._home, name, chosen.version)
        if any(each.digest not in rows for each in chosen_version.rows):
            raise NodeError(f"version {chosen.version} of {name} has rows that no approved batch has: restore them")
        return chosen_version, tuple(rows[each.digest] for each in chosen_version.rows)

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

    def keep_version(self, version: DatanetVersion, num_batches: int, num_withdrawn: int = 0) -> DatanetVersion:
        """Write a version, add it to its Datanet, and return it; doing so twice changes nothing.

        It keeps the decisions that it was written with before, such as those of curators on another network.

        Raises:
            NodeError: another version has taken its name meanwhile.
        """
        with self.locked(version.id):
            changed = note_version(self.get(version.id), version, num_batches, num_withdrawn)
            with contextlib.suppress(NodeError):  # it was not kept before, or its file is damaged
                version = join_decisions(version, read_version(self._home, version.id, version.version))
            write_version(self._home, version)
            self._write(changed)
        return version

    def _make_version(self, datanet: Datanet) -> DatanetVersion:
        verdicts, appeals, offers = self.judge(datanet), appeals_of(datanet), self.offers_of(datanet)
        return make_version(
            datanet.name,
            DRAFT,
            [verdicts.rows[place] for place in verdicts.kept],
            datanet.accounts,
            tuple(offers.values()),
            clusters=verdicts.clusters(),
            appeals=decided(appeals),
            policy=None if datanet.about.policy == DatanetPolicy() else datanet.about.policy.digest,
            commitments=[
                ShownCommitment(commitment=offer_commitment(offers[each.digest]), committed_at_s=each.committed.at_s)
                for each in datanet.batches
                if each.committed is not None and each.digest in offers
            ],
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


def _is_same(ours: Published | DatanetVersion, theirs: DatanetVersion) -> bool:
    return (ours.rows_root, ours.contributors_root) == (theirs.rows_root, theirs.contributors_root)
