"""A Datanet of anyone, as this node has read it from the chain."""

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from typing import Any

from openledger_protocol.codec import to_plain
from openledger_protocol.primitives import DatanetId, check_digest

from ..datanets.about import DatanetPolicy, policy_lines, read_about, read_licence
from ..datanets.registered import RegisteredDatanet, read_curators, read_registered
from ..errors import NodeError
from ..home import Home
from ..ledger.events import EventRows
from ..ledger.ledger import open_ledger
from ..network_file import Network, current_network
from .daemon_client import load_settings
from .render import emit_json, plain, show_lines


@contextmanager
def open_chain(home: Home) -> Iterator[tuple[Network, EventRows]]:
    """The current network, and its events as far as this node has read them.

    Raises:
        NodeError: this data directory is on no network, or has read nothing of it yet.
    """
    network = current_network(home, load_settings(home).node.network)
    if network is None:
        raise NodeError("this data directory is on no network: join one with `openledger-node network join`")
    file = home.ledger(network.network)
    if not file.exists():
        raise NodeError(
            f"nothing of {network.network} was read yet: run `openledger-node start`, and try again in a moment"
        )
    with closing(open_ledger(file, is_writer=False)) as ledger:
        yield network, ledger.events


def described_on_chain(home: Home, ids: Sequence[DatanetId]) -> dict[DatanetId, str]:
    """Licence and description of Datanets as this node has read them, in brackets; without a network, none."""
    found: dict[DatanetId, str] = {}
    with suppress(NodeError), open_chain(home) as (_, events):
        for datanet_id in ids:
            licence, about = read_licence(events, datanet_id), read_about(events, datanet_id)
            if licence:
                description = f": {about.description}" if about and about.description else ""
                found[datanet_id] = f" ({licence}{description})"
    return found


def curators_here(home: Home, datanet_id: DatanetId | None) -> str:
    """The curators of a Datanet as this node has read them; without a network, none are known."""
    if datanet_id is not None:
        with suppress(NodeError), open_chain(home) as (_, events):
            return curators_text(*read_curators(events, datanet_id))
    return "none known here"


def show_registered(home: Home, id_: str, *, as_json: bool) -> None:
    """Show a Datanet by its id on the chain.

    Raises:
        NodeError: no such Datanet was read from the chain.
    """
    datanet_id = DatanetId(check_digest(id_))
    with open_chain(home) as (network, events):
        found = read_registered(events, datanet_id)
        if found is None:
            raise NodeError(f"no Datanet {datanet_id} is registered on {network.network}: check its id")
    if as_json:
        content: Any = to_plain(found)
        emit_json("registered_datanet", content)
        return
    show_lines(_lines(found))


def _lines(found: RegisteredDatanet) -> dict[str, str]:
    about = found.about
    return {
        "datanet": plain(found.name),
        "id": found.datanet_id,
        "owner": found.owner,
        "licence": plain(found.licence),
        "description": plain(about.description) or "none" if about else "none",
        "languages": plain(", ".join(about.languages)) or "not named" if about else "not named",
        "policy": policy_text(about.policy) if about else "every row fits",
        "treasury": found.treasury,
        "owner's share": f"{found.owner_ppm / 10_000:g} %",
        "curators": curators_text(found.curators, found.need),
        "versions": ", ".join(
            f"{each.version}" + (f" (approved by {len(each.approvers)} curators)" if each.approvers else "")
            for each in found.versions
        )
        or "none yet",
    }


def policy_text(policy: DatanetPolicy) -> str:
    """A policy on one line."""
    return plain("; ".join(policy_lines(policy))) or "every row fits"


def curators_text(curators: tuple[str, ...], need: int) -> str:
    """Curators on one line."""
    return f"{need} of {', '.join(curators)}" if curators else "none: the owner publishes alone"
