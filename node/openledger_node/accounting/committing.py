"""Plan of the transaction by which a contributor commits to rows before showing them."""

from collections.abc import Mapping
from typing import Any

from openledger_protocol.primitives import Address, DatanetId, check_address, check_digest

from ..datanets.commitments import LIFETIME_S
from ..errors import NodeError
from ..home import Home
from ..settlement.actions import CommitRows
from ..settlement.session import NetworkSession
from ..text import rfc3339
from .publishing import Publication, is_under_way


def commit_rows(_: Home, session: NetworkSession, __: Address, arguments: Mapping[str, Any]) -> Publication:
    """Plan to commit to a signed batch. Any account may send it, because the commitment names the one that signed.

    Raises:
        NodeError: the batch is signed for another chain, or for a Datanet that is not registered.
        MalformedError: an argument is no digest or address.
    """
    commitment, datanet = check_digest(arguments["commitment"]), DatanetId(check_digest(arguments["datanet"]))
    here = (session.network.chain_id, session.network.contracts["DatanetRegistry"])
    if (arguments["chain_id"], check_address(arguments["registry"])) != here:
        raise NodeError(
            f"the batch is signed for chain {arguments['chain_id']} and registry {arguments['registry']}, and this "
            f"data directory is on {session.network.network}: commit to it in one that has joined its network"
        )
    if session.deployment.datanet(datanet) is None:
        raise NodeError(f"no Datanet {datanet} is registered on this network: check the id that you signed")
    if at_s := session.deployment.committed_at_s(commitment):
        return Publication(note=f"these rows are committed since {rfc3339(at_s)}, and the first time counts")
    action = CommitRows(commitment=commitment)
    call = session.deployment.commit_rows(commitment)
    if is_under_way(session, lambda sent: sent == call):
        return Publication(note="the commitment to these rows is on its way already")
    return Publication(
        actions=(action,),
        details=(
            "nobody can read the rows from it, and only the signed file reveals it: show it to nobody before",
            f"it counts if the Datanet's owner gets the file within {LIFETIME_S // 86_400} days",
        ),
    )
