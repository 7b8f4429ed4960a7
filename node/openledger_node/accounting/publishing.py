"""Plans that publish versions of Datanets and adapters, skipping what is on the chain already.

A Datanet's id on the chain holds its creator and its name, and an adapter's id its owner and its manifest. So nobody
can register either for somebody else. Version numbers mean nothing there, because every network counts its own.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from openledger_protocol.adapter import AdapterManifest, DatanetReference, adapter_id, manifest_id
from openledger_protocol.chain import ContractCall
from openledger_protocol.curation import VersionDecision
from openledger_protocol.datanet import datanet_id
from openledger_protocol.errors import MalformedError
from openledger_protocol.primitives import Address, DatanetId, Digest, check_address, check_digest
from openledger_protocol.registry import check_weights, entry_of
from openledger_protocol.rules import common_rules, rule_names

from ..attribution.registry import find_version, is_published
from ..chain.contracts import load_contract
from ..chain.refusals import open_text
from ..datanets.commitments import LIFETIME_S, without_unknown
from ..datanets.curated import approvals_of, decisions_on, read_review
from ..datanets.sample import sample_people
from ..datanets.store import OwnDatanets
from ..datanets.version import DatanetVersion, write_published
from ..errors import NodeError
from ..factory.runs import Runs
from ..home import Home
from ..ledger.events import EventRows
from ..models.adapters import Adapter, complete_adapter, find_adapter, full_name, is_completion
from ..models.library import list_adapters, remove_adapter
from ..models.pins import drop_pin, keep_pin, read_pins
from ..settlement.actions import Action, CommitRows, PublishDatanet, RegisterAdapter
from ..settlement.session import NetworkSession
from ..text import counted, duration_text, rfc3339

ROYALTY_PPM = 100_000
"""Default royalty of an adapter's author: a tenth of the earnings of its answers."""

EVERYBODY_PULLS = "everybody may pull its rows from your node, for good"

SELECTOR_BYTES, WORD_BYTES = 4, 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Publication:
    """The transactions of a command, and its writes to the data directory once the operator has confirmed."""

    actions: tuple[Action, ...] = ()
    note: str | None = None  # the reason why there is nothing to send
    details: tuple[str, ...] = ()  # sentences that the operator reads before confirming
    keep: Callable[[], object] = lambda: None


Planner = Callable[[Home, NetworkSession, Address, Mapping[str, Any]], Publication]


def publish_datanet(
    home: Home, session: NetworkSession, account: Address, arguments: Mapping[str, Any]
) -> Publication:
    """Plan to publish all approved rows as a version.

    Raises:
        NodeError: nothing is approved, no contributor can be paid, or the Datanet is not registered.
    """
    own, name = OwnDatanets(home), arguments["datanet"]
    own.learn_withdrawals(name)
    left_out = own.left_out(own.learn_commitments(name))
    version, num_batches, num_withdrawn = own.next_version(name)
    if not session.network.is_development:
        _check_payable(name, version)
    found = datanet_id(account, name)
    version = _with_known_commitments(session, found, version)
    keep = partial(_keep_version, home, found, version, num_batches, num_withdrawn)
    if session.deployment.datanet(found) is None:
        raise NodeError(
            f"Datanet {name} of {account} is not registered on this network: `openledger-node datanet create {name}`"
        )
    what = f"version {version.version} of Datanet {name}"
    if is_published(session.ledger.events, found, version):
        return Publication(note=f"{what} is published already, and nothing new is approved", keep=keep)
    _check_not_held(session.ledger.events, found, version)
    decisions = _decisions(home, session, found, name, version)
    keep = partial(_keep_version, home, found, replace(version, decisions=decisions), num_batches, num_withdrawn)
    action = PublishDatanet(
        datanet_id=found,
        rows_root=version.rows_root,
        contributors_root=version.contributors_root,
        approvals=approvals_of(decisions),
    )
    call = session.deployment.publish_datanet(found, action.rows_root, action.contributors_root, action.approvals)
    if is_under_way(session, lambda sent: sent == call):
        return Publication(note=f"{what} is on its way already", keep=keep)
    details = (*_left_out_text(name, len(left_out)), EVERYBODY_PULLS)
    return Publication(actions=(action,), details=details, keep=keep)


