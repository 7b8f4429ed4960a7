"""Who taught an answer, for a terminal: people with their shares, and the rows with what the answer has of them."""

from typing import Any

from .money import open_amount
from .render import out_console, plain, show_table

PPM_PER_PERCENT = 10_000


def show_people(teaching: dict[str, Any], *, empty: str) -> None:
    """Whom a receipt pays, and how much of its own price."""
    rows = [
        [
            str(person["number"] or "…"),
            name_of(person),
            f"{person['ppm']:,}",
            f"{person['ppm'] / PPM_PER_PERCENT:.4f} %",
            open_amount(person["amount_wei"]),
        ]
        for person in teaching["people"]
    ]
    show_table(["", "contributor", "ppm", "share", "of this receipt"], rows, empty=empty)


def show_row(row: dict[str, Any]) -> None:
    """A row that speaks for a share, with the words that the answer has in common with it."""
    runs = ", ".join(f"“{row['text'][mark['begin'] : mark['end']]}”" for mark in row["marks"]) or "no run of words"
    out_console.print(
        f"\n[bold]{plain(row['datanet'])}[/] row {row['row'][:10]}… of {row['account']}, "
        f"{row['ppm']:,} ppm, {row['tokens_matched']} tokens"
    )
    out_console.print(f"  [dim]row[/]     {plain(row['text'])}")
    out_console.print(f"  [dim]shared[/]  {plain(runs)}")


def name_of(person: dict[str, Any]) -> str:
    """What a person is called here: by name, else by address; nobody's share is the treasury's."""
    if person["pays"] == "treasury":
        return "the Datanet's treasury"
    return f"{person['name']} {person['account']}" if person["name"] else str(person["account"])
