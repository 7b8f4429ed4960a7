"""`adapters retire` and `adapters reclaim`: end the sale of an adapter, and take its bond back."""

from typing import Annotated, Any

import typer

from .transactions import transaction_command
from .units import open_amount

RETIRED_HELP = "NAME, NAME@ID, or the beginning of its id."


def add_bond_commands(app: typer.Typer) -> None:
    """Add both commands to `adapters`."""
    transaction_command(app, "adapters retire")(retire)
    transaction_command(app, "adapters reclaim")(reclaim)


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
