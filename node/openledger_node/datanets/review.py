"""The review of a batch by its Datanet's owner: checks, rejected rows, approval, and appeals."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from openledger_protocol.codec import canonical_digest
from openledger_protocol.datanet import Row
from openledger_protocol.primitives import Address, Digest

from ..errors import NodeError
from .appeals import Appeal, check_reason, decide_appeal, file_appeal
from .gate import GateNumber, with_number
from .own import Datanet, OfferedRows, RowBatch, add_batch, check_batch, judge_batch, judge_rows, place_of
from .rejections import reject_rows
from .store import OwnDatanets


def measure(own: OwnDatanets, name: str, rows: Sequence[Row], *, is_signed: bool = False) -> RowBatch:
    """Check rows as a contribution would, and store nothing.

    Raises:
        NodeError: there is no such Datanet, or it can't take these rows.
        MalformedError: a contributor looks like a mistyped address.
    """
    datanet = own.get(name)
    earlier = [own.batch_rows(name, digest) for digest in datanet.approved]
    return add_batch(datanet, earlier, rows, is_signed=is_signed).batches[-1]


def approve(
    own: OwnDatanets,
    name: str,
    beginning: str,
    accounts: Mapping[str, Address],
    *,
    leave_out: Collection[int] = (),
    because: str = "",
) -> RowBatch:
    """Approve a batch without the rows to leave out, which are rejected for the reason `because`.

    Raises:
        NodeError: there is no such Datanet, batch or row, or the batch is approved with other rows.
        MalformedError: rows are left out without a reason.
    """

    def judge(datanet: Datanet, batch: RowBatch, rows: Sequence[Row]) -> RowBatch:
        rejected = reject_rows(leave_out, len(rows), because)
        if batch.digest not in datanet.approved:
            return judge_batch(batch, rejected)
        if leave_out and {each.row for each in batch.gate.rejected} != set(leave_out):
            raise NodeError(_explain_approved(name, batch))
        return batch

    return own.approve(name, beginning, accounts, judge)


def reject(own: OwnDatanets, name: str, beginning: str, because: str) -> RowBatch:
    """Reject a batch; it can still be approved later.

    Raises:
        NodeError: there is no such Datanet or batch, or it is approved.
        MalformedError: the reason is missing or too long.
    """
    words = check_reason(because)

    def change(datanet: Datanet, batch: RowBatch, _: Sequence[Sequence[Row]], __: tuple[Row, ...]) -> RowBatch:
        if batch.digest in datanet.approved:
            raise NodeError(_explain_approved(name, batch))
        return judge_batch(batch, because=words)

    return own.change_batch(name, beginning, change)


def _explain_approved(name: str, batch: RowBatch) -> str:
    return (
        f"batch {batch.digest[:10]} is approved already, and that stays: "
        f"`openledger-node datanet withdraw {name} ROW` takes a row out of later versions"
    )


def check_again(own: OwnDatanets, name: str, beginning: str, measured: Sequence[GateNumber] = ()) -> RowBatch:
    """Check a batch against the rows that stand before it now, and keep what a model has measured.

    Raises:
        NodeError: there is no such Datanet or batch.
    """

    def change(
        datanet: Datanet, batch: RowBatch, approved: Sequence[Sequence[Row]], rows: tuple[Row, ...]
    ) -> RowBatch:
        batch = check_batch(datanet, approved, rows, is_signed=batch.digest in own.signed_batches(datanet))
        numbers = batch.gate.numbers
        for number in measured:
            numbers = with_number(numbers, number)
        return replace(batch, gate=replace(batch.gate, numbers=numbers))

    own.learn_commitments(name)
    return own.change_batch(name, beginning, change)


def appeal(own: OwnDatanets, name: str, beginning: str, row: int, because: str) -> tuple[RowBatch, Appeal]:
    """File an appeal for a row that was found to copy another contributor's.

    Raises:
        NodeError: the batch has no such row, it copies nobody, or its appeal was decided.
        MalformedError: the reason is missing or too long.
    """

    def change(
        datanet: Datanet, batch: RowBatch, approved: Sequence[Sequence[Row]], rows: tuple[Row, ...]
    ) -> RowBatch:
        digest = _digest_of(rows, row)
        if why := next((each.because for each in batch.gate.rejected if each.row == row), ""):
            raise NodeError(f"row {row} was rejected ({why}), so no version contains it and nobody is paid for it")
        appeals = file_appeal(batch.gate.appeals, row, digest, because)
        _check_is_copy(datanet, batch, approved, rows, row)
        return replace(batch, gate=replace(batch.gate, appeals=appeals))

    return _with_appeal(own.change_batch(name, beginning, change), row)


def decide(
    own: OwnDatanets, name: str, beginning: str, row: int, *, upheld: bool, reason: str
) -> tuple[RowBatch, Appeal]:
    """Decide an appeal, and count the copies again.

    Raises:
        NodeError: there is no such batch or appeal, or it was decided otherwise.
        MalformedError: the reason is missing or too long.
    """

    def change(
        datanet: Datanet, batch: RowBatch, approved: Sequence[Sequence[Row]], rows: tuple[Row, ...]
    ) -> RowBatch:
        appeals = decide_appeal(batch.gate.appeals, row, upheld=upheld, reason=reason)
        decided = replace(batch, gate=replace(batch.gate, appeals=appeals))
        others = tuple(decided if each.digest == batch.digest else each for each in datanet.batches)
        is_signed = batch.digest in own.signed_batches(datanet)
        return check_batch(replace(datanet, batches=others), approved, rows, is_signed=is_signed)

    return _with_appeal(own.change_batch(name, beginning, change), row)


def _digest_of(rows: Sequence[Row], row: int) -> Digest:
    if not 1 <= row <= len(rows):
        raise NodeError(f"the batch has rows 1 to {len(rows)}, not {row}")
    return canonical_digest(rows[row - 1])


def _check_is_copy(
    datanet: Datanet, batch: RowBatch, approved: Sequence[Sequence[Row]], rows: tuple[Row, ...], row: int
) -> None:
    offered = OfferedRows(digest=batch.digest, rows=rows, committed=batch.committed, appeals=batch.gate.appeals)
    verdicts = judge_rows(datanet, approved, offered)
    ours = verdicts.of_batch(place_of(datanet, batch.digest))
    if all(verdicts.numbers[place][1] != row or verdicts.owner_of(place) is None for place in ours):
        raise NodeError(f"row {row} copies no other contributor's row, so its contributor is paid for it already")


def _with_appeal(batch: RowBatch, row: int) -> tuple[RowBatch, Appeal]:
    return batch, next(each for each in batch.gate.appeals if each.row == row)
