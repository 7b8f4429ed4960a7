"""Plans that register Datanets and change what their owner may change: the description, the policy and the curators.

A Datanet's id on the chain holds its creator and its name, so nobody can register it for somebody else.
"""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from openledger_protocol.constants import DATANET_OWNER_PPM_MAX
from openledger_protocol.curation import CURATORS_MAX
from openledger_protocol.datanet import datanet_id
from openledger_protocol.errors import MalformedError
from openledger_protocol.primitives import ZERO_ADDRESS, Address, DatanetId, check_address
from openledger_protocol.rules import USUAL_RULES, rule_names

from ..datanets.about import DatanetAbout, changed_about, metadata_text, read_about
from ..datanets.licences import check_licence
from ..datanets.own import Datanet, check_same_terms, new_datanet
from ..datanets.store import OwnDatanets
from ..errors import NodeError
from ..home import Home
from ..keystore import list_accounts
from ..settlement.actions import CreateDatanet, DescribeDatanet, SetCurators
from ..settlement.session import NetworkSession
from .publishing import SELECTOR_BYTES, WORD_BYTES, Planner, Publication, is_under_way


def create_datanet(
    home: Home, session: NetworkSession, account: Address, arguments: Mapping[str, Any]
) -> Publication:
    """Plan to create a Datanet here and register it; terms that are not given default to those stored here.

    Raises:
        NodeError: it has other terms here or on the chain.
        InputError: its licence is not on the SPDX list.
        MalformedError: a term, the description or the policy is out of its bounds.
    """
    own = OwnDatanets(home)
    found_id = datanet_id(account, str(arguments["datanet"]))
    terms = session.deployment.datanet(found_id)
    datanet, about = _datanet_of(home, session, account, arguments)
    asked = tuple(arguments.get("rules") or ())
    rules = asked or datanet.rules or USUAL_RULES
    keep = partial(_keep_created, own, datanet, about, rules)
    if terms is not None:
        registered = session.deployment.rules_of(found_id)
        on_chain = None if _is_described_soon(session, found_id) else read_about(session.ledger.events, found_id)
        keep = partial(_keep_created, own, datanet, on_chain, registered)
        if (terms.treasury, terms.owner_ppm) != (datanet.treasury, datanet.owner_ppm):
            raise NodeError(
                f"Datanet {datanet.name} of {account} is registered with treasury {terms.treasury} and owner's share "
                f"{terms.owner_ppm / 10_000:g} %: pass these to --treasury and --owner-share, or choose another name"
            )
        _check_rules(datanet.name, registered, asked)
        return Publication(note=_registered_already(datanet.name, arguments), keep=keep)
    action = CreateDatanet(
        name=datanet.name,
        treasury=datanet.treasury,
        owner_ppm=datanet.owner_ppm,
        licence=datanet.licence,
        rules=rules,
        metadata=None if about == DatanetAbout() else metadata_text(about),
    )
    call = session.deployment.create_datanet(
        action.name, action.treasury, action.owner_ppm, action.licence, action.rules, action.metadata
    )
    if is_under_way(session, lambda sent: sent == call):
        return Publication(note=f"the registration of Datanet {datanet.name} is on its way already", keep=keep)
    return Publication(actions=(action,), details=_moved_treasury(own, datanet), keep=keep)


def describe_datanet(
    home: Home, session: NetworkSession, account: Address, arguments: Mapping[str, Any]
) -> Publication:
    """Plan to change the description and the policy of a Datanet.

    Raises:
        NodeError: it is not owned here, or not registered on this network.
        MalformedError: the description or the policy is out of its bounds.
    """
    own, name = OwnDatanets(home), str(arguments["datanet"])
    about = changed_about(own.get(name).about, arguments.get("about"))
    found = _registered(session, account, name)
    keep = partial(own.change, name, about=about)
    if read_about(session.ledger.events, found) == about:
        return Publication(note=f"the network has this description of Datanet {name} already", keep=keep)
    metadata = metadata_text(about)
    action = DescribeDatanet(datanet_id=found, name=name, metadata=metadata)
    call = session.deployment.describe_datanet(found, metadata)
    if is_under_way(session, lambda sent: sent == call):
        return Publication(note=f"this description of Datanet {name} is on its way already", keep=keep)
    return Publication(actions=(action,), keep=keep)


def set_curators(home: Home, session: NetworkSession, account: Address, arguments: Mapping[str, Any]) -> Publication:
    """Plan to name the curators of a Datanet, or none.

    Raises:
        NodeError: it is not owned here, or not registered on this network.
        MalformedError: the curators or the number of approvals are out of their bounds.
    """
    own, name = OwnDatanets(home), str(arguments["datanet"])
    own.get(name)
    given = {check_address(each) for each in arguments["curators"]}
    curators, need = tuple(sorted(given, key=str.lower)), int(arguments["need"])
    if ZERO_ADDRESS in given or len(curators) > CURATORS_MAX:
        raise MalformedError(f"a Datanet has at most {CURATORS_MAX} curators, and each is an account")
    if (need or curators) and not 1 <= need <= len(curators):
        raise MalformedError(
            f"of {len(curators)} curators {need} can't be needed: choose a --need from 1 to {len(curators)}"
        )
    found = _registered(session, account, name)
    if session.deployment.curators_of(found) == (curators, need):
        return Publication(note=f"Datanet {name} has these curators already")
    call = session.deployment.set_curators(found, curators, need)
    if is_under_way(session, lambda sent: sent == call):
        return Publication(note=f"this change of the curators of Datanet {name} is on its way already")
    return Publication(actions=(SetCurators(datanet_id=found, name=name, curators=curators, need=need),))


