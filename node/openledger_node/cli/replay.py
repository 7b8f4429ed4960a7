"""`gov replay`: what the last epochs would have paid with other values, before anybody votes."""

from typing import Annotated, Any, Final

import typer

from .render import emit_json, out_console, plain, say, show_lines, show_table
from .transactions import Json, open_money
from .units import amount, open_amount

PPM_PER_PERCENT: Final = 10_000
ROLES: Final = {
    "protocol": "the protocol",
    "stakers": "stakers",
    "nodes": "nodes",
    "adapter_owners": "adapter owners",
    "datanet_owners": "Datanet owners",
    "contributors": "contributors",
    "treasuries": "Datanets' treasuries",
}
BELOW: Final = {
    "minStake": "nodes with less stake",
    "minDeposit": "channels opened with less",
    "adapterBond": "adapters registered with less",
}


def add_replay(app: typer.Typer) -> None:
    """Add `replay` to the group `gov`."""
    app.command("replay")(replay)


def replay(
    values: Annotated[
        list[str],
        typer.Argument(metavar="KEY=VALUE", help="Other values, such as dataPpm=220000 stakersPpm=40000."),
    ],
    epochs: Annotated[int, typer.Option(help="Number of epochs, up to the current one.", min=1)] = 14,
    as_json: Json = False,
) -> None:
    """Show what the last epochs would have paid with other values, to the wei, from the chain's records.

    Every final claim is split again. With the values of its time it must give exactly what the chain paid.
    """
    with open_money() as money:
        found = money.ask("replay", values=_pairs(values), epochs=epochs)
    if as_json:
        emit_json("replay", found)
        return
    _show(found)


def _pairs(texts: list[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for text in texts:
        key, equals, value = (part.strip() for part in text.partition("="))
        if not (key and equals and value):
            raise typer.BadParameter(f"{text!r} is not KEY=VALUE, such as dataPpm=220000")
        if key in found:
            raise typer.BadParameter(f"{key} is given twice: give it once")
        found[key] = value
    return found


# ---- tables


def _show(found: dict[str, Any]) -> None:
    changes = ", ".join(f"{each['key']} {each['was']} → {each['would']}" for each in found["changes"])
    show_lines(
        {
            "values": changes,
            "epochs": f"{found['first_epoch']:,} to {found['last_epoch']:,}, up to block {found['block']:,}",
            "claims": f"{found['num_claims']:,} final, {open_amount(found['gross_wei'])} paid",
        }
    )
    if found["refusal"]:
        say(f"[yellow]but[/] the contract does not take these values just now: {plain(found['refusal'])}")
    _show_sums("who", [{**each, "role": ROLES[each["role"]]} for each in found["roles"]], "role")
    _show_sums(f"node, as node and as staker ({len(found['nodes'])} of {found['num_nodes']})", found["nodes"], "node")
    _show_sums("Datanet", found["datanets"], "datanet_id")
    _show_sums("adapter, with its Datanets", found["adapters"], "adapter_id")
    out_console.print()
    show_lines(_draws(found["draws"]))
    for minimum in found["minima"]:
        _show_minimum(minimum, found["refused"])
    for each in found["left_out"]:
        say(f"claim {plain(each['claim'])} is left out: {plain(each['why'])}")
    say(plain(found["says"]))


def _show_sums(title: str, rows: list[dict[str, Any]], name: str) -> None:
    if not rows:
        return
    out_console.print()
    cells = [
        [
            each[name],
            amount(int(each["was_wei"])),
            amount(int(each["would_wei"])),
            f"{'+' if int(each['difference_wei']) > 0 else ''}{each['difference_wei']} wei",
        ]
        for each in rows
    ]
    show_table([title, "was", "would be", "difference"], cells, empty="")


def _draws(draws: dict[str, Any]) -> dict[str, str]:
    """The lines of draws: the fee of a lapsed draw, and what false lists cost."""
    was, would = (
        f"{number} draws catch a false tenth {caught / PPM_PER_PERCENT:.1f} % of the time, and a lie costs at least "
        f"{cost / 1_000_000:g} times its gain"
        for number, caught, cost in zip(
            (draws["was"], draws["would"]), draws["caught_ppm"], draws["least_cost_ppm"], strict=True
        )
    )
    fees = draws["lapse_fees"]
    lines = {"draws": was} if draws["was"] == draws["would"] else {"draws": was, "would be": would}
    return {
        **lines,
        "lapse fee": f"one of each claim: {open_amount(fees['was_wei'])}, would be {open_amount(fees['would_wei'])}",
    }


def _show_minimum(minimum: dict[str, Any], refused: dict[str, Any]) -> None:
    limits = f"{open_amount(minimum['was_wei'])} → {open_amount(minimum['would_wei'])}"
    out_console.print(f"\n{plain(minimum['key'])}: {limits}, {BELOW[minimum['key']]}: {len(minimum['below'])}")
    for name, wei in minimum["below"].items():
        out_console.print(f"  {plain(name)}  {open_amount(wei)}")
    if minimum["key"] == "minStake" and refused["num_claims"]:
        gross = open_amount(refused["gross_wei"])
        out_console.print(f"  {refused['num_claims']:,} of the claims, {gross}, were of nodes with less stake then")
