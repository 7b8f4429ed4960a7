"""`datanet check`, `reject` and `appeal`: the numbers of a batch, its copies, and the appeals against them."""

from typing import Annotated, Any, Final

import typer

from openledger_protocol.codec import to_plain

from ..datanets.appeals import Appeal
from ..datanets.copies import Evidence
from ..datanets.gate import GateNumber
from ..datanets.own import Datanet, RowBatch, state_of
from ..datanets.review import appeal as file_appeal
from ..datanets.review import check_again, decide
from ..datanets.review import reject as reject_batch
from ..datanets.store import OwnDatanets
from ..errors import InputError, ModelError
from ..text import counted, rfc3339
from .daemon_client import load_settings, open_node_home
from .render import emit_json, out_console, plain, say, show_lines, show_table
from .transactions import Json

COPIES_SAID: Final = 10
COPIES_SHOWN: Final = 100
DIGITS_MAX: Final = 7
EVIDENCE: Final[dict[Evidence, str]] = {
    "equal": "the same text",
    "shingles": "three-word runs",
    "words": "word fingerprint",
}
WITHDRAWN: Final = ", which was withdrawn, so this row is left out"
VERDICTS: Final = {"ok": "ok", "look": "look", "unmeasured": "not measured"}

DatanetName = Annotated[str, typer.Argument(metavar="DATANET", help="Name of the Datanet.")]
BatchStart = Annotated[str, typer.Argument(metavar="BATCH", help="Digest of a batch, or the start of it.")]


def add_review(app: typer.Typer) -> None:
    """Add the commands of a batch's review."""
    app.command()(check)
    app.command()(reject)
    app.command()(appeal)