def publish_adapter(
    home: Home, session: NetworkSession, account: Address, arguments: Mapping[str, Any]
) -> Publication:
    """Plan to register an adapter of the library under a bond, with the Datanets that it was trained on.

    An adapter without an owner gets this account as its owner, and with it another id.

    Raises:
        NodeError: another account owns it, or the bond is not covered.
        AdapterRefusedError: one of its Datanets is not published, or it can't be registered.
        UnknownModelError: no adapter here has this name.
        MalformedError: the royalty is out of bounds.
    """
    adapters = list_adapters(home)
    adapter = _unfinished(adapters, str(arguments["adapter"]), account)
    manifest = _owned_manifest(session, account, adapter)
    keep = partial(_keep_completed, home, adapters, adapter, manifest)
    name, note = full_name(manifest), None
    if manifest != adapter.manifest:
        note = f"{adapter.full_name} had no owner: it is now {name}, which only {account} can register"
    if session.deployment.entry(adapter_id(manifest)) is not None:
        return Publication(note=f"{name} is registered already", keep=keep)
    if is_under_way(session, lambda sent: _names(sent, session, manifest)):
        return Publication(note=f"the registration of {name} is on its way already", keep=keep)
    _check_published(home, session, account, manifest)
    action = RegisterAdapter(
        manifest_id=manifest_id(manifest),
        entry=entry_of(manifest, account),
        royalty_ppm=_royalty_ppm(session, arguments.get("royalty_ppm")),
        bond_wei=session.params().adapter_bond_wei,
    )
    if (balance := session.deployment.token_balance(account)) < action.bond_wei:
        raise NodeError(
            f"registering an adapter takes a bond of {open_text(action.bond_wei)}, but {account} has "
            f"{open_text(balance)}: send it more OPEN first, or choose another account with --wallet"
        )
    wait = duration_text(session.windows.unbonding_s)
    bond = f"its bond of {open_text(action.bond_wei)} is locked while it is sold"
    way_out = f"`openledger-node adapters retire` ends the sale, and {wait} later `adapters reclaim` brings it back"
    details = (f"{bond}: {way_out}",)
    return Publication(actions=(action,), note=note, details=details, keep=keep)


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
            "its time is that of its block, and it counts once that block is final",
            f"the Datanet's owner has to get the file within {LIFETIME_S // 86_400} days",
        ),
    )


PUBLISHERS: Mapping[str, Planner] = {
    "datanet commit": commit_rows,
    "datanet publish": publish_datanet,
    "adapters publish": publish_adapter,
}


def _left_out_text(name: str, num_rows: int) -> tuple[str, ...]:
    if not num_rows:
        return ()
    return (
        f"without {counted(num_rows, 'row')} that copy withdrawn rows of other contributors: "
        f"`openledger-node datanet rows {name}` lists them, and an upheld appeal keeps one that is no copy",
    )


def _check_payable(name: str, version: DatanetVersion) -> None:
    """Require that no row pays a person of the samples, who is made up.

    Raises:
        NodeError: one does; what it earns would be lost.
    """
    people = sample_people()
    if found := next((people[row.account] for row in version.rows if row.account in people), None):
        raise NodeError(
            f"Datanet {name} has rows of {found}, a made-up person of the samples. Nobody has the key of that "
            "account, so its earnings would be lost. Publish samples on development networks only"
        )


def _with_known_commitments(session: NetworkSession, datanet: DatanetId, version: DatanetVersion) -> DatanetVersion:
    """Leave out the commitments that this chain does not have, because every node would refuse the version."""
    registry = session.network.contracts["DatanetRegistry"]
    known = without_unknown(session.ledger.events, datanet, registry, version.offers, version.commitments)
    return replace(version, commitments=known)


def _decisions(
    home: Home, session: NetworkSession, datanet: DatanetId, name: str, version: DatanetVersion
) -> tuple[VersionDecision, ...]:
    """The decisions of a Datanet's curators on its next version; none for a Datanet without curators.

    Raises:
        NodeError: too few of them approve it.
    """
    curators, need = session.deployment.curators_of(datanet)
    if not need:
        return ()
    number = len(session.ledger.events.find("DatanetVersion", {"id": datanet})) + 1
    roots = (version.rows_root, version.contributors_root)
    decisions = decisions_on(read_review(home, name), number, roots, curators)
    if (approvals := sum(each.approves for each in decisions)) < need:
        raise NodeError(
            f"version {number} of Datanet {name} needs the approval of {need} of its {len(curators)} curators, and "
            f"{approvals} have approved exactly these rows: `openledger-node datanet propose {name}` writes the file "
            f"for them, and `openledger-node datanet collect {name} FILE` takes what they decide"
        )
    return decisions


def _keep_version(
    home: Home, datanet: DatanetId, version: DatanetVersion, num_batches: int, num_withdrawn: int
) -> None:
    write_published(home, datanet, OwnDatanets(home).keep_version(version, num_batches, num_withdrawn))


def _check_not_held(events: EventRows, datanet: DatanetId, version: DatanetVersion) -> None:
    """Check that no other Datanet has published these rows; the contract would refuse them.

    Raises:
        NodeError: one has; rows belong to the Datanet that published them first.
    """
    holder = _holder_of(events, version.rows_root)
    if holder not in (None, datanet):
        raise NodeError(
            f"Datanet {holder} has published exactly these rows before, so they belong to it: "
            f"contribute rows of your own to {version.id}, and approve them first"
        )


def _holder_of(events: EventRows, rows_root: Digest) -> DatanetId | None:
    """The Datanet that first published these rows, which no other can publish after it."""
    found = events.find("DatanetVersion", {"rowsRoot": rows_root})
    return DatanetId(str(found[0].arguments["id"])) if found else None


