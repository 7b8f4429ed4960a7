"""`adapters publish`, `retire` and `reclaim`: sell an adapter under a bond, end that, and take the bond back."""

import time
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Final

import typer

from ..chain.refusals import bond_text
from ..models.adapters import Adapter
from ..operator.adapters import PublishedBond
from .render import megabytes
from .transactions import transaction_command
from .units import ppm_of

ADAPTER_HELP: Final = "NAME, or NAME@ID where several share a name."
ID_DIGITS: Final = 12
RETIRED_HELP: Final = "NAME, NAME@ID, or its id, of which 0x and 8 digits are enough."


def add_bond_commands(app: typer.Typer) -> None:
    """Add the three commands to `adapters`."""
    for command in (publish, retire, reclaim):
        transaction_command(app, f"adapters {command.__name__}")(command)


def publish(
    name: Annotated[str, typer.Argument(metavar="ADAPTER", help=ADAPTER_HELP)],
    royalty: Annotated[
        str, typer.Option(metavar="PERCENT", help="Percent of its answers' earnings that goes to you.")
    ] = "10",
) -> dict[str, Any]:
    """Register an adapter on the chain with a bond, so that its answers can be paid. Publish its Datanets first.

    An adapter that was trained without a wallet gets this account as its owner, and with it another id.
    """
    return {"adapter": name, "royalty_ppm": ppm_of(royalty)}


def retire(name: Annotated[str, typer.Argument(metavar="ADAPTER", help=RETIRED_HELP)]) -> dict[str, Any]:
    """End the sale of a published adapter for good, so that its bond becomes free.

    What it has earned can be claimed until then: 16 days on a real network, two minutes on a development network.
    """
    return {"adapter": name}


def reclaim(name: Annotated[str, typer.Argument(metavar="ADAPTER", help=RETIRED_HELP)]) -> dict[str, Any]:
    """Take the bond of a retired adapter back, once it is free."""
    return {"adapter": name}


def retired_text(adapter: Mapping[str, Any]) -> str:
    """The state of a retired adapter's bond, by an entry of `adapters list`."""
    free_at_s = round(datetime.fromisoformat(adapter["bond_free_at"]).timestamp())
    return bond_text(int(adapter["bond_wei"]), free_at_s, time.time(), adapter["full_name"])


def loss_of(adapter: Adapter, bond: PublishedBond | None) -> str:
    """The question before an adapter is removed: what is deleted, and what is lost."""
    what = f"delete {adapter.full_name}, {megabytes(adapter.size_bytes)}"
    if bond is None:
        return f"{what}? Only a new training or another copy brings it back."
    says = f"{what}? It is {bond.says(time.time())}"
    if bond.free_at_s is None:
        return f"{says}, and stays so. To serve it again you need a new training or a copy."
    reclaim = f" Without its files it has no name here: `openledger-node adapters reclaim {adapter.id[:ID_DIGITS]}`."
    return f"{says}.{reclaim if bond.bond_wei else ''}"
