"""`gov replay`: what the last epochs would have paid with other values, before anybody votes."""

import json
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from ..errors import ConfigError, InputError
from .attribution import show_checks
from .render import emit_json, out_console, plain, say, show_lines, show_table
from .transactions import Json, open_money
from .units import amount, open_amount, pairs_of

PPM_PER_PERCENT: Final = 10_000
REPORT_BYTES_MAX: Final = 8_000_000
FALSE_FOUND: Final = 1
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
        list[str] | None,
        typer.Argument(metavar="N|KEY=VALUE", help="A proposal, or other values such as dataPpm=22% minStake=150."),
    ] = None,
    epochs: Annotated[int, typer.Option(help="Number of epochs, up to the current one.", min=1)] = 14,
    report: Annotated[
        Path | None,
        typer.Option(help="With algoId=N: replay the rule on public probes, and write a signed report."),
    ] = None,
    kept: Annotated[
        bool, typer.Option("--kept", help="With --report: also on the exchanges that this node has bought and kept.")
    ] = False,
    check: Annotated[Path | None, typer.Option(help="Check a report that somebody has signed.")] = None,
    as_json: Json = False,
) -> int:
    """Show what the last epochs would have paid with other values, to the wei, from the chain's records.

    Every final claim is split again. With the values of its time it must give exactly what the chain paid. Another
    attribution rule needs texts, which the chain does not hold: --report replays it on those that are known.
    """
    if check is not None:
        return _check(check, as_json=as_json)
    what = _what(values or [])
    if report is not None:
        _report(what.get("values", {}), epochs, report, with_kept=kept, as_json=as_json)
        return 0
    with open_money() as money:
        found = money.ask("replay", **what, epochs=epochs)
    if as_json:
        emit_json("replay", found)
        return 0
    _show(found)
    return 0


def _what(words: list[str]) -> dict[str, Any]:
    """A proposal, or values, as arguments of a query."""
    if not words:
        raise InputError("give a proposal's number, or KEY=VALUE such as dataPpm=22%")
    if len(words) == 1 and "=" not in words[0]:
        return {"proposal": words[0]}
    return {"values": pairs_of(words, "KEY=VALUE, such as dataPpm=22%")}


# ---- reports on another attribution rule


def _report(typed: dict[str, str], epochs: int, file: Path, *, with_kept: bool, as_json: bool) -> None:
    if set(typed) != {"algoId"} or not typed["algoId"].isdecimal():
        raise InputError("a report is about one rule: give algoId=N alone")
    if file.exists():
        raise ConfigError(f"{file} exists already, and a report is never overwritten: name another file")
    with open_money() as money:
        found = money.ask("replay_rule", algo_id=int(typed["algoId"]), epochs=epochs, with_kept=with_kept)
    file.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    if as_json:
        emit_json("rule_replay", found)
        return
    _show_report(found)
    say(f"signed by {found['signer']}; anybody can check it:")
    say(f"  `openledger-node gov replay --check {plain(str(file))}`")


def _show_report(found: dict[str, Any]) -> None:
    gross = int(found["gross_wei"])
    show_lines(
        {
            "rule": f"{found['algo_was']} → {found['algo_would']}",
            "epochs": f"{found['first_epoch']:,} to {found['last_epoch']:,}, up to block {found['block']:,}",
            "paid": open_amount(gross),
            "probes": f"of adapters with {_part(found['probes_wei'], gross)}",
            "kept": f"exchanges of {_part(found['kept_wei'], gross)}",
        }
    )
    rows = [
        [
            str(each["name"] or each["adapter_id"]),
            open_amount(each["gross_wei"]),
            str(each["num_probes"]),
            str(each["num_kept"]),
            _moved(each["probes"]),
            _moved(each["kept"]),
            each["why_none"] or "",
        ]
        for each in found["adapters"]
    ]
    columns = ["adapter", "paid", "probes", "kept", "moves by probes", "moves by kept", "not replayed, because"]
    show_table(columns, rows, empty="nothing was paid in these epochs")
    say(plain(found["says"]))


def _part(part_wei: str, gross: int) -> str:
    percent = 100 * int(part_wei) / gross if gross else 0.0
    return f"{percent:.1f} % of it, {open_amount(part_wei)}"


def _moved(datanets: list[dict[str, Any]]) -> str:
    """The part of each Datanet's money that other accounts would get."""
    return ", ".join(f"{each['moved_ppm'] / PPM_PER_PERCENT:.1f} %" for each in datanets)


def _check(file: Path, *, as_json: bool) -> int:
    report = _read(file)
    with open_money() as money:
        found = money.ask("check_report", report=report)
    if as_json:
        emit_json("report_check", found)
    else:
        show_checks(found)
    return 0 if found["holds"] else FALSE_FOUND


def _read(file: Path) -> Any:
    if not file.is_file() or file.stat().st_size > REPORT_BYTES_MAX:
        raise ConfigError(f"{file} is no report: it is missing, or has over {REPORT_BYTES_MAX / 1e6:.0f} MB")
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{file} is no report: {error}") from error


# ---- tables


def _show(found: dict[str, Any]) -> None:
    changes = ", ".join(f"{each['key']} {each['text']}" for each in found["changes"])
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
    if any(each["key"] == "algoId" for each in found["changes"]):
        say("algoId changes nothing above, but who is paid within each Datanet: replay it with --report FILE")
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