DATANET_TERMS: Mapping[str, Planner] = {
    "datanet create": create_datanet,
    "datanet describe": describe_datanet,
    "datanet curators": set_curators,
}


def _registered(session: NetworkSession, account: Address, name: str) -> Any:
    found = datanet_id(account, name)
    if session.deployment.datanet(found) is None:
        raise NodeError(
            f"Datanet {name} of {account} is not registered on this network: `openledger-node datanet create {name}`"
        )
    return found


def _is_described_soon(session: NetworkSession, found: DatanetId) -> bool:
    """True if a description waits to be mined; until then the chain has an earlier one than this data directory."""
    begin = session.deployment.describe_datanet(found, "").data[: SELECTOR_BYTES + WORD_BYTES]
    return is_under_way(session, lambda sent: sent.data.startswith(begin))


def _registered_already(name: str, arguments: Mapping[str, Any]) -> str:
    told = f"Datanet {name} is registered already"
    if not arguments.get("about"):
        return told
    return f"{told}: `openledger-node datanet describe {name}` changes its description and policy on the network"


def _keep_created(own: OwnDatanets, datanet: Datanet, about: DatanetAbout | None, rules: tuple[int, ...]) -> None:
    if own.find(datanet.name) is None:
        own.create(datanet)
    own.change(datanet.name, about=about, treasury=datanet.treasury, rules=rules)


def _check_rules(name: str, registered: tuple[int, ...], wanted: tuple[int, ...]) -> None:
    """Require that a Datanet's rules are those that were typed, if any.

    Raises:
        NodeError: it is registered with others, which never change.
    """
    if wanted and wanted != registered:
        raise NodeError(
            f"Datanet {name} is registered with the attribution rules {rule_names(registered)}, which can't be "
            "changed: leave out --rule, or choose another name"
        )


def _datanet_of(
    home: Home, session: NetworkSession, account: Address, arguments: Mapping[str, Any]
) -> tuple[Datanet, DatanetAbout]:
    """The given terms, completed by those stored here and by defaults."""
    name = arguments["datanet"]
    found = OwnDatanets(home).find(name)
    given = {key: arguments[key] for key in ("licence", "treasury", "owner_ppm") if arguments.get(key) is not None}
    kept: dict[str, Any] = {"licence": found.licence, "owner_ppm": found.owner_ppm} if found else {}
    terms: dict[str, Any] = {"owner_ppm": 0, **kept, **given}
    if "licence" not in terms:
        raise NodeError(f"Datanet {name} needs a licence for its rows: pass one, such as --licence CC-BY-4.0")
    if found is None or terms["licence"] != found.licence:
        terms["licence"] = check_licence(str(terms["licence"]))
    if "treasury" in given:
        terms["treasury"] = check_address(given["treasury"])
    else:
        terms["treasury"] = _usual_treasury(home, session, account, found)
    wanted = new_datanet(name, **terms)
    if wanted.owner_ppm > DATANET_OWNER_PPM_MAX:
        raise MalformedError(
            f"the owner of a Datanet gets at most {DATANET_OWNER_PPM_MAX / 10_000:g} % of what its rows earn: "
            "choose a smaller --owner-share"
        )
    about = changed_about(found.about if found else DatanetAbout(), arguments.get("about"))
    if found is None:
        return wanted, about
    if "treasury" not in given:
        found = replace(found, treasury=wanted.treasury)
    return check_same_terms(found, wanted), about


def _usual_treasury(home: Home, session: NetworkSession, account: Address, found: Datanet | None) -> Address:
    """The treasury if none is given: as registered on this network, as stored here, or the sender's account.

    A stored account of another network is not used: its key may be a throwaway one, or may be lost with that network.
    """
    registered = session.deployment.datanet(datanet_id(account, found.name)) if found else None
    if registered is not None:
        return registered.treasury
    if found is None or found.treasury in _accounts_elsewhere(home, session.network.network):
        return account
    return found.treasury


def _accounts_elsewhere(home: Home, network: str) -> set[Address]:
    """Accounts of this data directory that are used on other networks only."""
    here = {each.address for each in list_accounts(home.network_keys(network))}
    folders = {home.network_keys(each.parent.name) for each in (home.root / "networks").glob("*/network.json")}
    return {each.address for folder in folders for each in list_accounts(folder)} - here


def _moved_treasury(own: OwnDatanets, datanet: Datanet) -> tuple[str, ...]:
    found = own.find(datanet.name)
    if found is None or found.treasury == datanet.treasury:
        return ()
    return (f"its treasury on this network is {datanet.treasury}, because {found.treasury} is of another network",)