def check(
    name: DatanetName,
    batch: BatchStart,
    base: Annotated[
        str | None, typer.Option(metavar="MODEL", help="Base that measures it; by default that of the settings.")
    ] = None,
    trial: Annotated[
        bool, typer.Option("--trial", help="Train an adapter on it for a short while, and measure its loss.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Check a batch again: copies of rows that are approved now, and the loss of the base on it.

    A number over its limit refuses nothing; it says where to look before you approve the batch.

    Example: `openledger-node datanet check lake 0x3f1c5a20 --trial`
    """
    home = open_node_home()
    own = OwnDatanets(home)
    rows = own.rows_of_batch(name, batch)
    measured = _measure(home, rows, base, trial=trial)
    found = check_again(own, name, batch, measured)
    datanet = own.get(name)
    if as_json:
        emit_batch(datanet, found)
    else:
        show_gate(datanet, found)


def reject(
    name: DatanetName,
    batch: BatchStart,
    because: Annotated[str, typer.Option("--because", metavar="TEXT", help="Reason; it stays with the batch.")],
    as_json: Json = False,
) -> None:
    """Reject a batch, for a reason. It stays here, and you can still approve it.

    Example: `openledger-node datanet reject lake 0x3f1c5a20 --because "half of it is copied"`
    """
    own = OwnDatanets(open_node_home())
    found = reject_batch(own, name, batch, because)
    if as_json:
        emit_batch(own.get(name), found)
    else:
        out_console.print(f"batch [bold]{found.digest[:10]}[/] of {plain(name)} is rejected")


def appeal(
    name: DatanetName,
    batch: BatchStart,
    row: Annotated[int, typer.Argument(metavar="ROW", help="Number of the row in its batch.")],
    because: Annotated[
        str, typer.Option("--because", metavar="TEXT", help="Reason; it is published with the decision.")
    ],
    decision: Annotated[
        bool | None,
        typer.Option("--uphold/--deny", help="Decide it as the owner: the row is its own, or it is a copy."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Appeal for a row that was taken for a copy, or decide an appeal.

    Example: `openledger-node datanet appeal lake 0x3f1c5a20 7 --because "I wrote it in 2019"`
    """
    own = OwnDatanets(open_node_home())
    if decision is None:
        found, filed = file_appeal(own, name, batch, row, because)
    else:
        found, filed = decide(own, name, batch, row, upheld=decision, reason=because)
    if as_json:
        emit_json("appeal", {"datanet": name, "batch": found.digest, **_plain(filed)})
        return
    where = f"row {row} of batch {found.digest[:10]} of {plain(name)}"
    if filed.upheld is None:
        say(f"the appeal for {where} waits for a decision:")
        words = f"{plain(name)} {found.digest[:10]} {row}"
        say(f"`openledger-node datanet appeal {words} --uphold --because TEXT`, or --deny")
    elif filed.upheld:
        out_console.print(f"the appeal is upheld: {where} is no copy from the next version with new rows on")
    else:
        out_console.print(f"the appeal is denied: {where} stays a copy")


def batch_state(datanet: Datanet, batch: RowBatch) -> str:
    """Return `approved`, `pending` or `rejected`."""
    return state_of(datanet, batch)


def row_numbers(text: str | None) -> list[int]:
    """The rows of a list such as `3,7-9`, in order.

    Raises:
        InputError: it is no such list.
    """
    found: list[int] = []
    for part in (text or "").split(",") if text is not None else ():
        first, dash, last = (each.strip() for each in part.partition("-"))
        if (
            not first.isdecimal()
            or (dash and not last.isdecimal())
            or len(first) > DIGITS_MAX
            or len(last) > DIGITS_MAX
        ):
            raise InputError(f"{text!r} is no list of rows: give numbers and ranges, such as 3,7-9")
        found += range(int(first), int(last or first) + 1)
    return found


def emit_batch(datanet: Datanet, batch: RowBatch, more: dict[str, Any] | None = None) -> None:
    """Print a batch for `--json`."""
    state = batch_state(datanet, batch)
    emit_json("batch", {"datanet": datanet.name, "state": state, **_plain(batch), **(more or {})})


def show_gate(datanet: Datanet, batch: RowBatch) -> None:
    """Show a batch with its numbers, its copies and their appeals."""
    show_lines(
        {
            "batch": batch.digest,
            "state": batch_state(datanet, batch),
            "rows": str(batch.rows),
            "contributors": str(batch.contributors),
            "unpaid rows": str(batch.unpaid),
            "proven since": rfc3339(batch.committed.at_s) if batch.committed else "its first version",
            **_rejections(batch),
        }
    )
    show_table(
        ["number", "value", "limit", "verdict", ""], [_cells(each) for each in batch.gate.numbers], empty="no numbers"
    )
    if batch.of_others:
        out_console.print(_copies_title(batch))
    for line in (*_copy_lines(batch, COPIES_SHOWN), *_taken_lines(batch, COPIES_SHOWN)):
        out_console.print(line)
    for each in batch.gate.appeals:
        out_console.print(_appeal_line(each))


def _rejections(batch: RowBatch) -> dict[str, str]:
    """The lines of a batch that was rejected, or of which rows were."""
    lines = {"rejected because": batch.gate.rejected_because} if batch.gate.rejected_because else {}
    if rejected := batch.gate.rejected:
        numbers = ", ".join(str(each.row) for each in rejected[:COPIES_SHOWN])
        lines["left out"] = f"{counted(len(rejected), 'row')} ({numbers}), because {rejected[0].because}"
    return lines


def say_copies(datanet: Datanet, batch: RowBatch) -> None:
    """Say on stderr which rows copy others, which are copied by others, and how to appeal."""
    for line in _taken_lines(batch, COPIES_SAID):
        say(line)
    if not batch.of_others:
        return
    say(_copies_title(batch))
    for line in _copy_lines(batch, COPIES_SAID):
        say(line)
    words = f"{plain(datanet.name)} {batch.digest[:10]} ROW --because TEXT"
    say(f"if one of them is no copy: `openledger-node datanet appeal {words}`")


def say_numbers(datanet: Datanet, batch: RowBatch) -> None:
    """Say on stderr which numbers are over their limits, besides those of copies."""
    looks = [each for each in batch.gate.numbers if each.verdict == "look" and each.name != "copies"]
    for each in looks:
        say(f"[yellow]look at {each.name}:[/] {_value(each)} {plain(each.unit)}, limit {_limit(each)}")
    if looks:
        say(f"all numbers: `openledger-node datanet show {plain(datanet.name)} {batch.digest[:10]}`")


def _measure(home: Any, rows: Any, base: str | None, *, trial: bool) -> list[GateNumber]:
    from ..factory.trial import measure_base, measure_trial, open_trial  # imports the tokenizer, which takes long

    try:
        opened = open_trial(home, load_settings(home), base)
        say(f"measuring with {plain(opened.base.name)}, which takes a minute…")
        return [measure_base(opened, rows), *([measure_trial(opened, rows)] if trial else [])]
    except ModelError as error:
        if base or trial:
            raise
        say(f"the loss of the base is not measured: {plain(str(error))}")
        return []


def _plain(value: object) -> dict[str, Any]:
    content = to_plain(value)
    assert isinstance(content, dict)
    return content


def _cells(number: GateNumber) -> list[str]:
    return [
        number.name,
        "–" if number.value is None else f"{_value(number)} {plain(number.unit)}",
        _limit(number),
        VERDICTS[number.verdict],
        number.note,
    ]


def _value(number: GateNumber) -> str:
    return "–" if number.value is None else f"{number.value:g}"


def _limit(number: GateNumber) -> str:
    low, high = (None if each is None else f"{each:g}" for each in (number.low, number.high))
    if low is not None:
        return f"{low} to {high}"
    return "–" if high is None else f"at most {high}"


def _copies_title(batch: RowBatch) -> str:
    return f"[yellow]rows that copy those of other contributors, who are paid for them: {batch.of_others}[/]"


def _copy_lines(batch: RowBatch, count: int) -> list[str]:
    lines = [
        f"  row {note.row} “{plain(note.begins)}” copies row {note.of_row} of batch {note.of_batch[:10]} of "
        f"{plain(note.contributor)} “{plain(note.of_begins)}” ({EVIDENCE[note.evidence]})"
        f"{WITHDRAWN if note.is_withdrawn else ''}"
        for note in batch.gate.copies[:count]
    ]
    if batch.of_others > len(lines):
        lines.append(
            f"  and {batch.of_others - len(lines)} more; --json of `openledger-node datanet show` lists 1,000"
        )
    return lines


def _taken_lines(batch: RowBatch, count: int) -> list[str]:
    num_taken = len(batch.gate.taken)
    if not num_taken:
        return []
    title = "[yellow]rows approved before that copy this batch, which is proven to be older and is paid for them: "
    lines = [
        f"  row {note.row} “{plain(note.begins)}” is copied by row {note.of_row} of batch {note.of_batch[:10]} of "
        f"{plain(note.contributor)} “{plain(note.of_begins)}” ({EVIDENCE[note.evidence]})"
        for note in batch.gate.taken[:count]
    ]
    more = [f"  and {num_taken - len(lines)} more"] if num_taken > len(lines) else []
    return [f"{title}{num_taken}[/]", *lines, *more]


def _appeal_line(each: Appeal) -> str:
    state = {None: "waits for a decision", True: "upheld", False: "denied"}[each.upheld]
    reason = f", because {plain(each.reason)}" if each.reason else ""
    return f"appeal for row {each.row}, because {plain(each.because)}: {state}{reason}"
