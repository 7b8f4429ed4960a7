"""`adapters publish`, `retire` and `reclaim`: sell an adapter under a bond, end that, and take the bond back."""

from typing import Annotated, Any, Final

import typer

from ..models.adapters import Adapter
from ..operator.adapters import PublishedBond
from .render import megabytes
from .transactions import transaction_command
from .units import open_amount, ppm_of

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


def bond_text(bond_wei: str, free_at: str) -> str:
    """The state of a retired adapter's bond; `free_at` is a time in RFC 3339."""
    if bond_wei == "0":
        return "its bond was taken back"
    return f"its bond of {open_amount(bond_wei)} is free at {free_at[:19].replace('T', ' ')} UTC"


def loss_of(adapter: Adapter, bond: PublishedBond | None) -> str:
    """The question before an adapter is removed: what is deleted, and what is lost."""
    what = f"delete {adapter.full_name}, {megabytes(adapter.size_bytes)}"
    if bond is None:
        return f"{what}? Only a new training or another copy brings it back."
    if bond.free_at_s is None:
        return f"{what}? It is {bond.says}, and stays so. To serve it again you need a new training or a copy."
    reclaim = f" Without its files it has no name here: `openledger-node adapters reclaim {adapter.id[:ID_DIGITS]}`."
    return f"{what}? It is {bond.says}.{reclaim if bond.bond_wei else ''}"
