"""Plans that retire adapters and take their bonds back.

A retired adapter is no longer sold. Nodes can claim what it has earned until its bond is free. Otherwise its owner
could void their claims.
"""

import re
from collections.abc import Mapping, Sequence, Set
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

from openledger_protocol.errors import MalformedError, UnknownModelError
from openledger_protocol.events import Event
from openledger_protocol.primitives import AdapterId, Address, Wei

from ..audit.events import text
from ..chain.refusals import bond_text, open_text
from ..errors import NodeError
from ..home import Home
from ..models.adapters import Adapter, find_adapter
from ..models.library import list_adapters
from ..settlement.actions import Action
from ..settlement.adapter_actions import CONTRACT, ReclaimBond, RetireAdapter
from ..settlement.session import NetworkSession
from ..text import duration_text
from .publishing import Planner, Publication, is_under_way

ID_BEGINNING: Final = re.compile(r"0x[0-9a-fA-F]{8,64}", re.ASCII)
"""An adapter's id, or as much of it as nobody types by mistake; all else is a name."""

SHOWN_ID_CHARS: Final = 12
NAMES_MAX: Final = 10
"""Adapters that an error lists."""


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
    """Find a registered adapter by its name here, or by its id or the beginning of it, also without its files.

    A name goes before an id, so that no name can stand for an adapter of somebody else.
    """
    registered = list(session.ledger.events.find("AdapterRegistered"))
    here = list_adapters(home)
    adapter_id = pick_adapter(here, {_id_of(event) for event in registered}, given)
    if adapter_id is None:
        raise NodeError(
            f"no adapter {given!r} is registered on {session.network.network}: "
            f"{_registered_text(here, registered, account)}"
        )
    row = session.deployment.ask(CONTRACT, "adapterOf", adapter_id)
    terms = session.deployment.adapter(adapter_id)
    name = _name(here, adapter_id)
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


def pick_adapter(here: list[Adapter], ids: Set[AdapterId], given: str) -> AdapterId | None:
    """The one of `ids` that `given` means: an adapter's name here, or the beginning of an id; None if there is none.

    Raises:
        MalformedError: several ids begin so.
    """
    with suppress(UnknownModelError):
        if (named := find_adapter(here, given).id) in ids:
            return named
    begun = [each for each in ids if ID_BEGINNING.fullmatch(given) and each.startswith(given.lower())]
    if len(begun) > 1:
        raise MalformedError(f"{len(begun)} adapters fit {given!r}: give more of the id")
    return begun[0] if begun else None


def _registered_text(here: list[Adapter], registered: Sequence[Event], account: Address) -> str:
    """The adapters that an account has registered, newest first, for the owner to choose from."""
    names = [_name(here, _id_of(event)) for event in reversed(registered) if text(event, "owner") == account]
    if not names:
        return f"{account} has registered none; another account is chosen with --wallet"
    more = f" and {len(names) - NAMES_MAX} more" if len(names) > NAMES_MAX else ""
    return f"{account} has registered {', '.join(names[:NAMES_MAX])}{more}"


def _name(here: list[Adapter], adapter_id: AdapterId) -> str:
    """The adapter's name here, or a beginning of its id that a command takes for it."""
    return next((each.full_name for each in here if each.id == adapter_id), adapter_id[:SHOWN_ID_CHARS])


def _id_of(registered: Event) -> AdapterId:
    return AdapterId(text(registered, "adapterId"))
