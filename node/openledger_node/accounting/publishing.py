"""Plans that register Datanets, their versions and adapters, skipping what is on the chain already.

A Datanet is found on the chain by its name and by its published roots. Version numbers mean nothing there, because
every network counts its own.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from eth_abi.abi import encode
from eth_hash.auto import keccak

from openledger_protocol.adapter import DatanetReference
from openledger_protocol.chain import ContractCall
from openledger_protocol.constants import ADAPTER_DATANETS_MAX, PPM
from openledger_protocol.errors import MalformedError
from openledger_protocol.primitives import ZERO_DIGEST, Address, DatanetId, check_address, check_digest

from ..chain.contracts import load_contract, open_text
from ..datanets.own import Datanet, new_datanet
from ..datanets.store import OwnDatanets, check_same_terms
from ..datanets.version import DatanetVersion, read_version
from ..errors import NodeError
from ..home import Home
from ..ledger.events import EventRows
from ..models.adapters import Adapter, find_adapter, list_adapters
from ..settlement.actions import Action, CreateDatanet, PublishDatanet, RegisterAdapter
from ..settlement.session import NetworkSession

ROYALTY_PPM = 100_000
"""Default royalty of an adapter's author: a tenth of the earnings of its answers."""

SELECTOR_BYTES, WORD_BYTES = 4, 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Publication:
    """The transactions of a command, and its writes to the data directory once the operator has confirmed."""

    actions: tuple[Action, ...] = ()
    note: str | None = None  # the reason why there is nothing to send
    keep: Callable[[], object] = lambda: None


Planner = Callable[[Home, NetworkSession, Address, Mapping[str, Any]], Publication]


def create_datanet(
    home: Home, session: NetworkSession, account: Address, arguments: Mapping[str, Any]
) -> Publication:
    """Plan to create a Datanet here and register it; terms that are not given default to those stored here.

    Raises:
        NodeError: it has other terms here or on the chain.
    """
    own = OwnDatanets(home)
    datanet = _datanet_of(own, account, arguments)
    keep = partial(own.create, datanet)
    terms = session.deployment.datanet(datanet_id(account, datanet.name))
    if terms is not None:
        if (terms.treasury, terms.owner_ppm) != (datanet.treasury, datanet.owner_ppm):
            raise NodeError(
                f"Datanet {datanet.name} of {account} is registered with treasury {terms.treasury} and owner's share "
                f"{terms.owner_ppm / 10_000:g} %: pass these to --treasury and --owner-share, or choose another name"
            )
        return Publication(note=f"Datanet {datanet.name} is registered already", keep=keep)
    action = CreateDatanet(
        name=datanet.name, treasury=datanet.treasury, owner_ppm=datanet.owner_ppm, licence=datanet.licence
    )
    call = session.deployment.create_datanet(action.name, action.treasury, action.owner_ppm, action.licence)
    if _is_under_way(session, lambda sent: sent == call):
        return Publication(note=f"the registration of Datanet {datanet.name} is on its way already", keep=keep)
    return Publication(actions=(action,), keep=keep)


def publish_datanet(
    home: Home, session: NetworkSession, account: Address, arguments: Mapping[str, Any]
) -> Publication:
    """Plan to publish all approved rows as a version.

    Raises:
        NodeError: nothing is approved, no contributor can be paid, or the Datanet is not registered.
    """
    own, name = OwnDatanets(home), arguments["datanet"]
    version, num_batches = own.next_version(name)
    keep = partial(own.keep_version, version, num_batches)
    found = datanet_id(account, name)
    if session.deployment.datanet(found) is None:
        raise NodeError(
            f"Datanet {name} of {account} is not registered on this network: `openledger-node datanet create {name}`"
        )
    what = f"version {version.version} of Datanet {name}"
    if found in find_published(session.ledger.events, version):
        return Publication(note=f"{what} is published already, and nothing new is approved", keep=keep)
    action = PublishDatanet(
        datanet_id=found, rows_root=version.rows_root, contributors_root=version.contributors_root
    )
    call = session.deployment.publish_datanet(found, action.rows_root, action.contributors_root)
    if _is_under_way(session, lambda sent: sent == call):
        return Publication(note=f"{what} is on its way already", keep=keep)
    return Publication(actions=(action,), keep=keep)


def publish_adapter(
    home: Home, session: NetworkSession, account: Address, arguments: Mapping[str, Any]
) -> Publication:
    """Plan to register an adapter of the library under a bond, with the Datanets that it was trained on.

    Raises:
        NodeError: one of its Datanets is not published, another account registered it, or the bond is not covered.
        UnknownModelError: no adapter here has this name.
        MalformedError: the royalty or the weights are out of bounds.
    """
    adapter = find_adapter(list_adapters(home), arguments["adapter"])
    terms = session.deployment.adapter(adapter.id)
    if terms is not None:
        if terms.owner != account:
            raise NodeError(
                f"{adapter.full_name} was registered by {terms.owner}: an entry can't be changed, so train it again"
            )
        return Publication(note=f"{adapter.full_name} is registered already")
    if _is_under_way(session, lambda sent: _names(sent, session, adapter)):
        return Publication(note=f"the registration of {adapter.full_name} is on its way already")
    action = RegisterAdapter(
        adapter_id=adapter.id,
        base=adapter.manifest.base.digest,
        artifact=adapter.manifest.artifact_digest,
        index_root=adapter.manifest.index_root or ZERO_DIGEST,
        datanets=_weights(home, session, account, adapter, arguments.get("datanet_ids") or ()),
        royalty_ppm=_royalty_ppm(session, arguments.get("royalty_ppm")),
        bond_wei=session.params().adapter_bond_wei,
    )
    if (balance := session.deployment.token_balance(account)) < action.bond_wei:
        raise NodeError(
            f"registering an adapter takes a bond of {open_text(action.bond_wei)}, but {account} has "
            f"{open_text(balance)}: send it more OPEN first, or choose another account with --wallet"
        )
    return Publication(actions=(action,))


