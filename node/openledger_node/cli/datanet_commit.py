"""`datanet commit`: proof of the time of signed rows, before anybody else sees them."""

from pathlib import Path
from typing import Annotated, Any, Final

import typer

from openledger_protocol.offer import offer_commitment

from ..datanets.signed import is_signed_batch, read_signed
from ..errors import InputError
from .datanet_sign import app as app
from .transactions import transaction_command

WALK: Final = (
    *(
        "list",
        "show",
        "create",
        "describe",
        "convert",
        "contribute",
        "check",
        "approve",
        "reject",
        "appeal",
    ),
    *("rows", "publish", "curators", "propose", "review", "collect"),  # curators approve
    *("sign", "commit", "withdraw"),  # a contributor
    *("pull", "forget"),  # somebody who trains on the rows
)
"""The commands in the order in which people need them."""


@transaction_command(app, "datanet commit")
def commit(
    file: Annotated[
        Path,
        typer.Argument(help="Batch that `datanet sign` wrote.", exists=True, dir_okay=False, show_default=False),
    ],
) -> dict[str, Any]:
    """Prove on the chain since when you have signed rows, before you show them to anybody.

    A Datanet pays whoever is proven to have said a thing first. Without a commitment that is the first version that
    contains it, so somebody who sees your rows could have the same published before you.

    Example: `openledger-node datanet commit notes.csv.signed.json`
    """
    if not is_signed_batch(file):
        raise InputError(f"{file} is not signed: sign its rows first with `openledger-node datanet sign`")
    offer = read_signed(file).offer
    return {
        "commitment": offer_commitment(offer),
        "datanet": offer.datanet_id,
        "chain_id": offer.chain_id,
        "registry": offer.contract,
    }


app.registered_commands.sort(key=lambda each: WALK.index(each.name or getattr(each.callback, "__name__", "")))
