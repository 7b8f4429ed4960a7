"""`datanet curators`, `propose`, `review` and `collect`: versions that curators approve."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from openledger_protocol.codec import to_plain
from openledger_protocol.curation import (
    VersionDecision,
    check_decision,
    decision_typed_data,
)
from openledger_protocol.datanet import datanet_id
from openledger_protocol.errors import ProtocolError

from ..datanets.curated import CollectedVersion
from ..datanets.curated import collect as collect_decisions
from ..datanets.curated import propose as propose_version
from ..datanets.curator_files import check_old_rows, measure_new, old_root
from ..datanets.proposals import (
    VersionProposal,
    draft_decision,
    read_decision,
    read_proposal,
    write_decision,
    write_proposal,
)
from ..datanets.registered import read_curators, read_versions
from ..datanets.signed import DatanetPlace
from ..datanets.store import OwnDatanets
from ..errors import ConfigError, InputError, NodeError
from ..home import Home
from ..keystore import WALLET, find_wallet
from ..ledger.events import EventRows
from ..network_file import Network, current_network
from ..text import counted
from .daemon_client import load_settings, open_node_home
from .datanet import Name
from .datanet_chain import open_chain
from .datanet_terms import app as app
from .prompts import PASSWORD_FILE_HELP, confirm
from .render import emit_json, out_console, plain, say
from .signing import sign_with_account, signer_of
from .transactions import Json, transaction_command
from .units import address_of

ROWS_SHOWN: Final = 10
TEXT_SHOWN: Final = 200


@transaction_command(app, "datanet curators")
def curators(
    name: Name,
    accounts: Annotated[
        str | None, typer.Option("--set", metavar="A,B,C", help="Addresses of the curators, up to 16.")
    ] = None,
    need: Annotated[int | None, typer.Option(metavar="N", min=1, help="Approvals that a version needs.")] = None,
    none: Annotated[bool, typer.Option("--none", help="No curators: publish alone again.")] = False,
) -> dict[str, Any]:
    """Name the curators of your Datanet, and how many of them must approve a version before you can publish it.

    The change is for versions from now on, and everybody can see it on the chain.

    Example: `openledger-node datanet curators lake --set 0x7099…,0x3C44…,0x90F7… --need 2`
    """
    if none == (accounts is not None) or none == (need is not None):
        raise InputError("give --set and --need, or --none: `openledger-node datanet curators --help`")
    found = list(dict.fromkeys(address_of(each.strip()) for each in (accounts or "").split(",") if each.strip()))
    if not none and (need or 0) > len(found):
        raise InputError(f"of {counted(len(found), 'curator')} {need} can't approve: choose a smaller --need")
    return {"datanet": name, "curators": found, "need": need or 0}


@app.command()
def propose(
    name: Name,
    batch: Annotated[
        list[str] | None,
        typer.Argument(metavar="[BATCH]...", help="Batches to add, or the starts of their digests; by default all."),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="File to write.", show_default=False)] = None,
    as_json: Json = False,
) -> None:
    """Propose a version to the curators: write a file with its rows, which you send to each of them.

    It holds all approved rows and the waiting batches that you name. Batches wait until enough curators agree.

    Example: `openledger-node datanet propose lake --out lake-2.proposal.json`
    """
    home = open_node_home()
    with open_chain(home) as (network, events):
        place = _place(home, network, name)
        known, need = read_curators(events, place.datanet_id)
        published = [(each.version, each.rows_root) for each in read_versions(events, place.datanet_id)]
    if not need:
        raise NodeError(
            f"{name} has no curators on {network.network}, so you publish it alone: "
            f"`openledger-node datanet curators {name} --set A,B,C --need 2` names some"
        )
    target = out or Path(f"{name}-{len(published) + 1}.proposal.json")
    if target.exists():
        raise ConfigError(f"{target} exists already, and nothing is overwritten: name another file with --out")
    proposal = propose_version(home, name, batch or (), place, published)
    write_proposal(target, proposal)
    told = {**_roots(proposal), "rows": len(proposal.rows), "new_rows": len(proposal.new_rows)}
    if as_json:
        emit_json("proposal", {"datanet": name, **told, "curators": known, "need": need, "out": str(target)})
        return
    out_console.print(
        f"wrote {plain(str(target))}: version {proposal.version} of {plain(name)} with "
        f"{counted(len(proposal.rows), 'row')}, {len(proposal.new_rows):,} of them new"
    )
    say(
        f"send it to the curators; {need} of {len(known)} have to approve it with "
        "`openledger-node datanet review FILE`"
    )


@app.command()
def review(
    file: Annotated[Path, typer.Argument(help="Proposal of a version.", show_default=False)],
    approve: Annotated[
        bool | None, typer.Option("--approve/--reject", help="Your decision; without it, only look.")
    ] = None,
    because: Annotated[str, typer.Option(metavar="TEXT", help="Reason of a rejection; it is published.")] = "",
    wallet: Annotated[
        str, typer.Option(metavar="ACCOUNT", help="Account of this data directory that signs.")
    ] = WALLET,
    password_file: Annotated[Path | None, typer.Option(help=PASSWORD_FILE_HELP)] = None,
    address: Annotated[
        str | None, typer.Option(help="Address that signs in another wallet; with --typed-data or --signature.")
    ] = None,
    typed_data: Annotated[
        bool, typer.Option("--typed-data", help="Print what the other wallet has to sign, and write nothing.")
    ] = False,
    signature: Annotated[str | None, typer.Option(help="Signature that the other wallet has made.")] = None,
    out: Annotated[Path | None, typer.Option(help="File to write.", show_default=False)] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")] = False,
    as_json: Json = False,
) -> None:
    """Review a proposed version as its curator, and sign your decision. It needs no running node.

    Your program computes the digests of the rows again, and shows the numbers of the new rows. Read all of them in
    the file before you approve it.

    Example: `openledger-node datanet review lake-2.proposal.json --approve`
    """
    if approve is not None and (address is None) == (typed_data or signature is not None):
        raise InputError(
            "to sign in another wallet, give --address with --typed-data first, and then with --signature"
        )
    proposal = read_proposal(file)
    home = open_node_home()
    if approve is None:
        if as_json:
            emit_json("proposal", {"datanet": proposal.name, **_roots(proposal), **_numbers(proposal)})
        else:
            _show(home, proposal)
        return
    network = current_network(home, load_settings(home).node.network)
    signer = signer_of(home, network, wallet, address)
    decision = draft_decision(proposal, signer.address, approves=approve, reason=because)
    if typed_data:
        out_console.print_json(json.dumps(decision_typed_data(decision)), indent=None)
        return
    target = out or file.with_name(f"{file.stem}.{signer.address[:10]}.decision.json")
    if target.exists():
        raise ConfigError(f"{target} exists already, and nothing is overwritten: name another file with --out")
    if signature is None:
        if not as_json:
            _show(home, proposal)
        what = "Approve" if approve else "Reject"
        confirm(f"{what} version {proposal.version} of {proposal.name} as {signer.address}?", yes=yes)
        signature = sign_with_account(home, network, signer, password_file, decision_typed_data(decision))
    signed = _checked(replace(decision, signature=signature.strip()))
    write_decision(target, signed)
    if as_json:
        content: Any = to_plain(signed)
        emit_json("decision", {**content, "out": str(target)})
        return
    say(f"wrote {plain(str(target))}: send it to the owner, who takes it with `openledger-node datanet collect`")


@app.command()
def collect(
    name: Name,
    files: Annotated[
        list[Path], typer.Argument(metavar="FILE...", help="Decisions of curators.", show_default=False)
    ],
    as_json: Json = False,
) -> None:
    """Take decisions of curators on a version that you have proposed; with enough approvals, approve its batches.

    Example: `openledger-node datanet collect lake lake-2.proposal.0x7099797*.decision.json`
    """
    home = open_node_home()
    OwnDatanets(home).get(name)
    decisions = [read_decision(file) for file in files]
    with open_chain(home) as (network, events):
        place = _place(home, network, name)
        known, need = read_curators(events, place.datanet_id)
    found = collect_decisions(home, name, decisions, place, known, need)
    if as_json:
        told = [_collected(each) for each in found]
        emit_json("decisions", {"datanet": name, "need": need, **told[-1], "others": told[:-1]})
        return
    for each in found:
        _show_collected(name, each, need, among=len(found))


def _collected(found: CollectedVersion) -> dict[str, Any]:
    decisions: Any = [to_plain(each) for each in found.decisions]
    return {
        "version": found.proposed.version,
        "rows_root": found.proposed.rows_root,
        "contributors_root": found.proposed.contributors_root,
        "approvals": found.approvals,
        "is_approved": found.is_approved,
        "is_outdated": found.is_outdated,
        "decisions": decisions,
    }


def _show_collected(name: str, found: CollectedVersion, need: int, *, among: int) -> None:
    for each in found.decisions:
        out_console.print(f"  {each.curator} {'approves' if each.approves else f'rejects: {plain(each.reason)}'}")
    which = "" if among == 1 else f" with the rows {found.proposed.rows_root[:10]}"
    out_console.print(
        f"version {found.proposed.version} of {plain(name)}{which}: {found.approvals} of {need} approvals"
    )
    if found.is_approved:
        say(f"its batches are approved; publish it with `openledger-node datanet publish {plain(name)}`")
    if found.is_outdated:
        say(
            f"[yellow]your rows have changed since you proposed it[/], so nothing is approved: propose it again with "
            f"`openledger-node datanet propose {plain(name)}`"
        )


def _place(home: Home, network: Network, name: str) -> DatanetPlace:
    wallet = find_wallet(home, network.network)
    if wallet is None:
        raise NodeError("there is no wallet here: create one with `openledger-node wallet create`")
    OwnDatanets(home).get(name)
    contract = network.contracts["DatanetRegistry"]
    return DatanetPlace(chain_id=network.chain_id, contract=contract, datanet_id=datanet_id(wallet, name))


def _roots(proposal: VersionProposal) -> dict[str, Any]:
    return {
        "datanet_id": proposal.datanet_id,
        "version": proposal.version,
        "rows_root": proposal.rows_root,
        "contributors_root": proposal.contributors_root,
    }


def _numbers(proposal: VersionProposal) -> dict[str, Any]:
    numbers: Any = [to_plain(each) for each in measure_new(proposal)]
    return {"rows": len(proposal.rows), "new_rows": len(proposal.new_rows), "numbers": numbers}


def _show(home: Home, proposal: VersionProposal) -> None:
    out_console.print(
        f"version {proposal.version} of Datanet [bold]{plain(proposal.name)}[/] ({proposal.datanet_id}) under "
        f"{plain(proposal.licence)}: {counted(len(proposal.rows), 'row')}, {len(proposal.new_rows):,} of them new"
    )
    say(_old_rows(home, proposal))
    for number in measure_new(proposal):
        value = "–" if number.value is None else f"{number.value:g}"
        out_console.print(f"  {number.name}: {value} {plain(number.unit)}  [dim]{plain(number.note)}[/]")
    for place, row in enumerate(proposal.new_rows[:ROWS_SHOWN], proposal.num_old + 1):
        out_console.print(f"  row {place} of {plain(row.contributor)}: {plain(_short(row.prompt))}")
        out_console.print(f"    {plain(_short(row.completion))}")
    if len(proposal.new_rows) > ROWS_SHOWN:
        say(f"  and {len(proposal.new_rows) - ROWS_SHOWN:,} more new rows: read them in the file")


def _old_rows(home: Home, proposal: VersionProposal) -> str:
    """Say whether the rows that the proposal calls old were published before.

    Raises:
        NodeError: they were not, as far as the chain was read.
    """
    if not proposal.num_old:
        return "all rows count as new"
    try:
        with open_chain(home) as (network, events):
            is_known = network.chain_id == proposal.chain_id and _is_read(events, proposal)
            roots = {each.rows_root for each in read_versions(events, proposal.datanet_id)}
    except NodeError:
        is_known, roots = False, set()
    if not is_known:
        return (
            f"the file says that its first {proposal.num_old:,} rows were published before, which is not checked here"
        )
    check_old_rows(old_root(proposal), roots)
    return f"its first {proposal.num_old:,} rows were published before"


def _is_read(events: EventRows, proposal: VersionProposal) -> bool:
    return bool(events.find("DatanetCreated", {"id": proposal.datanet_id}))


def _checked(decision: VersionDecision) -> VersionDecision:
    try:
        return check_decision(decision)
    except ProtocolError as error:
        raise NodeError(f"this signature can't be used: {error}") from error


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= TEXT_SHOWN else f"{line[:TEXT_SHOWN]}…"