PUBLISHERS: Mapping[str, Planner] = {
    "datanet create": create_datanet,
    "datanet publish": publish_datanet,
    "adapters publish": publish_adapter,
}


def datanet_id(creator: Address, name: str) -> DatanetId:
    """The id on the chain of an account's Datanet with this name."""
    return DatanetId("0x" + keccak(encode(["address", "string"], [creator, name])).hex())


def find_published(events: EventRows, version: DatanetVersion) -> list[DatanetId]:
    """Find the Datanets on the chain that have this version's name and published its roots, earliest first."""
    named = {event.arguments["id"] for event in events.find("DatanetCreated", {"name": version.id})}
    roots = {"rowsRoot": version.rows_root, "contributorsRoot": version.contributors_root}
    found = [DatanetId(str(event.arguments["id"])) for event in events.find("DatanetVersion", roots)]
    return [each for each in dict.fromkeys(found) if each in named]


def _datanet_of(own: OwnDatanets, account: Address, arguments: Mapping[str, Any]) -> Datanet:
    """The given terms, completed by those stored here and by defaults."""
    name = arguments["datanet"]
    found = own.find(name)
    given = {key: arguments[key] for key in ("licence", "treasury", "owner_ppm") if arguments.get(key) is not None}
    kept = {"licence": found.licence, "treasury": found.treasury, "owner_ppm": found.owner_ppm} if found else {}
    terms: dict[str, Any] = {"treasury": account, "owner_ppm": 0, **kept, **given}
    if "licence" not in terms:
        raise NodeError(f"Datanet {name} needs a licence for its rows: pass one, such as --licence CC-BY-4.0")
    terms["treasury"] = check_address(terms["treasury"])
    wanted = new_datanet(name, **terms)
    return check_same_terms(found, wanted) if found else wanted


def _weights(
    home: Home, session: NetworkSession, account: Address, adapter: Adapter, chosen: tuple[str, ...] | list[str]
) -> tuple[tuple[DatanetId, int], ...]:
    """Datanets of an adapter's manifest by their ids on the chain, ascending, with their weights."""
    datanets = adapter.manifest.datanets or ()
    ids = [DatanetId(check_digest(each)) for each in chosen]
    weights: dict[DatanetId, int] = {}
    for datanet in datanets:
        found = _resolve(home, session, account, datanet, ids)
        weights[found] = weights.get(found, 0) + datanet.weight_ppm
    if datanets and (sum(weights.values()) != PPM or 0 in weights.values() or len(weights) > ADAPTER_DATANETS_MAX):
        raise MalformedError(
            f"{adapter.full_name} must name 1 to {ADAPTER_DATANETS_MAX} Datanets whose weights are above 0 and "
            f"sum to {PPM}, not {sorted(weights.values())}"
        )
    return tuple(sorted(weights.items()))


def _resolve(
    home: Home, session: NetworkSession, account: Address, datanet: DatanetReference, chosen: list[DatanetId]
) -> DatanetId:
    """The id of the Datanet that published the local version on which the adapter was trained."""
    version = read_version(home, datanet.id, datanet.version)
    what = f"version {datanet.version} of Datanet {datanet.id}"
    if datanet.rows_root not in (None, version.rows_root):
        raise NodeError(f"the local {what} has other rows than the adapter was trained on")
    found = find_published(session.ledger.events, version)
    if not found:
        raise NodeError(
            f"{what} is not published on this network with the local rows: if the Datanet is yours, run "
            f"`openledger-node datanet publish {datanet.id}`; if you just did, try again in a moment"
        )
    ours = [each for each in found if each == datanet_id(account, datanet.id)]
    wanted = [each for each in found if each in chosen] or ours or found
    if len(wanted) > 1:
        raise NodeError(
            f"{what} was published by several Datanets: choose one with --datanet-id, of {', '.join(wanted)}"
        )
    return wanted[0]


def _royalty_ppm(session: NetworkSession, given: object) -> int:
    royalty_ppm = ROYALTY_PPM if given is None else given
    params = load_contract("Params")
    call = ContractCall(to=session.deployment.addresses["Params"], data=params.encode("bounds"))
    most: int = params.decode_result("bounds", session.client.call(call))["royaltyPpmMax"]
    if type(royalty_ppm) is not int or not 0 <= royalty_ppm <= most:
        raise MalformedError(f"a royalty is from 0 to {most / 10_000:g} % on this network")
    return royalty_ppm


def _is_under_way(session: NetworkSession, is_it: Callable[[ContractCall], bool]) -> bool:
    """True if such a call waits to be mined; only the outbox knows."""
    return any(is_it(found.intent.call) for found in session.ledger.outbox.unfinished())


def _names(call: ContractCall, session: NetworkSession, adapter: Adapter) -> bool:
    """True if a call registers this adapter; the rest can't be compared, because each has another permit."""
    word = call.data[SELECTOR_BYTES : SELECTOR_BYTES + WORD_BYTES]
    return call.to == session.deployment.addresses["ModelRegistry"] and word.hex() == adapter.id[2:]