def _unfinished(adapters: Sequence[Adapter], name: str, account: Address) -> Adapter:
    """Find the adapter to publish; where a crash left it with and without this owner, the one with it."""
    ours = [each for each in adapters if each.manifest.owner == account]
    completed = {
        old.full_name: new for old in adapters for new in ours if is_completion(new.manifest, of=old.manifest)
    }
    if name in completed:
        return completed[name]
    return find_adapter([each for each in adapters if each.full_name not in completed], name)


def _owned_manifest(session: NetworkSession, account: Address, adapter: Adapter) -> AdapterManifest:
    """The manifest that names this account as the owner: the adapter's own, or its completion."""
    manifest = adapter.manifest
    if manifest.owner == account:
        return manifest
    if manifest.owner is not None:
        raise NodeError(
            f"{adapter.full_name} belongs to {manifest.owner}, and nobody else can register it: choose that account "
            "with --wallet, or train an adapter of your own"
        )
    return replace(manifest, owner=account, datanets=_published_datanets(session, adapter))


def _published_datanets(session: NetworkSession, adapter: Adapter) -> tuple[DatanetReference, ...] | None:
    """Datanets of an adapter without an owner, by the ids under which the chain has published their rows."""
    if adapter.manifest.datanets is None:
        return None
    found = []
    for datanet in adapter.manifest.datanets:
        holder = _holder_of(session.ledger.events, datanet.rows_root)
        if holder is None:
            raise NodeError(_unpublished(adapter.full_name, datanet.version, None))
        found.append(replace(datanet, id=holder))
    return tuple(found)


def _check_published(home: Home, session: NetworkSession, account: Address, manifest: AdapterManifest) -> None:
    """Check that the adapter can be sold once it is registered: its Datanets have published its rows.

    Raises:
        NodeError: one has not, or another Datanet has.
        AdapterRefusedError: the version is not here, or its Datanets and weights can't be registered.
    """
    check_weights(manifest)
    for datanet in manifest.datanets or ():
        holder = _holder_of(session.ledger.events, datanet.rows_root)
        if holder is None:
            raise NodeError(_unpublished(full_name(manifest), datanet.version, _own_name(home, account, datanet.id)))
        if holder != datanet.id:
            raise NodeError(
                f"{full_name(manifest)} names Datanet {datanet.id}, but its rows belong to Datanet {holder}, which "
                "published them first: train an adapter on rows of your own"
            )
        find_version(home, session.ledger.events, datanet)
    allowed = {datanet.id: session.deployment.rules_of(datanet.id) for datanet in manifest.datanets or ()}
    if not common_rules(allowed.values()):
        told = "; ".join(f"Datanet {datanet} allows {rule_names(rules)}" for datanet, rules in allowed.items())
        raise NodeError(
            f"{full_name(manifest)} can't be sold, because its Datanets allow no attribution rule in common "
            f"({told}): train an adapter on Datanets that do"
        )


def _unpublished(adapter: str, version: str, name: str | None) -> str:
    what = f"Datanet {name}" if name else "the Datanet that it was trained on"
    return (
        f"{adapter} can't be registered before version {version} of {what} is published on this network: if it is "
        f"yours, run `openledger-node datanet publish {name or 'NAME'}`; if you just did, try again in a moment"
    )


def _own_name(home: Home, account: Address, wanted: DatanetId) -> str | None:
    """The local name of an account's Datanet."""
    folders = home.datanets.iterdir() if home.datanets.exists() else ()
    return next((folder.name for folder in folders if datanet_id(account, folder.name) == wanted), None)


def _keep_completed(home: Home, adapters: Sequence[Adapter], adapter: Adapter, manifest: AdapterManifest) -> None:
    """Replace an adapter without an owner by its completion, and all that names it here; again after a crash.

    The new copy is complete before the old one is removed.
    """
    new = complete_adapter(home, adapter, manifest)
    for old in adapters:
        if is_completion(manifest, of=old.manifest):
            Runs(home).rename_adapter(old.id, new)
            if old.id in read_pins(home):
                keep_pin(home, new.id)
                drop_pin(home, old.id)
            remove_adapter(home, old.full_name)


def _royalty_ppm(session: NetworkSession, given: object) -> int:
    royalty_ppm = ROYALTY_PPM if given is None else given
    params = load_contract("Params")
    call = ContractCall(to=session.deployment.addresses["Params"], data=params.encode("bounds"))
    most: int = params.decode_result("bounds", session.client.call(call))["royaltyPpmMax"]
    if type(royalty_ppm) is not int or not 0 <= royalty_ppm <= most:
        raise MalformedError(f"a royalty is from 0 to {most / 10_000:g} % on this network")
    return royalty_ppm


def is_under_way(session: NetworkSession, is_it: Callable[[ContractCall], bool]) -> bool:
    """True if such a call waits to be mined; only the outbox knows."""
    return any(is_it(found.intent.call) for found in session.ledger.outbox.unfinished())


def _names(call: ContractCall, session: NetworkSession, manifest: AdapterManifest) -> bool:
    """True if a call registers this manifest; the rest can't be compared, because each has another permit."""
    word = call.data[SELECTOR_BYTES : SELECTOR_BYTES + WORD_BYTES]
    return call.to == session.deployment.addresses["ModelRegistry"] and word.hex() == manifest_id(manifest)[2:]
