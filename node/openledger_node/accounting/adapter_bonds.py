"""Plans that retire adapters and take their bonds back.

A retired adapter is no longer sold. Nodes can claim what it has earned until its bond is free. Otherwise its owner
could void their claims.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from openledger_protocol.errors import MalformedError, UnknownModelError
from openledger_protocol.events import Event
from openledger_protocol.primitives import AdapterId, Address, Wei

from ..audit.events import text
from ..chain.refusals import bond_text, open_text
from ..errors import NodeError
from ..home import Home
from ..models.adapters import find_adapter
from ..models.library import list_adapters
from ..settlement.actions import Action
from ..settlement.adapter_actions import CONTRACT, ReclaimBond, RetireAdapter
from ..settlement.session import NetworkSession
from ..text import duration_text
from .publishing import Planner, Publication, is_under_way

ID_PREFIX: Final = "0x"


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnAdapter:
    """An adapter on the chain, as its registry has it now."""

    adapter_id: AdapterId
    name: str  # of the library, or the beginning of its id
    owner: Address
    bond_wei: Wei  # 0 once it was taken back
    free_at_s: int  # when the bond is free, in chain time; 0 if the adapter is not retired


def retire_adapter(
    home: Home, session: NetworkSession, account: Address, arguments: Mapping[str, Any]
) -> Publication:
    """Plan to retire an adapter.

    Raises:
        NodeError: no such adapter is registered, or another account owns it.
        MalformedError: several adapters fit the name.
    """
    found = _find(home, session, account, str(arguments["adapter"]))
    if found.free_at_s:
        return Publication(note=f"{found.name} is retired already: {_when_free(session, found)}")
    wait = duration_text(session.windows.unbonding_s)
    return _plan(
        session,
        RetireAdapter(adapter_id=found.adapter_id, name=found.name, bond_wei=found.bond_wei),
        under_way=f"{found.name} is being retired already",
        details=(
            f"no node sells answers of {found.name} any more, and this can't be undone",
            f"what it has earned can be claimed for another {wait}, by this node and by others",
            f"then its bond of {open_text(found.bond_wei)} is free: `openledger-node adapters reclaim {found.name}`",
        ),
    )


def reclaim_bond(home: Home, session: NetworkSession, account: Address, arguments: Mapping[str, Any]) -> Publication:
    """Plan to take the bond of a retired adapter back.

    Raises:
        NodeError: the adapter is not retired, its bond is not free yet, or another account owns it.
        MalformedError: several adapters fit the name.
    """
    found = _find(home, session, account, str(arguments["adapter"]))
    if not found.bond_wei:
        return Publication(note=f"the bond of {found.name} was taken back already")
    if not found.free_at_s:
        raise NodeError(
            f"{found.name} is still sold, so its bond of {open_text(found.bond_wei)} stays locked: end its sale with "
            f"`openledger-node adapters retire {found.name}` first"
        )
    if session.client.head().timestamp_s < found.free_at_s:
        raise NodeError(f"{found.name} is retired; {_when_free(session, found)}: run this again then")
    action = ReclaimBond(adapter_id=found.adapter_id, name=found.name, bond_wei=found.bond_wei)
    return _plan(session, action, under_way=f"the bond of {found.name} is on its way already")


ADAPTER_BONDS: Final[Mapping[str, Planner]] = {"adapters retire": retire_adapter, "adapters reclaim": reclaim_bond}


def _plan(
    session: NetworkSession, action: RetireAdapter | ReclaimBond, *, under_way: str, details: tuple[str, ...] = ()
) -> Publication:
    function = "retire" if isinstance(action, RetireAdapter) else "reclaimBond"
    call = session.deployment.call(CONTRACT, function, action.adapter_id)
    if is_under_way(session, lambda sent: sent == call):
        return Publication(note=under_way)
    actions: tuple[Action, ...] = (action,)
    return Publication(actions=actions, details=details)


def _when_free(session: NetworkSession, found: OwnAdapter) -> str:
    return bond_text(found.bond_wei, found.free_at_s, session.client.head().timestamp_s, found.name)


def _find(home: Home, session: NetworkSession, account: Address, given: str) -> OwnAdapter:
    """Find a registered adapter by its name here, or by its id or the beginning of it, also without its files."""
    named = _names(home, given)
    registered = [
        event for event in session.ledger.events.find("AdapterRegistered") if _fits(event, given, set(named))
    ]
    if not registered:
        raise NodeError(
            f"no adapter {given!r} is registered on {session.network.network}: `openledger-node adapters list` shows "
            "the names and bonds of those here, and `openledger-node earnings --json` the ids of yours"
        )
    if len(registered) > 1:
        raise MalformedError(f"{len(registered)} adapters fit {given!r}: give more of the id")
    adapter_id = AdapterId(text(registered[0], "adapterId"))
    row = session.deployment.ask(CONTRACT, "adapterOf", adapter_id)
    terms = session.deployment.adapter(adapter_id)
    name = named.get(adapter_id, f"{adapter_id[:12]}")
    owner = Address(row["owner"])
    if owner != account:
        raise NodeError(
            f"{name} belongs to {owner}, and only that account can retire it or take its bond back: choose it with "
            "--wallet"
        )
    return OwnAdapter(
        adapter_id=adapter_id,
        name=name,
        owner=owner,
        bond_wei=Wei(row["bond"]),
        free_at_s=terms.claimable_until_s if terms else 0,
    )


def _names(home: Home, given: str) -> dict[AdapterId, str]:
    """The adapter of the library with this name, or all of the library for an id."""
    adapters = list_adapters(home)
    if given.startswith(ID_PREFIX):
        return {each.id: each.full_name for each in adapters}
    try:
        found = find_adapter(adapters, given)
    except UnknownModelError:
        return {}
    return {found.id: found.full_name}


def _fits(registered: Event, given: str, named: set[AdapterId]) -> bool:
    adapter_id = text(registered, "adapterId")
    return adapter_id.startswith(given.lower()) if given.startswith(ID_PREFIX) else adapter_id in named
