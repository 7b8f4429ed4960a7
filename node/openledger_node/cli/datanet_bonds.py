"""`datanet bond`, `unbond`, `forfeit` and `sign-forfeit`: bonds behind a contributor's batches."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from openledger_protocol.bond import (
    REASON_LENGTH_MAX,
    Forfeit,
    forfeit_typed_data,
    reason_hash,
)
from openledger_protocol.offer import offer_rows_root
from openledger_protocol.primitives import Wei

from ..datanets.signed import is_signed_batch, read_signed
from ..errors import InputError
from ..keystore import WALLET
from ..network_file import current_network
from ..text import counted
from .daemon_client import load_settings, open_node_home
from .datanet import Name
from .datanet_sign import app as app
from .prompts import PASSWORD_FILE_HELP, confirm
from .render import emit_json, out_console, plain, say
from .signing import sign_with_account, signer_of
from .transactions import Json, open_amount, transaction_command, wei_of
from .units import address_of, datanet_of

Datanet = Annotated[str, typer.Argument(metavar="DATANET", help="Id of the Datanet on the chain.")]
Most = Annotated[str, typer.Option(metavar="OPEN", help="Most to forfeit; less if less is held.")]


@transaction_command(app, "datanet bond")
def bond(
    datanet: Datanet,
    amount: Annotated[str, typer.Argument(help="Amount of OPEN; 0 only agrees again.", show_default=False)],
    for_: Annotated[
        str | None, typer.Option("--for", metavar="ADDRESS", help="Account whose bond it becomes; by default yours.")
    ] = None,
) -> dict[str, Any]:
    """Post a bond behind the batches that an account signs for a Datanet.

    It stays the account's money. The Datanet's owner, or its curators, can forfeit it for a batch that the account
    has signed. It then goes to the protocol's treasury. Who decides is fixed when you post.

    Example: `openledger-node datanet bond 0x1c9f… 5`
    """
    return {"datanet": datanet_of(datanet), "amount_wei": wei_of(amount), "for": for_ and address_of(for_)}


@transaction_command(app, "datanet unbond")
def unbond(
    datanet: Datanet,
    amount: Annotated[
        str | None, typer.Option(metavar="OPEN", help="Take back so much; 0 cancels. By default all of it.")
    ] = None,
) -> dict[str, Any]:
    """Take back your bond at a Datanet: announce it, and run this again after the network's unbonding period.

    Example: `openledger-node datanet unbond 0x1c9f…`
    """
    return {"datanet": datanet_of(datanet), "amount_wei": None if amount is None else wei_of(amount)}


@transaction_command(app, "datanet forfeit")
def forfeit(
    name: Name,
    batch: Annotated[str, typer.Argument(help="Digest of a rejected batch, or the start of it.")],
    most: Annotated[str | None, typer.Option(metavar="OPEN", help="Most to forfeit; by default the bond.")] = None,
    approval: Annotated[
        list[str] | None,
        typer.Option(metavar="SIGNATURE", help="What a curator's `sign-forfeit` has printed. Repeat it."),
    ] = None,
) -> dict[str, Any]:
    """Forfeit the bond of the account that has signed a rejected batch, for the reason of the rejection.

    The money goes to the protocol's treasury, so nobody earns by it. A Datanet with curators needs their signatures.

    Example: `openledger-node datanet forfeit lake 0x3f1c5a20`
    """
    return {
        "datanet": name,
        "batch": batch,
        "amount_wei": None if most is None else wei_of(most),
        "approvals": approval or [],
    }


@app.command("sign-forfeit")
def sign_forfeit(
    file: Annotated[Path, typer.Argument(help="Batch that its contributor has signed.", show_default=False)],
    most: Most,
    because: Annotated[str, typer.Option(metavar="TEXT", help="Reason of the rejection, as the owner gave it.")],
    wallet: Annotated[
        str, typer.Option(metavar="ACCOUNT", help="Account of this data directory that signs.")
    ] = WALLET,
    password_file: Annotated[Path | None, typer.Option(help=PASSWORD_FILE_HELP)] = None,
    typed_data: Annotated[
        bool, typer.Option("--typed-data", help="Print what another wallet has to sign, and sign nothing.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")] = False,
    as_json: Json = False,
) -> None:
    """Approve as a curator that a contributor's bond pays for a batch, and print the signature for the owner.

    It needs no running node. Read the rows of the batch first.

    Example: `openledger-node datanet sign-forfeit notes.csv.signed.json --most 5 --because "copied from a site"`
    """
    reason = " ".join(because.split())
    if not 1 <= len(reason) <= REASON_LENGTH_MAX:
        raise InputError(f"a forfeit needs a reason of 1 to {REASON_LENGTH_MAX} characters: --because TEXT")
    if not is_signed_batch(file):
        raise InputError(f"{file} is not signed by its contributor, so no bond stands behind it")
    offer = read_signed(file).offer
    wanted = Forfeit(
        chain_id=offer.chain_id,
        contract=offer.contract,
        datanet_id=offer.datanet_id,
        account=offer.account,
        rows_root=offer_rows_root(offer.rows),
        amount_max_wei=Wei(int(wei_of(most))),
        reason=reason_hash(reason),
    )
    if typed_data:
        out_console.print_json(json.dumps(forfeit_typed_data(wanted)), indent=None)
        return
    home = open_node_home()
    network = current_network(home, load_settings(home).node.network)
    signer = signer_of(home, network, wallet, None)
    say(f"{plain(offer.account)} has signed {counted(len(offer.rows), 'row')} for Datanet {offer.datanet_id}")
    confirm(f"Forfeit up to {open_amount(wanted.amount_max_wei)} of its bond, because: {reason}?", yes=yes)
    signature = sign_with_account(home, network, signer, password_file, forfeit_typed_data(wanted))
    if as_json:
        emit_json("forfeit_approval", {"curator": signer.address, "signature": signature})
        return
    out_console.print(signature, soft_wrap=True)
