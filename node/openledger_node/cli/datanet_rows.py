"""`datanet rows` and `datanet withdraw`: single rows of a Datanet."""

from collections.abc import Collection
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from openledger_protocol.codec import canonical_digest
from openledger_protocol.primitives import ZERO_ADDRESS, Digest

from ..datanets.own import Datanet, RowBatch, state_of
from ..datanets.store import OwnDatanets
from ..datanets.version import account_of
from .daemon_client import open_node_home
from .datanet import Name
from .datanet import app as app
from .render import emit_json, plain, show_table
from .transactions import Json, transaction_command

TEXT_SHOWN: Final = 60


@app.command()
def rows(
    name: Name,
    contributor: Annotated[str | None, typer.Option(help="Only rows of this name or address.")] = None,
    as_json: Json = False,
) -> None:
    """List the rows of a Datanet with their digests, contributors and states."""
    own = OwnDatanets(open_node_home())
    datanet = own.learn_withdrawals(name)
    signed = {digest for offer in own.offers(datanet, only_approved=False) for digest in offer.rows}
    left_out = own.left_out(datanet)
    found: list[dict[str, Any]] = []
    for batch in datanet.batches:
        rejected = {each.row for each in batch.gate.rejected}
        for number, row in enumerate(own.batch_rows(name, batch.digest), 1):
            digest, account = canonical_digest(row), account_of(row.contributor, datanet.accounts)
            if contributor in (None, row.contributor, account):
                found.append(
                    {
                        "digest": digest,
                        "batch": batch.digest,
                        "contributor": row.contributor,
                        "account": None if account == ZERO_ADDRESS else account,
                        "is_signed": digest in signed,
                        "state": "rejected" if number in rejected else _state(datanet, batch, digest, left_out),
                        "prompt": row.prompt,
                    }
                )
    if as_json:
        emit_json("datanet_rows", {"datanet": name, "rows": found})
        return
    cells = [
        [
            each["digest"][:10],
            each["contributor"],
            "yes" if each["is_signed"] else "no",
            each["state"],
            _short(each["prompt"]),
        ]
        for each in found
    ]
    empty = f"no row yet: add some with `openledger-node datanet contribute {plain(name)} FILE`"
    show_table(["row", "contributor", "signed", "state", "prompt"], cells, empty=empty)


@transaction_command(app, "datanet withdraw")
def withdraw(
    name: Annotated[
        str, typer.Argument(metavar="DATANET", help="Name of your Datanet, or the id of anyone's on the chain.")
    ],
    row: Annotated[
        list[str] | None, typer.Argument(metavar="[ROW]...", help="Digests of rows, or their beginnings.")
    ] = None,
    contributor: Annotated[str | None, typer.Option(help="All rows of this name or address.")] = None,
    file: Annotated[
        Path | None,
        typer.Option(help="All rows of this file: JSONL, or a signed batch.", exists=True, dir_okay=False),
    ] = None,
) -> dict[str, Any]:
    """Withdraw rows for good: as the owner of the Datanet, or as the contributor of the rows.

    Later versions and trainings leave them out, and adapters that were trained on them are flagged. Their pay ends if
    their contributor withdraws them.

    Example: `openledger-node datanet withdraw lake 0x3f1c5a20`
    """
    return {
        "datanet": name,
        "rows": row or None,
        "contributor": contributor,
        "file": None if file is None else str(file.resolve()),
    }


def _state(datanet: Datanet, batch: RowBatch, row: Digest, left_out: Collection[Digest]) -> str:
    if row in datanet.withdrawn:
        return "withdrawn"
    return "left out" if row in left_out else state_of(datanet, batch)  # it copies a withdrawn row of another


def _short(text: object) -> str:
    line = " ".join(str(text).split())
    return line if len(line) <= TEXT_SHOWN else f"{line[:TEXT_SHOWN]}…"
