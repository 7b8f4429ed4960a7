"""`gov`: votes on the network's values, on stakes and on the treasury."""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from ..errors import InputError
from .gov_view import show_params, show_proposal, show_proposals, show_votes
from .render import emit_json
from .transactions import Json, open_money, transaction_command, wei_of
from .units import pairs_of

app = typer.Typer(help="Votes on the network's values, on stakes and on the treasury.", no_args_is_help=True)

Number = Annotated[
    str, typer.Argument(metavar="PROPOSAL", help="Number of the proposal, or the beginning of its id.")
]


@app.command()
def params(as_json: Json = False) -> None:
    """Show what votes can change, now and next, with bounds, and what no vote can change."""
    with open_money() as money:
        found = money.ask("gov_params")
    if as_json:
        emit_json("gov_params", found)
        return
    show_params(found)


@app.command("list")
def list_(
    all_: Annotated[bool, typer.Option("--all", help="Show proposals that are over, too.")] = False,
    as_json: Json = False,
) -> None:
    """Show the proposals that may still take effect."""
    with open_money() as money:
        found = money.ask("gov_list", all=all_)
    if as_json:
        emit_json("gov_list", found)
        return
    show_proposals(found, is_all=all_)


@app.command()
def show(proposal: Number, as_json: Json = False) -> None:
    """Show a proposal: its calls in words, votes, quorum, times, and the next command."""
    with open_money() as money:
        found = money.ask("gov_show", proposal=proposal)
    if as_json:
        emit_json("gov_show", found)
        return
    show_proposal(found)


@app.command()
def votes(
    account: Annotated[
        str | None,
        typer.Argument(metavar="ADDRESS", help="Account; without it the node's wallet."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Show an account's votes, and who casts those of its tokens."""
    with open_money() as money:
        found = money.ask("gov_votes", account=account)
    if as_json:
        emit_json("gov_votes", found)
        return
    show_votes(found)


@transaction_command(app, "gov propose")
def propose(
    values: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="KEY=VALUE",
            help="Values as `gov params` names them, such as minStake=150 dataPpm=22%; or `slash NODE AMOUNT`; or "
            "`resume`.",
        ),
    ] = None,
    reason: Annotated[str | None, typer.Option(help="Why, for those who vote.")] = None,
    evidence: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Why a node loses stake; the proposal holds its keccak256.")
    ] = None,
    spend: Annotated[str | None, typer.Option(metavar="AMOUNT", help="Pay OPEN of the treasury to --to.")] = None,
    to: Annotated[str | None, typer.Option(metavar="ADDRESS", help="Account that gets it.")] = None,
    anyway: Annotated[bool, typer.Option("--anyway", help="Although an open proposal sets the values, too.")] = False,
) -> dict[str, Any]:
    """Put a change to the vote. Shows what changes, the course of the vote, and the cost.

    `slash NODE AMOUNT --evidence FILE` burns a part of a node's stake. Publish the file for those who vote.
    `resume` ends the guardian's stop of new deposits.
    """
    typed = values or []
    is_slash, is_resume = typed[:1] == ["slash"], typed == ["resume"]
    return {
        "values": {} if is_slash or is_resume else pairs_of(typed, "KEY=VALUE, such as minStake=150"),
        "slash": _slash(typed[1:], evidence) if is_slash else None,
        "is_resume": is_resume,
        "spend_wei": wei_of(spend) if spend else None,
        "to": to,
        "reason": reason,
        "is_anyway": anyway,
    }


def _slash(typed: list[str], evidence: Path | None) -> dict[str, Any]:
    """The stake to burn, and the hash of the file that says why.

    Raises:
        InputError: something is missing, or the file can't be read.
    """
    if len(typed) != 2 or evidence is None:
        raise InputError("name a node, an amount and a file: `gov propose slash NODE AMOUNT --evidence FILE`")
    try:
        content = evidence.read_bytes()
    except OSError as error:
        raise InputError(f"{evidence} can't be read: {error.strerror}") from error
    from openledger_protocol.eip712 import keccak_digest  # imports the hash, which no other command here needs

    node, amount = typed
    return {"node": node, "amount_wei": wei_of(amount), "evidence": keccak_digest(content)}


@transaction_command(app, "gov vote")
def vote(
    proposal: Number,
    support: Annotated[
        Literal["for", "against", "abstain"], typer.Argument(help="The vote, which can't be changed.")
    ],
    reason: Annotated[str | None, typer.Option(help="Why, for everybody to read.")] = None,
) -> dict[str, Any]:
    """Vote on a proposal, with the votes that the account had when voting began."""
    return {"proposal": proposal, "support": support, "reason": reason}


@transaction_command(app, "gov delegate")
def delegate(
    to: Annotated[str, typer.Argument(metavar="ADDRESS|self", help="Account that votes with your OPEN.")] = "self",
) -> dict[str, Any]:
    """Turn your OPEN into votes, of your own account or of another. The OPEN stays yours."""
    return {"to": to}


@transaction_command(app, "gov queue")
def queue(proposal: Number) -> dict[str, Any]:
    """Begin the wait of a proposal that was carried. Anybody may."""
    return {"proposal": proposal}


@transaction_command(app, "gov execute")
def execute(proposal: Number) -> dict[str, Any]:
    """Carry out a proposal whose wait is over. Anybody may."""
    return {"proposal": proposal}


@transaction_command(app, "gov cancel")
def cancel(proposal: Number) -> dict[str, Any]:
    """Take back your own proposal before its voting begins."""
    return {"proposal": proposal}


@transaction_command(app, "gov wrap")
def wrap(amount: Annotated[str, typer.Argument(help="Amount of OPEN, such as 100.")]) -> dict[str, Any]:
    """Turn OPEN into votes, on a network whose token has none."""
    return {"amount_wei": wei_of(amount)}


@transaction_command(app, "gov unwrap")
def unwrap(amount: Annotated[str, typer.Argument(help="Amount of votes, such as 100.")]) -> dict[str, Any]:
    """Turn votes back into OPEN, on a network whose token has none."""
    return {"amount_wei": wei_of(amount)}
