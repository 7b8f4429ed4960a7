"""`datanet sign`: a contributor's own statement over their rows, made without a node."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Final

import typer

from openledger_protocol.codec import to_plain
from openledger_protocol.errors import ProtocolError
from openledger_protocol.offer import RowOffer, check_offer, offer_typed_data
from openledger_protocol.primitives import DatanetId, check_address, check_digest

from ..datanets.files import open_preview
from ..datanets.reading import ReadOptions
from ..datanets.signed import DatanetPlace, SignedBatch, draft_batch, write_signed
from ..errors import ConfigError, InputError, NodeError
from ..keystore import WALLET
from ..network_file import Network, current_network
from ..text import counted
from .daemon_client import load_settings, open_node_home
from .datanet_curators import app as app
from .datanet_report import show_report
from .prompts import PASSWORD_FILE_HELP, confirm
from .render import emit_json, out_console, plain, say
from .signing import sign_with_account, signer_of
from .transactions import Json

SUFFIX: Final = ".signed.json"


@app.command()
def sign(
    file: Annotated[Path, typer.Argument(help="File of rows or of text.", show_default=False)],
    datanet: Annotated[
        str, typer.Option(metavar="ID", help="Id of the Datanet on the chain, which its owner tells.")
    ],
    licence: Annotated[
        str, typer.Option(metavar="NAME", help="Licence of the Datanet, under which you offer the rows.")
    ],
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
    chain_id: Annotated[
        int | None, typer.Option(help="Chain of the Datanet; by default that of your network.")
    ] = None,
    registry: Annotated[
        str | None, typer.Option(help="Address of its DatanetRegistry; by default that of your network.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help=f"File to write; by default FILE{SUFFIX}.")] = None,
    columns: Annotated[
        str | None, typer.Option(metavar="PARTS", help="Columns by name, as in `datanet contribute`.")
    ] = None,
    keep: Annotated[bool, typer.Option("--keep", help="Take rows with personal data or secrets, too.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")] = False,
    as_json: Json = False,
) -> None:
    """Sign rows as their contributor, so that the owner of a Datanet can take them. It needs no running node.

    All rows become those of the account that signs, which is paid for them.

    Example: `openledger-node datanet sign notes.csv --datanet 0x1c9f… --licence CC-BY-4.0`
    """
    if (address is None) == (typed_data or signature is not None) or (typed_data and signature is not None):
        raise InputError(
            "to sign in another wallet, give --address with --typed-data first, and then with --signature; to sign "
            "here, give none of them"
        )
    home, target = open_node_home(), out or file.with_name(file.name + SUFFIX)
    network = current_network(home, load_settings(home).node.network)
    signer = signer_of(home, network, wallet, address)
    place = _place(network, datanet, chain_id, registry)
    if target.exists() and not typed_data:
        raise ConfigError(f"{target} exists already, and nothing is overwritten: name another file with --out")
    with open_preview(file, ReadOptions(name=file.name, columns=columns, keep=keep)) as preview:
        show_report(file, preview.report, to_stderr=as_json or typed_data)
        batch = draft_batch(preview.rows(signer.address), place, signer.address, licence)
    if typed_data:
        out_console.print_json(json.dumps(offer_typed_data(batch.offer)), indent=None)
        return
    say(f"{plain(signer.address)} offers them to Datanet {plain(place.datanet_id)} under {plain(licence)}:")
    say(f"  {batch.offer.consent}")
    if signature is None:
        confirm(f"Sign {counted(len(batch.rows), 'row')}?", yes=yes)
        signature = sign_with_account(home, network, signer, password_file, offer_typed_data(batch.offer))
    signed = replace(batch, offer=_checked(batch, signature))
    write_signed(target, signed)
    if as_json:
        offer = to_plain(signed.offer)
        assert isinstance(offer, dict)
        emit_json("row_offer", {**offer, "rows": len(signed.rows), "out": str(target)})
        return
    say(f"wrote {plain(str(target))}: send it to the owner, who takes it with `openledger-node datanet contribute`")
    say(f"to prove first since when you have the rows: `openledger-node datanet commit {plain(str(target))}`")


def _place(network: Network | None, datanet: str, chain_id: int | None, registry: str | None) -> DatanetPlace:
    if (chain_id is None) != (registry is None):
        raise InputError("give --chain-id and --registry together, or neither of them")
    found = DatanetId(check_digest(datanet))
    if chain_id is not None and registry is not None:
        return DatanetPlace(chain_id=chain_id, contract=check_address(registry), datanet_id=found)
    if network is None:
        raise NodeError(
            "this data directory is on no network, so the chain of the Datanet is not known: join the network with "
            "`openledger-node network join`, or give --chain-id and --registry as its owner tells"
        )
    return DatanetPlace(chain_id=network.chain_id, contract=network.contracts["DatanetRegistry"], datanet_id=found)


def _checked(batch: SignedBatch, signature: str) -> RowOffer:
    try:
        return check_offer(replace(batch.offer, signature=signature.strip()))
    except ProtocolError as error:
        raise NodeError(f"this signature can't be used: {error}") from error
